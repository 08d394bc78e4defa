"""Ways to bring a second network into the coordinates of a first one, so that the line between them stays low.

Each is a row of the suite. A hidden unit has no place of its own: units can be permuted without changing what a network
computes, and networks from different initialisations have them in different orders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ligate.align.axes.graph import symmetries
from ligate.align.matching import weight_matching
from ligate.bench.suite import State, Use
from ligate.bench.suites.digits.networks import Architecture, Kind

Aligner = Callable[[State, State, Architecture, Tensor], State]
"""(a, b, their architecture, training images [N, 8, 8]) -> weights that do what b does, in the coordinates of a."""


class Alignment(NamedTuple):
    """`kinds` are the networks that it can align; others are left out of its row."""

    title: str
    align: Aligner
    uses: Sequence[Use] = ("nothing",)
    kinds: Sequence[Kind] = ("mlp", "cnn", "vit")
    note: str = ""


def as_it_is(a: State, b: State, architecture: Architecture, images: Tensor) -> State:
    return b


def by_weights(a: State, b: State, architecture: Architecture, images: Tensor) -> State:
    groups = symmetries(architecture.build(), (images[:1],)).groups
    return weight_matching(a, b, groups).applied(b, groups)


ALIGNERS: Mapping[str, Alignment] = {
    "midpoint": Alignment("midpoint, not aligned", as_it_is, note="the average of the two networks as they are"),
    "weight-matching": Alignment(
        "midpoint, weight matching", by_weights, note="Git Re-Basin, arXiv 2209.04836: units matched by their weights"
    ),
}
