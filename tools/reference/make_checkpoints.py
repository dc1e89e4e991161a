"""Checkpoint folders with random weights in the layouts that are on the Hugging Face hub.

    python make_checkpoints.py siglip DIR [--size full|tiny]      google/siglip-so400m-patch14-384: both towers, float32
    python make_checkpoints.py qwen2 DIR --tokenizer PATH ...     Qwen/Qwen2-0.5B: tied head, bfloat16
    python make_checkpoints.py llava DIR --layout NAME ...        a whole LLaVA, under the names of --layout
    python make_checkpoints.py tests                              tests/data/checkpoints, all of them at tiny size

The models are built by the classes of transformers and the tensors are those of their state_dict. config.json is written by
hand as the original repositories have it: what equals the default of the class is left out. --layout:

    current     transformers 5, save_pretrained with its default names
    memory      names of the modules (transformers 5, save_original_format=False): model.*, lm_head
    legacy      llava-hf repositories: vision_tower.vision_model.*, language_model.model.*, a written head
    onevision   llava-hf/llava-onevision-*: the legacy names, model_type llava_onevision, image_newline, float16, and
                "tie_word_embeddings": false beside a tied text_config
    original    liuhaotian and lmms-lab repositories: model.mm_projector.0, model.vision_tower.vision_tower.*, model.layers.*

--shards N splits the tensors over N files with an index, --dtype sets their type. Full size needs about 5 GB of memory.
"""
import argparse
import json
import math
import pathlib
import shutil
import zlib

import torch
from safetensors.torch import save_file
from transformers import (LlavaConfig, LlavaForConditionalGeneration, Qwen2Config, Qwen2ForCausalLM, SiglipConfig,
                          SiglipModel)

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}

SIGLIP = {
    "full": dict(text_config=dict(hidden_size=1152, intermediate_size=4304, model_type="siglip_text_model", num_attention_heads=16,
                                  num_hidden_layers=27),
                 vision_config=dict(hidden_size=1152, image_size=384, intermediate_size=4304, model_type="siglip_vision_model",
                                    num_attention_heads=16, num_hidden_layers=27, patch_size=14)),
    "tiny": dict(text_config=dict(hidden_size=16, intermediate_size=24, model_type="siglip_text_model", num_attention_heads=2,
                                  num_hidden_layers=1, vocab_size=40, max_position_embeddings=8),
                 vision_config=dict(hidden_size=16, image_size=30, intermediate_size=40, model_type="siglip_vision_model",
                                    num_attention_heads=2, num_hidden_layers=2, patch_size=14)),
}
QWEN2 = dict(architectures=["Qwen2ForCausalLM"], attention_dropout=0.0, bos_token_id=151643, eos_token_id=151643, hidden_act="silu",
             hidden_size=896, initializer_range=0.02, intermediate_size=4864, max_position_embeddings=131072, max_window_layers=24,
             model_type="qwen2", num_attention_heads=14, num_hidden_layers=24, num_key_value_heads=2, rms_norm_eps=1e-06,
             rope_theta=1000000.0, sliding_window=131072, tie_word_embeddings=True, torch_dtype="bfloat16",
             transformers_version="4.40.1", use_cache=True, use_sliding_window=False, vocab_size=151936)
QWEN2_TINY = dict(QWEN2, bos_token_id=508, eos_token_id=508, hidden_size=32, intermediate_size=48, max_window_layers=2,
                  num_attention_heads=2, num_hidden_layers=2, num_key_value_heads=1, vocab_size=512, max_position_embeddings=512)
IMAGE = {"full": 151646, "tiny": 511}


def init(name, shape, seed):
    """Seeded by the tensor's name. Scaled so that 27 + 24 layers neither explode nor become trivial (check_full_scale.py)."""
    g = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
    x = torch.randn(shape, generator=g)
    if "norm" in name:
        return (1 + 0.1 * x) if name.endswith("weight") else 0.1 * x
    if name.endswith("bias") or len(shape) < 2:
        return 0.1 * x
    if "embed_tokens" in name:
        return 0.05 * x
    if "position_embedding" in name:
        return 0.3 * x
    gain = 2.0 if name.endswith(("q_proj.weight", "k_proj.weight")) else 1.0
    return x * (gain / math.sqrt(math.prod(shape[1:])))


def shapes(model_class, config):
    """name -> shape of the class's state_dict, without memory for it."""
    with torch.device("meta"):
        model = model_class(config)
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if getattr(config, "tie_word_embeddings", False) else set()
    return {k: tuple(v.shape) for k, v in model.state_dict().items() if k not in tied}


def dump(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save(out, shape_of, dtype, shards, seed, rename=lambda n: n, copies=()):
    """One tensor at a time into as many files as asked for. copies: (name in the file, shape_of name) pairs put in besides."""
    out.mkdir(parents=True, exist_ok=True)
    names = [(rename(n), n) for n in shape_of] + list(copies)
    index = {}
    for k in range(shards):
        file = "model.safetensors" if shards == 1 else f"model-{k + 1:05}-of-{shards:05}.safetensors"
        part = {new: init(n, shape_of[n], seed).to(dtype) for new, n in names[k::shards]}
        index.update({n: file for n in part})
        save_file(part, out / file, metadata={"format": "pt"})
    if shards > 1:
        size = sum(math.prod(shape_of[n]) for _, n in names) * torch.empty(0, dtype=dtype).element_size()
        dump(out / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": dict(sorted(index.items()))})


def preprocessor(out, size):
    dump(out / "preprocessor_config.json", {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3, "image_processor_type": "SiglipImageProcessor",
        "image_std": [0.5] * 3, "processor_class": "SiglipProcessor", "resample": 3, "rescale_factor": 1 / 255,
        "size": {"height": size, "width": size}})


def siglip(out, a):
    c = SIGLIP[a.size]
    save(out, shapes(SiglipModel, SiglipConfig(**json.loads(json.dumps(c)))), TYPES[a.dtype or "f32"], a.shards, a.seed)
    dump(out / "config.json", {"architectures": ["SiglipModel"], "initializer_factor": 1.0, "model_type": "siglip", **c,
                               "torch_dtype": "float32", "transformers_version": "4.37.0.dev0"})
    preprocessor(out, c["vision_config"]["image_size"])


def copy_tokenizer(out, path):
    path = pathlib.Path(path)
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json") if path.is_dir() else ():
        if (path / name).exists():
            shutil.copy(path / name, out / name)
    if path.is_file():
        shutil.copy(path, out / "tokenizer.json")


def qwen2(out, a):
    c = QWEN2 if a.size == "full" else QWEN2_TINY
    save(out, shapes(Qwen2ForCausalLM, Qwen2Config(**c)), TYPES[a.dtype or "bf16"], a.shards, a.seed)
    dump(out / "config.json", c)
    dump(out / "generation_config.json", {"bos_token_id": c["bos_token_id"], "do_sample": False, "eos_token_id": c["eos_token_id"],
                                          "max_new_tokens": 2048, "transformers_version": "4.37.0"})
    if a.tokenizer:
        copy_tokenizer(out, a.tokenizer)


def legacy_name(n):
    n = n.removeprefix("model.")
    if n.startswith("vision_tower.") and not n.startswith("vision_tower.vision_model."):
        n = n.replace("vision_tower.", "vision_tower.vision_model.", 1)
    return n.replace("language_model.", "language_model.model.", 1) if n.startswith("language_model.") else n


def original_name(n):
    n = n.removeprefix("model.")
    if n.startswith("vision_tower."):
        return "model.vision_tower.vision_tower.vision_model." + n.removeprefix("vision_tower.").removeprefix("vision_model.")
    n = n.replace("multi_modal_projector.linear_1", "mm_projector.0").replace("multi_modal_projector.linear_2", "mm_projector.2")
    return "model." + n.removeprefix("language_model.")


def current_name(n):
    return legacy_name(n).replace("vision_tower.vision_model.", "vision_tower.", 1)


RENAME = {"current": current_name, "memory": lambda n: n, "legacy": legacy_name, "onevision": legacy_name, "original": original_name}


def llava(out, a):
    vision = dict(SIGLIP[a.size]["vision_config"], vision_use_head=False)
    text = dict(QWEN2 if a.size == "full" else QWEN2_TINY)
    own = dict(image_token_index=IMAGE[a.size], projector_hidden_act="gelu", vision_feature_layer=-1, vision_feature_select_strategy="full")
    config = LlavaConfig(vision_config=dict(vision), text_config=dict(text), tie_word_embeddings=True, **own)
    names = shapes(LlavaForConditionalGeneration, config)
    names = {n: s for n, s in names.items() if n != "lm_head.weight"}
    onevision = a.layout == "onevision"
    table = next(n for n in names if n.endswith("embed_tokens.weight"))
    copies = [("language_model.lm_head.weight", table)] if a.layout == "legacy" else []
    if onevision:
        names = {**names, "image_newline": (text["hidden_size"],)}
    save(out, names, TYPES[a.dtype or ("f16" if onevision else "bf16")], a.shards, a.seed, RENAME[a.layout], copies)
    name = "LlavaOnevisionForConditionalGeneration" if onevision else "LlavaForConditionalGeneration"
    dump(out / "config.json", {"architectures": [name], "ignore_index": -100, "model_type": "llava_onevision" if onevision else "llava",
                               "text_config": {k: v for k, v in text.items() if k not in ("max_position_embeddings", "rms_norm_eps")}
                               if onevision else text,
                               "vision_config": vision, "tie_word_embeddings": not onevision, **own})
    preprocessor(out, vision["image_size"])
    if a.tokenizer:
        copy_tokenizer(out, a.tokenizer)


def tests(a):
    out = ROOT / "tests/data/checkpoints"
    a.size, a.tokenizer = "tiny", None
    siglip(out / "siglip", a)
    a.tokenizer = ROOT / "tests/data/golden/tiny"
    qwen2(out / "qwen2", a)
    a.tokenizer = None
    for layout, dtype, shards in (("onevision", "f16", 2), ("original", "bf16", 1), ("memory", "f32", 1), ("legacy", "f16", 3)):
        a.layout, a.dtype, a.shards = layout, dtype, shards
        llava(out / f"llava_{layout}", a)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("kind", choices=("siglip", "qwen2", "llava", "tests"))
    ap.add_argument("out", nargs="?", type=pathlib.Path)
    ap.add_argument("--size", choices=("full", "tiny"), default="full")
    ap.add_argument("--layout", choices=RENAME, default="current")
    ap.add_argument("--dtype", choices=TYPES, help="default: as the original has it")
    ap.add_argument("--shards", type=int, default=1)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--tokenizer", help="tokenizer.json, or a folder to copy the tokenizer's files from")
    a = ap.parse_args()
    if a.kind == "tests":
        return tests(a)
    if not a.out:
        ap.error("the folder to write is missing")
    {"siglip": siglip, "qwen2": qwen2, "llava": llava}[a.kind](a.out, a)


if __name__ == "__main__":
    main()
