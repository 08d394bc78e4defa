"""Maps found through what the average of two networks says: the straight-through matching of Git Re-Basin.

arXiv 2209.04836, section 3.3: weights W are learned, freely; at each step the maps M are those that bring B nearest to
W (weight matching, from the maps of the step before), the average (A + M(B)) / 2 is asked, and the gradient of what it
says goes to W as if M(B) were W. Two things differ from the paper, and need no labels:

    the loss   how far the average is from what A and B say together: cross-entropy with the mean of their
               probabilities, over the last axis of the output
    REPAIR     the average is asked as it will be corrected afterwards (repair.py): of two maps, that is better which
               leaves less to be lost after correction. `repair=False` asks it as it is

Of all steps the one whose average came closest over all batches is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from ligate.core.errors import InputError

from .balanced import balanced, told, turned, turning
from .maps import Group
from .matching import Matching, norm_scales, turns, weight_matching
from .repair import correcting, mixed, statistics
from .running import Inputs, computed

if TYPE_CHECKING:
    from torch import Tensor

    from .axes.graph import Symmetries

Loss = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
"""(what the average says, what A says, what B says), for one batch -> a number."""

_SWEEPS = 3  # of weight matching in a step: the next one goes on


class Search(NamedTuple):
    """How long and how fast it is learned.

    Args:
        rate: of Adam, as a share of the mean size of the numbers of each weight.
        repair: the average is asked as REPAIR will correct it.
    """

    steps: int = 200
    rate: float = 0.05
    repair: bool = True


def agreement(said: Tensor, by_a: Tensor, by_b: Tensor) -> Tensor:
    """Mean cross-entropy of logits [..., classes] with the mean of the probabilities that A and B give."""
    wanted = (by_a.softmax(-1) + by_b.softmax(-1)) / 2
    return cross_entropy(said.flatten(0, -2), wanted.flatten(0, -2))


def straight_through(
    found: Symmetries,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    batches: Sequence[Inputs],
    *,
    start: Matching | None = None,
    search: Search | None = None,
    loss: Loss = agreement,
    seed: int = 0,
) -> Matching:
    """What brings B to A so that their average says what they say together.

    Args:
        found: of the traced network; its trace computes both.
        batches: unlabelled inputs, some hundreds; all of them are asked in every step.
        start: where it begins; what weight matching finds, if there is none.
        loss: for networks whose first output is not logits.

    Returns:
        The maps; `score` is the loss of the average, negated.

    Limits: the search depends on its start; several may be compared by their scores. A step costs, over all inputs, a
    pass of the average and its gradient, one of B for REPAIR, and a few sweeps of weight matching.

    Raises:
        InputError: weights or inputs do not fit the trace, or there are no inputs.
    """
    if not batches:
        raise InputError("there are no inputs", where="straight-through matching", hint="give some hundreds.")
    search = search or Search()
    one, other = balanced(a, found.groups), balanced(b, found.groups)
    groups = turning(found.groups)
    now = start._replace(orders=turned(start.orders, found.groups, one, other)) if start else None
    average = _Average(found.program, one.weights, other.weights, batches, search.repair, loss)
    best = _searched(average, other.weights, groups, now, search, seed)
    folded = {group.name: norm_scales(a, b, group) for group in groups if turns(group)}
    return Matching(told(best.orders, found.groups, one, other), best.score, folded)


def _searched(
    average: _Average, b: Mapping[str, Tensor], groups: Sequence[Group], now: Matching | None, search: Search, seed: int
) -> Matching:
    a = average.a
    folded = {group.name: norm_scales(a, b, group) for group in groups if turns(group)}
    now = now or weight_matching(a, b, groups, seed=seed)
    begin = now._replace(scales=folded).applied(b, groups)
    free = {
        name: ((value + begin[name]) / 2).requires_grad_() for name, value in a.items() if value.is_floating_point()
    }
    sizes = {name: float(value.detach().abs().mean()) for name, value in free.items()}
    adam = torch.optim.Adam([{"params": [value], "lr": search.rate * sizes[name]} for name, value in free.items()])
    best: Matching | None = None
    for step in range(search.steps):
        near = {name: value.detach() for name, value in free.items()}
        now = weight_matching(near, b, groups, seed=seed + step, starts=1, start=now, sweeps=_SWEEPS)
        now = now._replace(scales=folded)
        adam.zero_grad()
        lost = average.learn(now.applied(b, groups), free)
        adam.step()
        if best is None or -lost > best.score:
            best = now._replace(score=-lost)
    return best or now


class _Average:
    """The average of A with whatever B is brought to, asked on all inputs."""

    def __init__(
        self,
        program: Any,
        a: Mapping[str, Tensor],
        b: Mapping[str, Tensor],
        batches: Sequence[Inputs],
        repair: bool,
        loss: Loss,
    ) -> None:
        self.a = a
        self._program, self._batches, self._repair, self._loss = program, batches, repair, loss
        with torch.no_grad():
            self._says = [[computed(program, each, [batch])[0] for each in (a, b)] for batch in batches]
        self._does = [statistics(program, a, [batch]) if repair else {} for batch in batches]

    def learn(self, b: Mapping[str, Tensor], free: Mapping[str, Tensor]) -> float:
        """The mean loss over all inputs; its gradient is added to that of `free`, as if this were `b`."""
        total = 0.0
        for batch, says, does in zip(self._batches, self._says, self._does, strict=True):
            weights = {name: self._half(name, b[name], free.get(name)) for name in self.a}
            look = None
            if self._repair:
                target = mixed([does, statistics(self._program, b, [batch])], [0.5, 0.5])
                look = correcting(self._program, weights, target)
            lost = self._loss(computed(self._program, weights, [batch], look)[0], *says) / len(self._batches)
            lost.backward()
            total += float(lost.detach())
        return total

    def _half(self, name: str, b: Tensor, free: Tensor | None) -> Tensor:
        """The difference that is added is zero, and all that the gradient sees."""
        return self.a[name] if free is None else (self.a[name] + b + free - free.detach()) / 2
