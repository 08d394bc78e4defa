"""Ways to bring a second network into the coordinates of a first one, so that the line between them stays low.

Each is a row of the suite. A hidden unit has no place of its own: units can be permuted without changing what a network
computes, and networks from different initialisations have them in different orders. Some rows also mend what lies on
the line: REPAIR gives its hidden units the spread that those of the two networks have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ligate.align.activation_matching import activation_matching
from ligate.align.axes.graph import Symmetries, symmetries
from ligate.align.matching import weight_matching
from ligate.align.repair import corrected, mixed, statistics
from ligate.align.straight_through import Search, straight_through
from ligate.bench.suite import State, Use
from ligate.bench.suites.digits.networks import Architecture, Kind

Aligner = Callable[[State, State, Architecture, Tensor], State]
"""(a, b, their architecture, training images [N, 8, 8]) -> weights that do what b does, in the coordinates of a."""

Mend = Callable[[State, float], State]
"""(a network between two others, its share of the second) -> what is asked instead."""

Mender = Callable[[State, State, Architecture, Tensor], Mend]
"""(a, aligned b, their architecture, training images) -> what mends networks between them."""

SEARCH = Search(steps=100, rate=0.1)
SEARCHED = 256  # images: each step asks all of them


class Alignment(NamedTuple):
    """`kinds` are the networks that it can align; others are left out of its row. `mend` acts between the ends."""

    title: str
    align: Aligner
    uses: Sequence[Use] = ("nothing",)
    kinds: Sequence[Kind] = ("mlp", "cnn", "vit")
    note: str = ""
    mend: Mender | None = None


def as_it_is(a: State, b: State, architecture: Architecture, images: Tensor) -> State:
    return b


def by_weights(a: State, b: State, architecture: Architecture, images: Tensor) -> State:
    groups = _traced(architecture, 1).groups
    return weight_matching(a, b, groups).applied(b, groups)


def by_activations(a: State, b: State, architecture: Architecture, images: Tensor) -> State:
    found = _traced(architecture, len(images))
    return activation_matching(found, a, b, [(images,)]).applied(b, found.groups)


def by_both_and_the_average(a: State, b: State, architecture: Architecture, images: Tensor) -> State:
    """The better of two searches: from what weight matching finds, by itself and after activation matching."""
    few = images[:SEARCHED]
    found = _traced(architecture, len(few))
    groups, batches = found.groups, [(few,)]
    starts = [
        weight_matching(a, b, groups),
        weight_matching(a, b, groups, start=activation_matching(found, a, b, batches)),
    ]
    searched = [straight_through(found, a, b, batches, start=start, search=SEARCH) for start in starts]
    return max(searched, key=lambda one: one.score).applied(b, groups)


def by_repair(a: State, b: State, architecture: Architecture, images: Tensor) -> Mend:
    program, batches = _traced(architecture, len(images)).program, [(images,)]
    both = [statistics(program, each, batches) for each in (a, b)]
    return lambda state, share: corrected(program, state, mixed(both, [1 - share, share]), batches)


@cache
def _traced(architecture: Architecture, images: int) -> Symmetries:
    return symmetries(architecture.build().eval(), (torch.zeros(images, 8, 8),))


_INPUTS: Sequence[Use] = ("unlabelled inputs",)
_REPAIRED = "then REPAIR, arXiv 2211.08403, on the training images"

ALIGNERS: Mapping[str, Alignment] = {
    "midpoint": Alignment("midpoint, not aligned", as_it_is, note="the average of the two networks as they are"),
    "weight-matching": Alignment(
        "midpoint, weight matching", by_weights, note="Git Re-Basin, arXiv 2209.04836: units matched by their weights"
    ),
    "activation-matching": Alignment(
        "midpoint, activation matching",
        by_activations,
        _INPUTS,
        note="Git Re-Basin, arXiv 2209.04836: units matched by what they do on the training images",
    ),
    "repair": Alignment("midpoint + REPAIR", as_it_is, _INPUTS, note=f"not aligned, {_REPAIRED}", mend=by_repair),
    "weight-matching-repair": Alignment(
        "weight matching + REPAIR", by_weights, _INPUTS, note=f"weights matched, {_REPAIRED}", mend=by_repair
    ),
    "activation-matching-repair": Alignment(
        "activation matching + REPAIR",
        by_activations,
        _INPUTS,
        note=f"activations matched, {_REPAIRED}",
        mend=by_repair,
    ),
    "straight-through-repair": Alignment(
        "straight-through + REPAIR",
        by_both_and_the_average,
        _INPUTS,
        note="maps for which the repaired average says what both say together, searched for on "
        f"{SEARCHED} training images, {_REPAIRED}",
        mend=by_repair,
    ),
}
