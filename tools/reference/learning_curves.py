#!/usr/bin/env python3
"""Do Ocellus and PyTorch learn alike? The same small model, from the same weights, on the same batches, for 300 steps of
each kind of stage and two masks: the projector alone, and everything; prefix and causal.

    python tools/reference/learning_curves.py --work DIR [--ocellus build/release/ocellus] [--steps 300] [--docs docs]

Ocellus makes synthetic scenes, pretrains two small towers for some steps, joins them (`ocellus init`) and trains in
float32 with --dump-batches, which writes every batch it trained on. PyTorch then trains transformers'
LlavaForConditionalGeneration (SigLIP, MLP, Qwen2, loaded from the folder that `ocellus init` wrote) on these files, with
torch.optim.AdamW and clip_grad_norm_. The masks are built here from where sequences and pictures begin, the schedule and
the sets with weight decay from what docs/recipes.md says: nothing but weights and batches is taken over.

Prints the largest relative difference of the losses up to step 50 and over all steps; exit status 1 where one is above
1e-3 (step 50) or 1e-2 (all). With --docs, writes learning_curves.svg and learning_curves.md there.

Needs torch, transformers 5, safetensors.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys

import torch
from safetensors.torch import load_file
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from check_hf import load  # noqa: E402

LR, WARMUP, MIN_RATIO, DECAY, BETAS, EPS, CLIP = 2e-3, 0.05, 0.1, 0.05, (0.9, 0.95), 1e-8, 1.0
CASES = [(stage, mask) for stage in ("projector", "everything") for mask in ("prefix", "causal")]
COLOURS = {"projector, prefix": "#1f77b4", "projector, causal": "#2ca02c", "everything, prefix": "#d62728", "everything, causal": "#9467bd"}

SIZES = """
model:
  new:
    vision: {hidden: 64, layers: 3, heads: 4, mlp: 128, image_size: 32, patch_size: 8}
    text: {hidden: 64, layers: 3, heads: 4, kv_heads: 2, mlp: 128}
  tokenizer: data/tokenizer
pretrain_vision: {steps: 60, batch: 16, max_text: 64, lr: 1e-3, datasets: [{json: data/recap.json}]}
pretrain_text: {steps: 60, batch: 16, length: 96, lr: 1e-3, datasets: [{json: data/recap.json}]}
"""
STAGE = """
seed: 3
dtype: f32
threads: 1
log: {{every: 1, tensorboard: false}}
model: {{init: start, mask: {mask}}}
stages:
  - name: {name}
    steps: {steps}
    batch: 8
    micro_batch: 4
    max_length: 160
    train: {{{rates}}}
    schedule: {{kind: cosine, warmup: {warmup}, min_ratio: {min_ratio}}}
    weight_decay: {decay}
    betas: [0.9, 0.95]
    clip: {clip}
    datasets: [{{json: data/human.json}}, {{json: data/recap.json}}]
"""


def run_ocellus(ocellus, work, steps):
    """Prepares the data and the model, trains each case; losses by case."""
    run = lambda *args: subprocess.run([ocellus, *map(str, args)], cwd=work, check=True, stdout=subprocess.DEVNULL)
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "start").exists():
        run("data", "synth", "--out", "data", "--count", 200, "--size", 32, "--max-objects", 2, "--overwrite", "--quiet")
        run("tokenizer", "train", "--vocab-size", 320, "--lowercase", "--out", "data/tokenizer", "--quiet", "data/human.json", "data/recap.json")
        (work / "towers.yaml").write_text("seed: 3\ndtype: f32\nthreads: 1\n" + SIZES)
        run("pretrain", "vision", "towers.yaml", "--out", "vision", "--overwrite", "--quiet")
        run("pretrain", "text", "towers.yaml", "--out", "text", "--overwrite", "--quiet")
        run("init", "--vision", "vision/model", "--text", "text/model", "--act", "gelu_tanh", "--out", "start")
    losses = {}
    for stage, mask in CASES:
        name = f"{stage}-{mask}"
        rates = f"projector: {LR}" if stage == "projector" else f"vision: {LR / 4}, projector: {LR}, lm: {LR / 2}"
        text = STAGE.format(mask=mask, name=name, steps=steps, rates=rates, warmup=WARMUP, min_ratio=MIN_RATIO, decay=DECAY, clip=CLIP)
        (work / f"{name}.yaml").write_text(text.replace("    betas: [0.9, 0.95]\n", f"    beta1: {BETAS[0]}\n    beta2: {BETAS[1]}\n    eps: {EPS}\n"))
        run("train", f"{name}.yaml", "--out", f"run-{name}", "--overwrite", "--quiet", "--dump-batches", f"batches-{name}")
        lines = [json.loads(x) for x in (work / f"run-{name}" / "log.jsonl").read_text().splitlines()]
        losses[stage, mask] = [x["loss"] for x in lines if "loss" in x]
    return losses


def schedule(step, steps):
    """Warm-up and cosine at the middle of the step (docs/recipes.md)."""
    p = (step + 0.5) / steps
    if p < WARMUP:
        return p / WARMUP
    q = (p - WARMUP) / (1 - WARMUP)
    return MIN_RATIO + (1 - MIN_RATIO) * (1 + math.cos(math.pi * q)) / 2


def visible(b, per_image, mask):
    """[N, N] bool of a packed batch: a token sees the earlier ones of its sequence; with prefix, the tokens of a picture
    see the whole picture."""
    n = len(b["token"])
    seq = torch.zeros(n, dtype=torch.long)
    for k, (s, e) in enumerate(zip(b["seq_start"][:-1].tolist(), b["seq_start"][1:].tolist())):
        seq[s:e] = k
    i = torch.arange(n)
    ok = (seq[:, None] == seq[None]) & (i[None] <= i[:, None])
    if mask == "prefix":
        for row in b["block_row"].tolist():
            ok[row:row + per_image, row:row + per_image] = True
    return ok


def batch_loss(model, b, mask):
    """Sum of -log p(label) of one packed batch, through transformers' modules."""
    vision = model.model.vision_tower(b["pixels"], output_hidden_states=True).hidden_states[model.config.vision_feature_layer]
    features = model.model.multi_modal_projector(vision)
    per_image = features.shape[1]
    x = model.model.language_model.embed_tokens(b["token"].long()[None])[0]
    rows = torch.cat([torch.arange(r, r + per_image) for r in b["block_row"].tolist()])
    x = x.index_put((rows,), features[b["block_image"].long()].reshape(-1, x.shape[-1]))
    ok = visible(b, per_image, mask)
    additive = torch.zeros(ok.shape).masked_fill(~ok, torch.finfo(torch.float32).min)[None, None]
    h = model.model.language_model(inputs_embeds=x[None], attention_mask=additive, position_ids=b["position"].long()[None]).last_hidden_state[0]
    labelled = b["label"] >= 0
    return torch.nn.functional.cross_entropy(model.lm_head(h[labelled]), b["label"][labelled].long(), reduction="sum"), int(labelled.sum())


def optimizer_of(model, stage):
    """AdamW over what the stage trains; decay on matrices that are neither embeddings nor positions."""
    rates = {"vision_tower": LR / 4, "multi_modal_projector": LR, "language_model": LR / 2}
    groups = {}
    for name, p in model.named_parameters():
        part = next((k for k in rates if k in name), "language_model")
        p.requires_grad_(stage == "everything" or part == "multi_modal_projector")
        if not p.requires_grad or "post_layernorm" in name or "vision_model.head" in name:
            continue
        decays = p.dim() >= 2 and "embed_tokens" not in name and "position_embedding" not in name
        groups.setdefault((rates[part], decays), []).append(p)
    return torch.optim.AdamW([{"params": ps, "lr": lr, "peak": lr, "weight_decay": DECAY if d else 0.0} for (lr, d), ps in groups.items()],
                             betas=BETAS, eps=EPS)


def run_torch(work, stage, mask, steps):
    config = json.loads((work / "start" / "config.json").read_text())
    model, stock = load(str(work / "start"), config)
    assert stock
    opt, losses, name = optimizer_of(model, stage), [], f"{stage}-{mask}"
    params = [p for g in opt.param_groups for p in g["params"]]
    for step in range(steps):
        total, labels = 0.0, 0
        opt.zero_grad()
        files = sorted((work / f"batches-{name}").glob(f"{name}-{step:06d}-*.safetensors"))
        for f in files:
            loss, n = batch_loss(model, load_file(f), mask)
            loss.backward()
            total, labels = total + float(loss.detach()), labels + n
        for p in params:
            if p.grad is not None:  # what takes no part has none
                p.grad /= labels
        torch.nn.utils.clip_grad_norm_(params, CLIP)
        for g in opt.param_groups:
            g["lr"] = g["peak"] * schedule(step, steps)
        opt.step()
        losses.append(total / labels)
    return losses


def svg(curves, steps):
    """Losses of both programs, one above the other; below, their relative difference on a logarithmic axis."""
    W, H, L, T, GAP = 860, 300, 60, 30, 60
    top = max(max(a) for a, _ in curves.values()) * 1.02
    low = min(min(a) for a, _ in curves.values()) * 0.9
    x = lambda i: L + i * (W - L - 20) / max(steps - 1, 1)
    y = lambda v: T + (top - v) * H / (top - low)
    d0 = T + H + GAP
    yd = lambda v: d0 + (-2 - math.log10(max(v, 1e-9))) * 200 / 7
    path = lambda ps: "M" + " L".join(f"{a:.1f},{b:.1f}" for a, b in ps)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{W}" height="{d0 + 250}" font-family="sans-serif" font-size="12">',
           f'<rect width="{W}" height="{d0 + 250}" fill="white"/>',
           f'<text x="{L}" y="18">Loss by step: Ocellus (line) and PyTorch (dots, every tenth step)</text>',
           f'<text x="{L}" y="{d0 - 12}">Relative difference of the losses</text>']
    for k in range(6):
        v = low + k * (top - low) / 5
        out.append(f'<path d="M{L},{y(v):.1f} H{W - 20}" stroke="#ddd"/><text x="{L - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.2f}</text>')
    for e in range(-9, -1):
        out.append(f'<path d="M{L},{yd(10.0 ** e):.1f} H{W - 20}" stroke="#ddd"/><text x="{L - 8}" y="{yd(10.0 ** e) + 4:.1f}" text-anchor="end">1e{e}</text>')
    for k, ((stage, mask), (a, b)) in enumerate(curves.items()):
        c = COLOURS[f"{stage}, {mask}"]
        out.append(f'<path d="{path([(x(i), y(v)) for i, v in enumerate(a)])}" fill="none" stroke="{c}"/>')
        out += [f'<circle cx="{x(i):.1f}" cy="{y(b[i]):.1f}" r="2.2" fill="none" stroke="{c}"/>' for i in range(0, steps, 10)]
        out.append(f'<path d="{path([(x(i), yd(abs(p - q) / q)) for i, (p, q) in enumerate(zip(a, b))])}" fill="none" stroke="{c}" stroke-width="0.8"/>')
        out.append(f'<text x="{W - 190}" y="{T + 20 + 18 * k}" fill="{c}">{stage}, {mask}</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--work", required=True, type=pathlib.Path)
    ap.add_argument("--ocellus", default="build/release/ocellus", type=pathlib.Path)
    ap.add_argument("--steps", default=300, type=int)
    ap.add_argument("--docs", type=pathlib.Path, help="folder for learning_curves.svg and learning_curves.md")
    a = ap.parse_args()
    torch.set_num_threads(1)
    ours, curves, failed = run_ocellus(str(a.ocellus.resolve()), a.work, a.steps), {}, False
    rows = ["| stage | mask | loss, first step | loss, last 20 steps: Ocellus | PyTorch | largest difference up to step 50 | over all steps |", "|---|---|---|---|---|---|---|"]
    for case in CASES:
        theirs = run_torch(a.work, *case, a.steps)
        assert len(ours[case]) == len(theirs) == a.steps
        curves[case] = ours[case], theirs
        d = [abs(p - q) / q for p, q in zip(ours[case], theirs)]
        tail = lambda v: sum(v[-20:]) / len(v[-20:])
        rows.append(f"| {case[0]} | {case[1]} | {theirs[0]:.4f} | {tail(ours[case]):.4f} | {tail(theirs):.4f} | {max(d[:50]):.1e} | {max(d):.1e} |")
        print(rows[-1], flush=True)
        failed |= max(d[:50]) > 1e-3 or max(d) > 1e-2
    if a.docs:
        a.docs.mkdir(parents=True, exist_ok=True)
        (a.docs / "learning_curves.svg").write_text(svg(curves, a.steps))
        (a.docs / "learning_curves.md").write_text(
            "# Learning curves against PyTorch\n\nThe same small model (three layers of 64 in both towers), from the same weights, on the same batches, "
            f"trained by Ocellus and by PyTorch {torch.__version__.split('+')[0]} with transformers {transformers.__version__}, float32, AdamW, {a.steps} steps. Differences are relative, of "
            "the loss of single steps; allowed are 1e-3 up to step 50 and 1e-2 over all.\n\n" + "\n".join(rows) +
            "\n\n![losses](learning_curves.svg)\n\n    python tools/reference/learning_curves.py --work DIR --docs docs\n\n"
            "makes the model and its data, dumps the batches that Ocellus trains on (`ocellus train --dump-batches`), trains PyTorch on them and "
            "writes this page.\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
