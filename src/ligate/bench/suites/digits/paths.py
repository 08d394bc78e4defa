"""The straight line between two networks of one architecture, and the loss along it.

The barrier is how far the loss rises, at the worst of eleven points, above the line between the losses of the two ends:
"The Role of Permutation Invariance in Linear Mode Connectivity of Neural Networks", arXiv 2110.06296. Where there is
none, any mixture of the two networks answers about as well as they do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ligate.bench.suite import State

SHARES = tuple(n / 10 for n in range(11))  # of the second network
_MIDDLE = SHARES.index(0.5)


class Walk(NamedTuple):
    """Mean cross-entropy at each of SHARES, and for each of them and every question whether the answer is right."""

    losses: Sequence[float]
    right: Tensor  # [11, N] float64

    @property
    def barrier(self) -> float:
        first, last = self.losses[0], self.losses[-1]
        return max(loss - ((1 - share) * first + share * last) for share, loss in zip(SHARES, self.losses, strict=True))

    @property
    def midpoint(self) -> Tensor:
        return self.right[_MIDDLE]

    @property
    def accuracies(self) -> list[float]:
        return self.right.mean(1).tolist()


def walk(
    a: State,
    b: State,
    logits: Callable[[State], Tensor],
    labels: Tensor,
    mend: Callable[[State, float], State] | None = None,
) -> Walk:
    """Ask all networks on the line from a to b the questions whose answers are `labels`.

    Args:
        mend: (a network between the ends, its share of b) -> what is asked instead.
    """
    line = {share: between(a, b, share) for share in SHARES}
    if mend:
        line |= {share: mend(line[share], share) for share in SHARES[1:-1]}
    scores = [logits(line[share]).double() for share in SHARES]
    losses = [float(torch.nn.functional.cross_entropy(each, labels)) for each in scores]
    return Walk(losses, torch.stack([(each.argmax(1) == labels).double() for each in scores]))


def between(a: State, b: State, share: float) -> dict[str, Tensor]:
    """(1 - share) a + share b; the ends are the networks themselves."""
    return {name: torch.lerp(value.float(), b[name].float(), share) for name, value in a.items()}
