"""Tiny random Llama checkpoints on disk, written with numpy: what mergekit and Ligate both read as a real model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

HIDDEN, VOCAB, INNER, LAYERS = 16, 32, 24, 4
Tensors = dict[str, np.ndarray]

_LAYER_SHAPES = {
    "input_layernorm.weight": ("hidden",),
    "self_attn.q_proj.weight": ("hidden", "hidden"),
    "self_attn.k_proj.weight": ("half", "hidden"),
    "self_attn.v_proj.weight": ("half", "hidden"),
    "self_attn.o_proj.weight": ("hidden", "hidden"),
    "post_attention_layernorm.weight": ("hidden",),
    "mlp.gate_proj.weight": ("inner", "hidden"),
    "mlp.up_proj.weight": ("inner", "hidden"),
    "mlp.down_proj.weight": ("hidden", "inner"),
}


def shapes(layers: int = LAYERS, hidden: int = HIDDEN, vocab: int = VOCAB) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor, in the order of the network."""
    sizes = {"hidden": hidden, "half": hidden // 2, "inner": INNER}
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(layers):
        for name, axes in _LAYER_SHAPES.items():
            found[f"model.layers.{layer}.{name}"] = tuple(sizes[axis] for axis in axes)
    return found | {"model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}


def random_tensors(seed: int, **sizes: int) -> Tensors:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes(**sizes).items()}


def write_model(
    folder: Path,
    tensors: Mapping[str, np.ndarray],
    *,
    shards: int = 1,
    tokens: Callable[[int], str] = "t{}".format,
    config: Mapping[str, object] | None = None,
) -> Path:
    """A folder with weights, config and a word-level tokenizer whose token number i is `tokens(i)`."""
    folder.mkdir(parents=True)
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    else:
        _write_shards(folder, tensors, shards)
    vocab, hidden = tensors["model.embed_tokens.weight"].shape
    layers = len({name.split(".")[2] for name in tensors if name.startswith("model.layers.")})
    _write_json(folder / "config.json", _config(layers, hidden, vocab) | dict(config or {}))
    _write_json(folder / "generation_config.json", {"eos_token_id": 2})
    _write_tokenizer(folder, vocab, tokens)
    return folder


def write_adapter(folder: Path, seed: int, *, rank: int = 2, alpha: float = 3.0) -> Path:
    """A LoRA adapter in PEFT's layout over the query and down projections of every layer."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    tensors: Tensors = {}
    for name, shape in shapes().items():
        if "q_proj" in name or "down_proj" in name:
            place = "base_model.model." + name.removesuffix(".weight")
            tensors[f"{place}.lora_A.weight"] = rng.standard_normal((rank, shape[1])).astype(np.float32)
            tensors[f"{place}.lora_B.weight"] = rng.standard_normal((shape[0], rank)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    _write_json(
        folder / "adapter_config.json",
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": rank,
            "lora_alpha": alpha,
            "lora_dropout": 0.0,
            "target_modules": ["q_proj", "down_proj"],
            "bias": "none",
            "base_model_name_or_path": None,
        },
    )
    return folder


def adapted(tensors: Mapping[str, np.ndarray], adapter: Path) -> Tensors:
    """The model with the adapter in it, in float64."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    low = load_file(adapter / "adapter_model.safetensors")
    found: Tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    for name in found:
        place = "base_model.model." + name.removesuffix(".weight")
        if f"{place}.lora_A.weight" in low:
            up, down = (low[f"{place}.lora_{part}.weight"].astype(np.float64) for part in "BA")
            found[name] += config["lora_alpha"] / config["r"] * up @ down
    return found


def read_model(folder: Path) -> Tensors:
    """All tensors of a folder, whatever the number of shards."""
    found: Tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def rewrite(folder: Path, change: Callable[[Tensors], object]) -> None:
    """Change the tensors of a single-file model in place."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def _write_shards(folder: Path, tensors: Mapping[str, np.ndarray], shards: int) -> None:
    names = list(tensors)
    where: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        own = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        save_file({name: tensors[name] for name in own}, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(own, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    _write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})


def _config(layers: int, hidden: int, vocab: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": hidden // 4,
        "vocab_size": vocab,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }


def _write_tokenizer(folder: Path, vocab: int, tokens: Callable[[int], str]) -> None:
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {tokens(i): i for i in range(3, vocab)}
    specials = [
        {"id": i, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for word, i in words.items()
        if i < 3
    ]  # fmt: skip
    _write_json(
        folder / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": specials,
            "normalizer": None,
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"},
        },
    )
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    )


def _write_json(file: Path, content: Mapping[str, object]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n")
