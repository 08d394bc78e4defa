"""Two networks of one task, what they say of the test images, and the second in the coordinates of the first."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from ligate.bench.suite import State
from ligate.bench.suites.digits.aligners import Alignment, Mend
from ligate.bench.suites.digits.data import digits
from ligate.bench.suites.digits.networks import Architecture, logits
from ligate.bench.suites.digits.paths import between
from ligate.verbs.parallel import one_processor


class Aligned(NamedTuple):
    """The second network in the coordinates of the first, what mends networks between them, and the seconds of both."""

    state: State
    mend: Mend | None
    seconds: float


@dataclass(frozen=True)
class Pair:
    """Two networks that began at different random weights, alike or of different widths."""

    left: Architecture
    right: Architecture
    states: tuple[State, State]
    _aligned: dict[str, Aligned] = field(default_factory=dict[str, Aligned], compare=False)

    @property
    def alike(self) -> bool:
        return self.left == self.right

    @property
    def name(self) -> str:
        return name_of(self.left, self.right)

    @property
    def parameters(self) -> int:
        """Of both networks."""
        return sum(value.numel() for state in self.states for value in state.values())

    @cached_property
    def logits(self) -> tuple[Tensor, Tensor]:
        images = digits()["test"].images
        first, second = self.states
        return logits(self.left, first, images).double(), logits(self.right, second, images).double()

    def aligned(self, alignment: Alignment) -> Aligned:
        """By rows that begin with the same alignment it is made once."""
        if alignment.title not in self._aligned:
            (first, second), images = self.states, digits()["train"].images
            began = time.perf_counter()
            with one_processor():
                state = alignment.align(first, second, self.left, images)
                mend = alignment.mend(first, state, self.left, images) if alignment.mend else None
            self._aligned[alignment.title] = Aligned(state, mend, time.perf_counter() - began)
        return self._aligned[alignment.title]

    def middle(self, aligned: Aligned) -> State:
        """The average of the two after an alignment, mended where that mends."""
        middle = between(self.states[0], aligned.state, 0.5)
        return aligned.mend(middle, 0.5) if aligned.mend else middle


def name_of(left: Architecture, right: Architecture) -> str:
    return left.name if left == right else f"{left.name} + {right.name}"
