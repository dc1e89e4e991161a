#!/usr/bin/env python3
"""Does Hugging Face transformers read a model that Ocellus saved, and does it give the same logits?

    python tools/check_hf.py MODEL --image PHOTO [--prompt "<image>\\nWhat is this?"] [--ocellus build/release/ocellus] [--dtype f32]

MODEL is a folder that `ocellus train` or `ocellus init` wrote. transformers loads it as LlavaForConditionalGeneration
and its tokenizer as AutoTokenizer; Ocellus runs `forward` on the same prompt and picture with each mask. Printed per
mask: the largest difference of logits relative to the largest logit, and at how many positions both have the same
argmax. Exit status 1 where the float32 logits differ by more than 1e-4, an argmax differs, or the token ids do.

The stock LLaVA projector has no 2 x 2 merging and as many hidden units as the decoder. For a model with merge > 1 or
another width, this script puts the projector of docs/design.md (merge, linear_1, GELU, linear_2) in its place; all
other weights stay as transformers loaded them, and a weight that transformers misses or does not know is an error.

Needs torch, transformers, safetensors, numpy (any recent version of transformers 5).
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlavaForConditionalGeneration

PROJECTOR = "multi_modal_projector."


class MergeProjector(torch.nn.Module):
    """x [images, G*G, C] -> [images, (G/s)^2, text hidden]: each s x s block of patches, row by row, is one token."""

    def __init__(self, w, merge, act):
        super().__init__()
        self.merge, self.act = merge, act
        self.linear_1 = torch.nn.Linear(w["linear_1.weight"].shape[1], w["linear_1.weight"].shape[0])
        self.linear_2 = torch.nn.Linear(w["linear_2.weight"].shape[1], w["linear_2.weight"].shape[0])
        self.load_state_dict(w)

    def forward(self, x):
        n, patches, c = x.shape
        g, s = round(patches ** 0.5), self.merge
        x = x.reshape(n, g // s, s, g // s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(n, (g // s) ** 2, s * s * c)
        return self.linear_2(self.act(self.linear_1(x)))


def load(path, config):
    """The model in float32, and whether its projector is the stock one."""
    own = config.get("ocellus", {})
    merge = own.get("merge", 1)
    width = own.get("projector_hidden", config["text_config"]["hidden_size"])
    stock = merge == 1 and width == config["text_config"]["hidden_size"]
    model, info = LlavaForConditionalGeneration.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, ignore_mismatched_sizes=not stock)
    wrong = [str(k) for key in ("missing_keys", "unexpected_keys") for k in info[key] if k != "lm_head.weight"]
    if wrong:
        sys.exit(f"{path}: transformers misses or does not know: {', '.join(sorted(wrong)[:8])}")
    if not stock:
        w = {}
        for f in sorted(pathlib.Path(path).glob("*.safetensors")):
            w.update({k.removeprefix(PROJECTOR): v.float() for k, v in load_file(f).items() if k.startswith(PROJECTOR)})
        model.model.multi_modal_projector = MergeProjector(w, merge, model.model.multi_modal_projector.act)
    return model.eval(), stock


def visible(ids, image_id, per_image, mask):
    """[T, T] bool: the intervals of docs/design.md."""
    T = len(ids)
    lo, hi = torch.zeros(T, dtype=torch.long), torch.arange(1, T + 1)
    i = 0
    while i < T:
        if mask != "causal" and ids[i] == image_id:
            hi[i:i + per_image] = i + per_image
            if mask == "isolated":
                lo[i:i + per_image] = i
            i += per_image
        else:
            i += 1
    k = torch.arange(T)
    return (k >= lo[:, None]) & (k < hi[:, None])


def reference(model, ids, pixels, mask, image_id):
    """Logits [T, V] of transformers' own modules: encoder, projector, decoder with the given mask."""
    with torch.no_grad():
        x = model.model.language_model.embed_tokens(ids[None])
        if len(pixels):
            vision = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[model.config.vision_feature_layer]
            features = model.model.multi_modal_projector(vision)
            x[0, ids == image_id] = features.reshape(-1, x.shape[-1])
            per_image = features.shape[1]
        else:
            per_image = 1
        ok = visible(ids.tolist(), image_id, per_image, mask)
        additive = torch.zeros(ok.shape).masked_fill(~ok, torch.finfo(torch.float32).min)[None, None]
        return model.lm_head(model.model.language_model(inputs_embeds=x, attention_mask=additive).last_hidden_state[0])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("--image", action="append", default=[], help="a picture; may be given several times")
    ap.add_argument("--prompt", help="with <image> where the pictures go (default: all of them, then a question)")
    ap.add_argument("--ocellus", default="build/release/ocellus")
    ap.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="of Ocellus; transformers computes in float32")
    a = ap.parse_args()
    config = json.loads((pathlib.Path(a.model) / "config.json").read_text())
    prompt = a.prompt or "<image>\n" * len(a.image) + "What is in the picture?"
    model, stock = load(a.model, config)
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    image_id = config["image_token_index"]
    print(f"{a.model}: {sum(p.numel() for p in model.parameters()):,} parameters, "
          f"{'stock LLaVA' if stock else 'projector put in by this script, the rest stock LLaVA'}")
    failed = False
    with tempfile.TemporaryDirectory() as tmp:
        run = lambda *args: subprocess.run([a.ocellus, *map(str, args)], check=True, stdout=subprocess.DEVNULL)
        pixels = []
        for i, image in enumerate(a.image):
            run("preprocess", image, "--model", a.model, "--out", f"{tmp}/{i}.safetensors")
            pixels.append(load_file(f"{tmp}/{i}.safetensors")["pixel_values"])
        pixels = torch.stack(pixels) if pixels else []
        for mask in ("causal", "prefix", "isolated"):
            out = f"{tmp}/{mask}.safetensors"
            images = [x for image in a.image for x in ("--image", image)]
            run("forward", a.model, "--raw", "--prompt", prompt, *images, "--mask", mask, "--dtype", a.dtype, "--out", out)
            got = load_file(out)
            ids, logits = got["input_ids"], got["logits"].float()
            text = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            if [t for t in ids.tolist() if t != image_id] != [t for t in text if t != image_id]:
                print("token ids differ:", ids.tolist(), text)
                failed = True
            want = reference(model, ids, pixels, mask, image_id)
            error = float((logits - want).abs().max() / want.abs().max())
            same = int((logits.argmax(-1) == want.argmax(-1)).sum())
            print(f"{mask:9} {len(ids)} tokens: largest difference {error:.2e} of the largest logit, same argmax at {same} of {len(ids)}")
            failed |= a.dtype == "f32" and (error > 1e-4 or same < len(ids))
            if mask == "causal" and stock and len(pixels):
                with torch.no_grad():
                    whole = model(input_ids=ids[None], pixel_values=pixels).logits[0]
                error = float((logits - whole).abs().max() / whole.abs().max())
                print(f"{'':9} against model(input_ids, pixel_values), transformers' own call: {error:.2e}")
                failed |= a.dtype == "f32" and error > 1e-4
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
