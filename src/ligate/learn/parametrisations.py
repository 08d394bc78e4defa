"""How many numbers decide a merge, and what they do: the first of the three choices of a learned merge.

For a tensor l with base W_0 and experts W_1 ... W_K, tau_k = W_k - W_0, a parametrisation says what the merge is for
given numbers. It is asked tensor by tensor, with the experts' deltas at hand for that tensor only, and has to be
differentiable in its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from ligate.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Numbers = Mapping[str, "Tensor"]
Squash = Literal["none", "clamp", "sigmoid", "softmax"]
GATE = "gate"


class Parametrisation(Protocol):
    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        """The numbers before anything is learned, float32, under names of the parametrisation's own."""
        ...

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers, step: int | None = None) -> Tensor:
        """[*shape] from base [*shape] and deltas [K, *shape].

        `step` is that of the learning, for parametrisations that draw by chance: the same step draws the same again.
        None: the merge that is used, without chance.
        """
        ...

    def shares(self, numbers: Numbers) -> Tensor:
        """[K] how much each expert has in the merge, summing to 1."""
        ...


@dataclass(frozen=True)
class Coefficients:
    """W_0 + sum_k c_k tau_k, with a coefficient for each expert, or also for each tensor, or for each part of a tensor.

    Args:
        per: `task`: one for each expert (AdaMerging task-wise); `tensor`: one for each expert and tensor (AdaMerging
            layer-wise, arXiv 2310.02575; aTLAS, arXiv 2407.02880).
        start_at: the coefficient before anything is learned; with `softmax` it is 1 / K.
        first_at: that of the first expert, where it is an earlier merge that goes on; None: `start_at`, too.
        squash: `none`; `clamp` to [0, 1] (no gradient outside, as AdaMerging); `sigmoid`, what is learned being the
            logit (Expert Merging, arXiv 2509.25712); `softmax` over the experts, so that they sum to 1.
        parts: so many coefficients per tensor, for contiguous parts of nearly equal size (Expert Merging++), or for a
            random partition of its numbers (`scattered`; aTLAS x K). A tensor of fewer numbers has as many parts.
    """

    per: Literal["task", "tensor"] = "tensor"
    start_at: float = 0.3
    squash: Squash = "none"
    parts: int = 1
    scattered: bool = False
    seed: int = 0
    first_at: float | None = None

    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        at = torch.full((experts,), self.start_at)
        at[0] = self.start_at if self.first_at is None else self.first_at
        at = at.logit() if self.squash == "sigmoid" else torch.zeros(experts) if self.squash == "softmax" else at
        if self.per == "task":
            return {"": at}
        counts = {name: self._parts_of(torch.Size(shape).numel()) for name, shape in shapes.items()}
        return {name: at[:, None].repeat(1, count) for name, count in counts.items()}

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers, step: int | None = None) -> Tensor:
        c = self.coefficients(numbers["" if self.per == "task" else name]).reshape(len(deltas), -1)
        if c.shape[1] == 1:
            return added(base, deltas, c)
        return _scattered(base, deltas, c, self._which(base.numel())) if self.scattered else _in_parts(base, deltas, c)

    def shares(self, numbers: Numbers) -> Tensor:
        means = [self.coefficients(each).reshape(len(each), -1).mean(1) for each in numbers.values()]
        return as_shares(torch.stack(means).mean(0))

    def coefficients(self, numbers: Tensor) -> Tensor:
        """What multiplies the deltas."""
        match self.squash:
            case "sigmoid":
                return numbers.sigmoid()
            case "clamp":
                return numbers.clamp(0, 1)
            case "softmax":
                return numbers.softmax(0)
            case "none":
                return numbers

    def _parts_of(self, count: int) -> int:
        return max(1, min(self.parts, count))

    def _which(self, count: int) -> Tensor:
        """The part of each number, drawn."""
        draw = torch.Generator().manual_seed(self.seed + count)
        return torch.randint(self._parts_of(count), (count,), generator=draw)


@dataclass(frozen=True)
class Gated:
    """W_0 + s sum_k c_k tau_k with c = softmax(gate + offset): one gate for all tensors, and offsets for each.

    The gate is the experts' weight in a vote as well (`shares`): merge and vote are of the same collaboration, as in
    Multi-Level Collaboration in Model Merging, arXiv 2503.01268. Without `offsets` the merge is a weighted mean.

    Args:
        offsets: whether each tensor moves the gate for itself.
        length: the factor s before anything is learned, one for each tensor; None: it is 1 and stays so.
        at: what the experts have in the vote before anything is learned, such as how many examples each was trained on;
            empty: they have equal shares.
    """

    offsets: bool = False
    length: float | None = None
    at: tuple[float, ...] = ()

    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        own = {f"offset:{name}": torch.zeros(experts) for name in shapes} if self.offsets else {}
        longer = {} if self.length is None else {f"length:{name}": torch.tensor([self.length]) for name in shapes}
        return {GATE: gate_at(self.at, experts), **own, **longer}

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers, step: int | None = None) -> Tensor:
        return added(base, deltas, self.coefficients(name, numbers)[:, None])

    def coefficients(self, name: str, numbers: Numbers) -> Tensor:
        """[K] what multiplies the deltas of a tensor."""
        moved = numbers[GATE] + (numbers[f"offset:{name}"] if self.offsets else 0.0)
        return moved.softmax(0) * (1.0 if self.length is None else numbers[f"length:{name}"])

    def shares(self, numbers: Numbers) -> Tensor:
        return numbers[GATE].softmax(0)


def gate_at(shares: Sequence[float], experts: int) -> Tensor:
    """[experts] a gate whose softmax is in these proportions; without any all are equal.

    Raises:
        InputError: there is not one share for each expert, or one is not positive.
    """
    if not shares:
        return torch.zeros(experts)
    if len(shares) != experts or min(shares) <= 0:
        hint = "give each expert a positive number, such as how many examples it was trained on."
        raise InputError(f"{list(shares)} are no shares of {experts} experts", where="gate", hint=hint)
    found = torch.tensor(shares).log()
    return found - found.mean()


def added(base: Tensor, deltas: Tensor, coefficients: Tensor) -> Tensor:
    """base [*S] + sum_k c_k deltas[k]; coefficients [K, 1]."""
    return base + torch.tensordot(coefficients[:, 0].to(deltas.dtype), deltas, 1)


def _in_parts(base: Tensor, deltas: Tensor, coefficients: Tensor) -> Tensor:
    """Coefficients [K, parts] of contiguous parts; in slices, whose gradients are sums over slices."""
    flat, count, parts = deltas.reshape(len(deltas), -1), base.numel(), coefficients.shape[1]
    ends = [-(-part * count // parts) for part in range(parts + 1)]
    steps = [
        torch.tensordot(coefficients[:, part].to(flat.dtype), flat[:, start:end], 1)
        for part, (start, end) in enumerate(pairwise(ends))
    ]
    return base + torch.cat(steps).reshape(base.shape)


def _scattered(base: Tensor, deltas: Tensor, coefficients: Tensor, which: Tensor) -> Tensor:
    """Coefficients [K, parts]; `which` is the part of each number, in order."""
    c = coefficients.to(deltas.dtype)
    return base + (c[:, which] * deltas.reshape(len(deltas), -1)).sum(0).reshape(base.shape)


def as_shares(coefficients: Tensor) -> Tensor:
    """Coefficients [K] as shares of a vote: what is negative has none."""
    positive = coefficients.clamp_min(0)
    return positive / positive.sum().clamp_min(1e-12)
