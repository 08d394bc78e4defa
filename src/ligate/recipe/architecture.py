"""What Ligate knows of architectures, as data: which config keys count layers, what stands before them, what is tied.

A merge of tensors of the same name needs none of it. Gradients need the layer numbers, slices the rest as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from ligate.core.layers import Layer


def depths(found: Mapping[str, Layer]) -> Mapping[str, float]:
    """Position of each tensor's layer in its stack: first 0, last 1; a stack of one layer is at 1."""
    stacks: dict[str, set[int]] = {}
    for layer in found.values():
        stacks.setdefault(layer.stack, set()).add(layer.number)
    ranks = {stack: {number: rank for rank, number in enumerate(sorted(seen))} for stack, seen in stacks.items()}
    return {name: position(ranks[layer.stack][layer.number], len(ranks[layer.stack])) for name, layer in found.items()}


def position(rank: int, count: int) -> float:
    """Where the layer of this rank stands among `count` layers, from 0 to 1."""
    return rank / (count - 1) if count > 1 else 1.0


FIRST_LAYER_WORDS = ("relative_attention_bias",)
"""Modules that the first layer of a stack may hold for all of them: T5's position bias."""


def shared_in_first(layers: Mapping[int, Mapping[str, str]]) -> Mapping[str, str]:
    """Of one stack (number -> rest of the name -> name): what its first layer holds for all, by the rest of the name.

    Whichever layer is the first of a result, it needs them, and no other layer may have them.
    """
    if len(layers) < 2:
        return {}
    first, *others = (layers[number] for number in sorted(layers))
    return {
        rest: name
        for rest, name in first.items()
        if any(word in rest.split(".") for word in FIRST_LAYER_WORDS) and not any(rest in other for other in others)
    }


VOCABULARY_WORDS = (
    "embed_tokens",
    "word_embeddings",
    "wte",
    "shared",
    "lm_head",
    "embed_out",
    "token_embedding",
    "embed_in",
)
"""Modules with one row per token."""

TIED = (
    frozenset({"lm_head.weight", "model.embed_tokens.weight"}),
    frozenset({"lm_head.weight", "transformer.wte.weight"}),
    frozenset({"lm_head.weight", "shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}),
    frozenset({"proj_out.weight", "model.decoder.embed_tokens.weight"}),
    frozenset({"cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"}),
    frozenset({"cls.predictions.decoder.bias", "cls.predictions.bias"}),
)
"""Tensors that are one in many checkpoints, which then store only one of the names."""


def is_vocabulary(name: str) -> bool:
    words = name.split(".")
    return any(word in words for word in VOCABULARY_WORDS)


def tied_to(name: str) -> tuple[str, ...]:
    """Other names under which the same numbers may be stored."""
    return tuple(other for group in TIED if name in group for other in sorted(group) if other != name)


BEFORE_WORDS = ("embed", "wte", "wpe", "shared", "token", "position", "rotary", "patch", "class_", "conv1", "conv2")
"""Words in names of tensors that stand before the layers; everything else outside the layers stands after them."""


def before_layers(name: str) -> bool:
    if "lm_head" in name or "embed_out" in name or "post" in name:
        return False
    return any(word in name for word in BEFORE_WORDS)


COUNT_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth", "num_blocks")
"""Config keys that count the layers of a model's only stack (or of its encoder)."""

STACK_COUNT_KEYS = {
    "encoder": ("encoder_layers", "num_encoder_layers"),
    "decoder": ("decoder_layers", "num_decoder_layers"),
}
"""Config keys that count the layers of one of two stacks, by the word in the stack's name."""

SECTIONS = {
    "vision": ("vision_config",),
    "visual": ("vision_config",),
    "audio": ("audio_config",),
    "text_model": ("text_config",),
    "language_model": ("text_config", "llm_config", "language_config"),
}
"""Nested tables of a config, by a part of the name of the stack they speak of."""

INNER_SECTIONS = ("text_config", "llm_config", "language_config")
"""Nested tables that speak of the only stack of layers when the config itself does not."""

PER_LAYER = (
    *("layer_types", "mlp_layer_types", "layers_block_type", "hybrid_override_pattern", "block_types"),
    *("no_rope_layers", "layer_rope_theta", "indexer_types", "attention_layers", "attn_layers", "attention_window"),
    *("num_attention_heads_per_layer", "num_key_value_heads_per_layer", "num_kv_heads", "block_configs"),
)
"""Config keys with one value per layer."""

LAYER_NUMBERS = (
    *("mlp_only_layers", "moe_layers", "cross_attention_layers", "attn_layer_indices", "local_layer_ids"),
    *("fullatt_block_indexes", "global_attn_indexes", "window_block_indices"),
)
"""Config keys that list layers by their number."""

LEADING_COUNTS = ("first_k_dense_replace", "num_dense_layers")
"""Config keys that count layers of another kind which stand before all others: dense ones before mixtures."""

LAYER_RHYTHMS = (
    *("max_window_layers", "num_kv_shared_layers"),
    *("sliding_window_pattern", "full_attention_interval", "global_attn_every_n_layers", "no_rope_layer_interval"),
    *("decoder_sparse_step", "moe_layer_freq", "interleave_moe_layer_step", "moe_layer_interval"),
    *("attn_layer_period", "attn_layer_offset", "expert_layer_period", "expert_layer_offset"),
)
"""Config keys that tell a layer's kind from its number, so that moving a layer may change its kind."""
