"""What Ligate knows of architectures, as data: where layer numbers stand in names, which config keys count them.

A merge of tensors of the same name needs none of it. Gradients need the layer numbers, slices the rest as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

LAYER_WORDS = ("layers", "layer", "h", "blocks", "block", "resblocks", "transformer_blocks")
"""The word before a layer number: Llama, BERT, GPT-2, timm and GPT-NeoX-like, T5, OpenCLIP, diffusion transformers."""

_LAYER = re.compile(rf"(?P<stack>(?:.*?\.)?(?:{'|'.join(LAYER_WORDS)}))\.(?P<number>[0-9]+)\.(?P<rest>.+)")
_ANY_NUMBER = re.compile(r"(?P<stack>[^0-9]*?[^0-9.])\.(?P<number>[0-9]+)\.(?P<rest>.+)")


class Layer(NamedTuple):
    """A tensor's place in a stack of layers: `model.layers`, 3, `mlp.up_proj.weight`."""

    stack: str
    number: int
    rest: str


def layers(names: Iterable[str]) -> Mapping[str, Layer]:
    """Which of the names lie in layers. Where no known word precedes a number, any number in a name counts."""
    names = tuple(names)
    found = {name: Layer(m["stack"], int(m["number"]), m["rest"]) for name in names if (m := _LAYER.fullmatch(name))}
    if found:
        return found
    return {
        name: Layer(m["stack"], int(m["number"]), m["rest"]) for name in names if (m := _ANY_NUMBER.fullmatch(name))
    }


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
