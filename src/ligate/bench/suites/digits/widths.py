"""Ways to make one network of two with different widths: rows of the suite for its pairs of different widths.

The second network is brought to the widths of the first and averaged with it. Some rows then train for a moment on the
data that both have seen, and so does the first network alone, to tell what of the gain is the training's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ligate.align.activations import recorded
from ligate.align.axes.graph import symmetries
from ligate.align.maps import applied
from ligate.align.repair import repaired
from ligate.align.transport import ot_fusion
from ligate.bench.suite import State, Use
from ligate.bench.suites.digits.networks import Architecture, Lesson
from ligate.bench.suites.digits.paths import between

TUNING = Lesson(5, 1e-2, falls=True)


class Member(NamedTuple):
    """A network of a pair; both have the same depth."""

    architecture: Architecture
    state: State


Fuse = Callable[[Member, Member, Tensor], State]
"""(one, other, training images [N, 8, 8]) -> weights of the architecture of the one."""


class Fusion(NamedTuple):
    """`into` is the network, 0 or 1, whose widths the result has; `tuned` says that it is trained for a moment."""

    title: str
    fuse: Fuse
    into: int = 0
    tuned: bool = False
    uses: Sequence[Use] = ("nothing",)
    note: str = ""


def alone(one: Member, other: Member, images: Tensor) -> State:
    return one.state


def padded(one: Member, other: Member, images: Tensor) -> State:
    """Weights that the other does not have count as zeros; those that the one does not have are left out."""
    return between(one.state, {name: _filled(other.state[name], value) for name, value in one.state.items()}, 0.5)


def transported(one: Member, other: Member, images: Tensor) -> State:
    groups = (symmetries(each.architecture.build(), (images[:1],)).groups for each in (one, other))
    return between(one.state, applied(other.state, ot_fusion(one.state, other.state, *groups).maps), 0.5)


def transported_and_repaired(one: Member, other: Member, images: Tensor) -> State:
    """By what units do, not by weights; then hidden units get the spread of what was averaged."""
    first, second = (symmetries(each.architecture.build().eval(), (images,)) for each in (one, other))
    seen = recorded(first, one.state, [(images,)]), recorded(second, other.state, [(images,)])
    brought = applied(other.state, ot_fusion(one.state, other.state, first.groups, second.groups, seen=seen).maps)
    return repaired(first.program, between(one.state, brought, 0.5), [one.state, brought], [(images,)])


def _filled(value: Tensor, like: Tensor) -> Tensor:
    part = value[tuple(slice(size) for size in like.shape)]
    found = torch.zeros_like(like)
    found[tuple(slice(size) for size in part.shape)] = part
    return found


_TRAINING: Sequence[Use] = ("training data",)
_PADDED, _FUSED = "filled up with zeros", "the {} brought to the widths of the {}, arXiv 1910.05653"
_MOMENT = f"then {TUNING.epochs} epochs on the data of both, at a rate that falls from {TUNING.rate:g}"

FUSIONS: Mapping[str, Fusion] = {
    "padded": Fusion("average, padded", padded, note=_PADDED),
    "ot-fusion": Fusion("OT fusion into the wider", transported, note=_FUSED.format("second", "first")),
    "ot-fusion-narrow": Fusion("OT fusion into the narrower", transported, 1, note=_FUSED.format("first", "second")),
    "ot-fusion-repair": Fusion(
        "OT fusion into the wider by activations, REPAIR",
        transported_and_repaired,
        uses=("unlabelled inputs",),
        note="units coupled by what they do; spread of hidden units restored, arXiv 2211.08403",
    ),
    "wider-tuned": Fusion("the wider alone, trained on", alone, 0, True, _TRAINING, _MOMENT),
    "narrower-tuned": Fusion("the narrower alone, trained on", alone, 1, True, _TRAINING, _MOMENT),
    "padded-tuned": Fusion("average, padded, trained on", padded, 0, True, _TRAINING, _MOMENT),
    "ot-fusion-tuned": Fusion("OT fusion into the wider, trained on", transported, 0, True, _TRAINING, _MOMENT),
    "ot-fusion-narrow-tuned": Fusion(
        "OT fusion into the narrower, trained on", transported, 1, True, _TRAINING, _MOMENT
    ),
}
