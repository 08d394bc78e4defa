"""How checkpoints of mixtures are laid out, as data: names of experts and gates, and what config.json says of them.

These are the names that transformers 4 writes and inference engines read. transformers 5 fuses the experts in memory,
and reads and writes these names all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ligate.core.errors import InputError, RecipeError

from .mixture import Mixture

FEED_FORWARD = re.compile(
    r"(?P<layer>(?:.*\.)?layers\.(?P<number>[0-9]{1,6})\.)mlp\.(?P<part>gate_proj|up_proj|down_proj)\.weight"
)
"""A weight of a dense model that every expert has its own of."""

LAST_PART = "down_proj"


@dataclass(frozen=True)
class Layout:
    """Names stand behind the layer's prefix (`model.layers.3.`); `{}` is the number of the expert."""

    id: str
    aliases: tuple[str, ...]  # what a config may call it
    dense: frozenset[str]  # model types whose layers it can hold
    model_type: str
    architecture: str
    parts: Mapping[str, str]  # part of the dense feed-forward -> its name in an expert
    gate: str
    count: str  # config key: number of experts
    shared: Mapping[str, str] = field(default_factory=dict)  # as `parts`, of the expert that every token goes through
    shared_gate: str = ""
    biases: tuple[str, ...] = ()  # of the attention, which it has even where the dense model has none
    told: Mapping[str, Any] = field(default_factory=dict)  # what its config says besides


_QWEN_PARTS = {part: f"mlp.experts.{{}}.{part}.weight" for part in ("gate_proj", "up_proj", "down_proj")}
_EVERY_LAYER: Mapping[str, Any] = {"decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True}

LAYOUTS = (
    Layout(
        id="mixtral",
        aliases=("mixtral",),
        dense=frozenset({"llama", "mistral"}),
        model_type="mixtral",
        architecture="MixtralForCausalLM",
        parts={
            "gate_proj": "block_sparse_moe.experts.{}.w1.weight",
            "down_proj": "block_sparse_moe.experts.{}.w2.weight",
            "up_proj": "block_sparse_moe.experts.{}.w3.weight",
        },
        gate="block_sparse_moe.gate.weight",
        count="num_local_experts",
    ),
    Layout(
        id="qwen2_moe",
        aliases=("qwen moe", "qwen2 moe"),
        dense=frozenset({"qwen2", "llama", "mistral"}),
        model_type="qwen2_moe",
        architecture="Qwen2MoeForCausalLM",
        parts=_QWEN_PARTS,
        gate="mlp.gate.weight",
        count="num_experts",
        shared={part: f"mlp.shared_expert.{part}.weight" for part in _QWEN_PARTS},
        shared_gate="mlp.shared_expert_gate.weight",
        biases=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        told={**_EVERY_LAYER, "qkv_bias": True},
    ),
    Layout(
        id="qwen3_moe",
        aliases=("qwen3 moe",),
        dense=frozenset({"qwen3"}),
        model_type="qwen3_moe",
        architecture="Qwen3MoeForCausalLM",
        parts=_QWEN_PARTS,
        gate="mlp.gate.weight",
        count="num_experts",
        told=_EVERY_LAYER,
    ),
)

_COMMON: Mapping[str, Any] = {"rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": False}
SILENT: Mapping[str, Mapping[str, Any]] = {
    "llama": {**_COMMON, "max_position_embeddings": 2048, "num_key_value_heads": None, "sliding_window": None},
    "mistral": {**_COMMON, "max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {**_COMMON, "max_position_embeddings": 32768, "num_key_value_heads": 32},
    "qwen3": {**_COMMON, "max_position_embeddings": 32768, "num_key_value_heads": 32, "head_dim": 128},
}
"""What a dense config means by saying nothing; the mixture's config would mean something else."""

_ROPE_THETA = 10_000.0
_GONE = ("mlp_bias", "pretraining_tp", "max_window_layers")
_DENSE_NEEDS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def layout_of(mixture: Mixture, config: Mapping[str, Any], where: str) -> Layout:
    """The layout for a base with this config: the one asked for, else the first that can hold it.

    Raises:
        InputError: no layout holds such models. RecipeError: the one asked for does not.
    """
    dense = str(config.get("model_type"))
    asked = (mixture.architecture or "").lower().replace("_", " ")
    named = [layout for layout in LAYOUTS if any(alias.startswith(asked) for alias in layout.aliases)]
    if not named:
        known = ", ".join(layout.id for layout in LAYOUTS)
        raise RecipeError(
            f"`architecture: {mixture.architecture}` is not written", where=str(mixture.place), hint=f"known: {known}"
        )
    fitting = [layout for layout in named if dense in layout.dense]
    if not fitting:
        types = sorted({one for layout in named for one in layout.dense})
        hint = f"experts come from dense models of the type {', '.join(types)}."
        raise InputError(f"a model of the type {dense} does not fit into a mixture of experts", where=where, hint=hint)
    if not mixture.shared:
        return fitting[0]
    sharing = next((layout for layout in fitting if layout.shared), None)
    if sharing is None or (fitting[0] is not sharing and not asked):
        hint = "`architecture: qwen` has one." if sharing else "leave `shared_experts:` out."
        text = f"the layout {fitting[0].id} has no shared experts"
        raise RecipeError(text, where=str(mixture.shared[0].place), hint=hint)
    if len(mixture.shared) > 1:
        raise RecipeError(f"{sharing.id} has one shared expert", where=str(mixture.shared[1].place), hint="keep one.")
    return sharing


def config_edits(layout: Layout, mixture: Mixture, config: Mapping[str, Any], shared_width: int) -> dict[str, Any]:
    """What the mixture's config.json says differently from its base's; what the base left unsaid is written out."""
    _require_plain(layout, config)
    silent = SILENT[str(config["model_type"])]
    said = {key: default for key, default in silent.items() if key not in config}
    if config.get("num_key_value_heads", silent["num_key_value_heads"]) is None:
        said["num_key_value_heads"] = config["num_attention_heads"]
    if "rope_theta" not in config and "rope_parameters" not in config:
        said["rope_theta"] = _ROPE_THETA
    edits: dict[str, Any] = {key: None for key in _GONE if key in config}
    edits |= {**said, "model_type": layout.model_type, "architectures": [layout.architecture]}
    edits |= {layout.count: len(mixture.experts), "num_experts_per_tok": mixture.chosen, **layout.told}
    if layout.id != "mixtral":
        edits["moe_intermediate_size"] = config["intermediate_size"]
    if layout.shared:
        edits["shared_expert_intermediate_size"] = shared_width
    return edits


def _require_plain(layout: Layout, config: Mapping[str, Any]) -> None:
    """InputError for what the layout's model does not compute."""
    lacking = [key for key in _DENSE_NEEDS if not isinstance(config.get(key), int)]
    if lacking:
        raise InputError(f"config.json does not tell {', '.join(lacking)}", hint="is it the model's own config.json?")
    window = config.get("sliding_window", SILENT[str(config["model_type"])].get("sliding_window"))
    if config.get("use_sliding_window") or (config["model_type"] == "mistral" and layout.id != "mixtral" and window):
        hint = "set it to false (or null) in a copy of the model: attention then reaches further than in training."
        raise InputError(f"{layout.id} cannot hold its sliding window of {window} tokens", hint=hint)
    if config.get("mlp_bias") or (config.get("attention_bias") and layout.id != "qwen3_moe"):
        raise InputError(f"{layout.id} cannot hold the biases of its layers (`attention_bias`, `mlp_bias`)")
