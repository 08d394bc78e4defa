"""Where layer numbers stand in the names of tensors: all that gradients, slices and blocks need of an architecture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

LAYER_WORDS = (
    *("layers", "layer", "h", "blocks", "block", "resblocks", "transformer_blocks"),
    *("input_blocks", "output_blocks", "down_blocks", "up_blocks", "double_blocks", "single_blocks"),
)
"""The word before a layer number: Llama, BERT, GPT-2, timm and GPT-NeoX-like, T5, OpenCLIP, diffusion transformers;
then the blocks of U-Nets in single files, of U-Nets in diffusers, of Flux. The first such word in a name counts."""

_LAYER = re.compile(rf"(?P<stack>(?:.*?\.)?(?:{'|'.join(LAYER_WORDS)}))\.(?P<number>[0-9]+)\.(?P<rest>.+)")
_ANY_NUMBER = re.compile(r"(?P<stack>.*?)\.(?P<number>[0-9]+)\.(?P<rest>.+)")


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


def blocks(names: Iterable[str]) -> Mapping[str, str]:
    """To which block each tensor belongs: its layer (`model.layers.3`), outside the layers its module (`lm_head`)."""
    names = tuple(names)
    found = layers(names)
    return {name: f"{at.stack}.{at.number}" if (at := found.get(name)) else _module(name) for name in names}


def _module(name: str) -> str:
    return name.rpartition(".")[0] or name
