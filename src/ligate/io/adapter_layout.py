"""How PEFT lays out a LoRA adapter: what it calls the factors of a module, in which shapes, and its config.

What kind of module a weight belongs to is told by its name and shape, as data: a checkpoint does not say.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Kind = Literal["linear", "transposed", "embedding", "conv"]
"""Stored [out, in]; stored [in, out]; stored [tokens, width]; stored [out, in, *window]."""

ROOT = "base_model.model."
EMBEDDING_WORDS = frozenset(
    {
        *("embed_tokens", "embed_positions", "embed_in", "embedding", "embeddings", "tok_embeddings", "shared"),
        *("wte", "wpe", "word_embeddings", "position_embeddings", "token_type_embeddings", "token_embedding"),
        *("position_embedding", "relative_attention_bias", "tokens_embed", "positions_embed"),
    }
)
"""Last words of modules that look rows up instead of multiplying."""

TRANSPOSED_WORDS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        ("gpt2", "openai-gpt", "imagegpt", "decision_transformer"),
        frozenset({"c_attn", "q_attn", "c_proj", "c_fc"}),
    )
}
"""By model type, last words of modules whose weights lie [in, out] (Conv1D in transformers)."""

_TASKS = {"ForCausalLM": "CAUSAL_LM", "LMHeadModel": "CAUSAL_LM", "ForConditionalGeneration": "SEQ_2_SEQ_LM"}
_WEIGHT = ".weight"


class Factors(NamedTuple):
    """What the two factors of a weight are called and how they are shaped."""

    down: str
    down_shape: tuple[int, ...]
    up: str
    up_shape: tuple[int, ...]


@dataclass(frozen=True)
class AdapterFacts:
    """What the config of an adapter has to say."""

    ranks: Mapping[str, int]  # of every changed module
    base: str
    revision: str | None = None
    architecture: str = ""
    transposed: bool = False
    whole: tuple[str, ...] = ()  # modules that the adapter stores as they are
    biases: bool = False  # of changed modules, stored as they are
    tied: bool = False  # a changed embedding is also the output layer


def kind_of(name: str, shape: Sequence[int], model_type: str) -> Kind | None:
    """The kind of module that this is the weight of; None where PEFT puts no low-rank change."""
    if not name.endswith(_WEIGHT) or 0 in shape:
        return None
    word = module_of(name).rpartition(".")[2]
    if len(shape) == 2:
        if word in EMBEDDING_WORDS:
            return "embedding"
        return "transposed" if word in TRANSPOSED_WORDS.get(model_type, ()) else "linear"
    if 3 <= len(shape) <= 5:
        by_channel = shape[1] == 1 and shape[0] > 1  # each channel with its own window: no sum over channels to factor
        return None if by_channel else "conv"
    return None


def module_of(name: str) -> str:
    """The module that a tensor belongs to."""
    return name.rpartition(".")[0]


def matrix_of(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a weight taken for a matrix: its first axis by all others."""
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def factors(name: str, shape: Sequence[int], kind: Kind, rank: int) -> Factors:
    """The two tensors that stand for the change of a weight."""
    module, (rows, columns) = ROOT + module_of(name), matrix_of(shape)
    match kind:
        case "linear":
            return Factors(f"{module}.lora_A.weight", (rank, columns), f"{module}.lora_B.weight", (rows, rank))
        case "transposed":
            return Factors(f"{module}.lora_A.weight", (rank, rows), f"{module}.lora_B.weight", (columns, rank))
        case "embedding":
            return Factors(f"{module}.lora_embedding_A", (rank, rows), f"{module}.lora_embedding_B", (columns, rank))
        case "conv":
            ones = (1,) * (len(shape) - 2)
            down, up = (rank, *shape[1:]), (rows, rank, *ones)
            return Factors(f"{module}.lora_A.weight", down, f"{module}.lora_B.weight", up)


def turned(kind: Kind) -> bool:
    """Whether A stands on the side of the stored rows."""
    return kind in ("transposed", "embedding")


def adapter_config(facts: AdapterFacts, names: Collection[str]) -> dict[str, Any]:
    """`adapter_config.json`; `names` are all the tensors of the model."""
    rank = Counter(facts.ranks.values()).most_common(1)[0][0] if facts.ranks else 1
    differing = {module for module, own in facts.ranks.items() if own != rank}
    met = [module for module in facts.ranks if not differing.isdisjoint(_endings(module))]
    others = {module: facts.ranks[module] for module in _longest_first(met)}
    return {
        "peft_type": "LORA",
        "task_type": next((task for end, task in _TASKS.items() if facts.architecture.endswith(end)), None),
        "base_model_name_or_path": facts.base,
        "revision": facts.revision,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": short_names(facts.ranks, names),
        "modules_to_save": sorted(facts.whole) or None,
        "bias": "all" if facts.biases else "none",
        "fan_in_fan_out": facts.transposed,
        "lora_dropout": 0.0,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
        **({"ensure_weight_tying": True} if facts.tied else {}),
    }


def short_names(modules: Collection[str], names: Collection[str]) -> list[str]:
    """What `target_modules` has to name: the last word of modules where it means them all and nothing else."""
    everything = {module_of(name) for name in names}
    paths = {prefix for module in everything for prefix in _and_above(module)}
    chosen: dict[str, None] = {}
    for module in modules:
        word = module.rpartition(".")[2]
        alike = {path for path in paths if path.rpartition(".")[2] == word}
        chosen[word if alike <= set(modules) and not word.isdigit() else module] = None
    return sorted(chosen)


def _and_above(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _endings(module: str) -> list[str]:
    """All that as a pattern would mean this module: itself, and what stands behind each of its dots."""
    parts = module.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _longest_first(modules: Collection[str]) -> list[str]:
    """PEFT takes the first pattern that is the end of a module's name."""
    return sorted(modules, key=lambda module: (-len(module), module))
