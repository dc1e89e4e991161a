"""Loss and gradient norm of every tensor: transformers against `ocellus forward --gradients`, float32, one sample.

    python check_gradients.py MODEL [--mask causal|prefix] [--save FILE] [--ocellus PROGRAM] [-- more options of forward]

MODEL is a LLaVA folder with the stock projector (one picture in front of the text). The sample is made from --seed: a smooth
random picture, a short prompt of random ids and --answer ids whose loss counts. Printed: both losses and the tensors whose
norms differ most. Exit status 1 where the loss differs by more than 1e-5, or a norm by more than 1e-3, relative to their
size. k_proj.bias of the vision encoder is left out: softmax cancels it, what is left is rounding.

transformers recomputes activations layer by layer and each gradient is dropped when its norm is known, so that full size
needs its weights and some GB. --save keeps the sample (FILE) and transformers' values (FILE.json); where both are there
already they are used again, without transformers.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

from common import additive, allowed


def canonical(n):
    """The names that Ocellus prints."""
    n = n.removeprefix("model.").replace("vision_tower.vision_model.", "vision_tower.")
    return n


def sample(config, a):
    g = torch.Generator().manual_seed(a.seed)
    size = config["vision_config"]["image_size"]
    per_image = (size // config["vision_config"]["patch_size"]) ** 2
    y, x = torch.meshgrid(torch.linspace(0, 9, size), torch.linspace(0, 7, size), indexing="ij")
    f = torch.rand(3, 2, generator=g) * 2
    px = torch.stack([torch.sin(x * f[c, 0] + c) * torch.cos(y * f[c, 1]) for c in range(3)])
    px = (0.7 * px + 0.3 * (torch.rand(px.shape, generator=g) * 2 - 1)).clamp(-1, 1)[None].contiguous()
    image, vocab = config["image_token_index"], config["text_config"]["vocab_size"]
    draw = lambda n: [int(i) if int(i) != image else 0 for i in torch.randint(0, vocab, (n,), generator=g)]
    prompt, answer = draw(8), draw(a.answer)
    ids = torch.tensor([prompt[:3] + [image] * per_image + prompt[3:] + answer])
    labels = torch.full_like(ids, -100)
    labels[0, -len(answer):] = ids[0, -len(answer):]
    return {"input_ids": ids, "labels": labels, "pixel_values": px}


def reference(path, s, mask):
    """loss, {name: norm} of transformers."""
    from transformers import LlavaForConditionalGeneration
    model = LlavaForConditionalGeneration.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    norms = {}

    def keep(name):
        def hook(p):
            norms[name] = norms.get(name, 0) + float(p.grad.double().norm())
            p.grad = None
        return hook

    for name, p in model.named_parameters():
        p.register_post_accumulate_grad_hook(keep(canonical(name)))
    ids, image, layer = s["input_ids"][0], model.config.image_token_index, model.config.vision_feature_layer
    hidden = model.model.vision_tower(s["pixel_values"], output_hidden_states=True).hidden_states[layer]
    features = model.model.multi_modal_projector(hidden)[0]
    embeds = model.model.language_model.embed_tokens(ids)
    x = embeds.masked_scatter((ids == image)[:, None], features)[None]
    m4 = additive(allowed(ids.tolist(), mask, image_id=image, n=len(features)), torch.float32)[None, None]
    h = model.model.language_model(inputs_embeds=x, attention_mask=m4, use_cache=False).last_hidden_state[0]
    labels = s["labels"][0]
    rows = (labels[1:] != -100).nonzero()[:, 0]
    loss = torch.nn.functional.cross_entropy(model.lm_head(h[rows]), labels[1:][rows])
    loss.backward()
    return float(loss.detach()), norms


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", type=pathlib.Path)
    ap.add_argument("--mask", choices=("causal", "prefix"), default="prefix")
    ap.add_argument("--answer", type=int, default=16)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--save", type=pathlib.Path)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--ocellus", default="build/release/ocellus")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    a = ap.parse_args(sys.argv[1:split])
    a.options = sys.argv[split + 1:]
    torch.set_num_threads(a.threads)
    config = json.loads((a.model / "config.json").read_text())
    with tempfile.TemporaryDirectory() as tmp:
        inputs = a.save or pathlib.Path(tmp) / "sample.safetensors"
        values = inputs.parent / (inputs.name + ".json")
        if values.exists() and inputs.exists():
            known = json.loads(values.read_text())
            loss, norms = known["loss"], known["gradients"]
        else:
            s = sample(config, a)
            save_file(s, inputs)
            loss, norms = reference(a.model, s, a.mask)
            values.write_text(json.dumps({"mask": a.mask, "loss": loss, "gradients": norms}, indent=1) + "\n")
        run = subprocess.run([a.ocellus, "forward", str(a.model), "--inputs", str(inputs), "--mask", a.mask, "--dtype", "f32", "--gradients",
                              "--json", *a.options], check=True, stdout=subprocess.PIPE)
    got = json.loads(run.stdout)
    missing = sorted(set(norms) ^ set(got["gradients"]))
    worst = sorted(((abs(got["gradients"][n] - norms[n]) / norms[n], n) for n in norms
                    if n in got["gradients"] and not (n.startswith("vision_tower") and n.endswith("k_proj.bias"))), reverse=True)
    print(f"loss {got['loss']:.7f}, transformers {loss:.7f}: relative difference {abs(got['loss'] - loss) / loss:.1e}")
    print(f"{len(worst)} gradient norms; the largest relative differences:")
    for d, n in worst[:5]:
        print(f"  {d:.1e} {n}: {got['gradients'][n]:.7g}, transformers {norms[n]:.7g}")
    if missing:
        print("only one of the two has a gradient for", ", ".join(missing[:8]))
    return 1 if missing or abs(got["loss"] - loss) > 1e-5 * loss or worst[0][0] > 1e-3 else 0


if __name__ == "__main__":
    sys.exit(main())
