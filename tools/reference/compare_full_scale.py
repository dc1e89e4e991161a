"""Does Ocellus compute what check_full_scale.py wrote? The same token ids and pixels go to `ocellus forward --inputs`.

    python check_full_scale.py --out DIR
    python compare_full_scale.py DIR [--dtype f32|bf16] [--mask causal|prefix] [--transformers-bf16] [--ocellus PROGRAM] [-- more options of forward]

For the masks causal and prefix: the largest difference of the text rows' logits over the largest logit (at most 1e-4 in
float32), the relative L2 difference, and in how many rows the argmax is the same. bf16 has no fixed bound: with
--transformers-bf16 the same prompt also runs through transformers in bf16, whose distance from its own float32 is the
measure. PyTorch's bf16 products take an hour where the processor has none, so operands are widened to float32 there and the
result is rounded to bf16: what bf16 instructions with float32 accumulation give, up to the order of sums. Exit status 1
where Ocellus is beyond.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

MODES = ("causal", "prefix")
aten = torch.ops.aten


class WidenedProducts(TorchDispatchMode):
    """Products of bf16 tensors: operands widened to float32, the result rounded to bf16."""
    PRODUCTS = {aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default, aten.convolution.default}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func not in self.PRODUCTS or args[0].dtype != torch.bfloat16:
            return func(*args, **(kwargs or {}))
        wide = [x.float() if isinstance(x, torch.Tensor) else x for x in args]
        return func(*wide, **(kwargs or {})).bfloat16()


def transformers_bf16(path, want, modes):
    """mode -> logits [rows, V] of transformers' modules in bf16."""
    from common import additive, allowed
    from transformers import LlavaForConditionalGeneration
    model = LlavaForConditionalGeneration.from_pretrained(path, dtype=torch.bfloat16, attn_implementation="eager").eval()
    ids, image = want["input_ids"][0], model.config.image_token_index
    n = model.config.image_seq_length
    out = {}
    with torch.no_grad(), WidenedProducts():
        hidden = model.model.vision_tower(want["pixel_values"].bfloat16(), output_hidden_states=True).hidden_states[-1]
        x = model.model.language_model.embed_tokens(ids[None])
        x[0, ids == image] = model.model.multi_modal_projector(hidden)[0]
        for mode in modes:
            mask = additive(allowed(ids.tolist(), mode, image_id=image, n=n), torch.bfloat16)[None, None]
            h = model.model.language_model(inputs_embeds=x, attention_mask=mask, use_cache=False).last_hidden_state[0]
            out[mode] = model.lm_head(h[want["text_rows"]]).float()
    return out


def distance(got, want):
    return (float((got - want).abs().max() / want.abs().max()), float((got - want).norm() / want.norm()),
            int((got.argmax(-1) == want.argmax(-1)).sum()))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", type=pathlib.Path, help="the folder; its logits lie beside it")
    ap.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    ap.add_argument("--mask", choices=MODES, help="only this one")
    ap.add_argument("--transformers-bf16", action="store_true")
    ap.add_argument("--ocellus", default="build/release/ocellus")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    a = ap.parse_args(sys.argv[1:split])
    a.options = sys.argv[split + 1:]
    want = load_file(a.model.parent / (a.model.name + ".logits.safetensors"))
    rows = want["text_rows"]
    modes = (a.mask,) if a.mask else MODES
    spread = transformers_bf16(a.model, want, modes) if a.transformers_bf16 else None
    failed = False
    with tempfile.TemporaryDirectory() as tmp:
        save_file({"input_ids": want["input_ids"], "pixel_values": want["pixel_values"]}, f"{tmp}/inputs.safetensors")
        for mode in modes:
            subprocess.run([a.ocellus, "forward", str(a.model), "--inputs", f"{tmp}/inputs.safetensors", "--mask", mode, "--dtype", a.dtype,
                            "--out", f"{tmp}/out.safetensors", *a.options], check=True, stdout=subprocess.DEVNULL)
            got, right = load_file(f"{tmp}/out.safetensors")["logits"][rows], want[f"{mode}.logits"]
            largest, l2, same = distance(got, right)
            print(f"{mode:7} {a.dtype}: largest difference {largest:.2e} of the largest logit, relative L2 {l2:.2e}, "
                  f"same argmax in {same} of {len(rows)} rows")
            failed |= a.dtype == "f32" and (largest > 1e-4 or same < len(rows))
            if spread:
                theirs = distance(spread[mode], right)
                print(f"{'':7} transformers in bf16: {theirs[0]:.2e}, {theirs[1]:.2e}, {theirs[2]} of {len(rows)} rows")
                failed |= a.dtype == "bf16" and l2 > 1.5 * theirs[1]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
