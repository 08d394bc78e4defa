"""More coefficients for the tensors on which the merge depends most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from .merging import Weights
from .parametrisations import Coefficients, Numbers, added

if TYPE_CHECKING:
    from torch import Tensor


def importances(base: Weights, experts: Sequence[Weights], by: Coefficients, numbers: Numbers) -> dict[str, float]:
    r"""How much of the merge's change a tensor makes up, summing to 1 over all tensors.

    .. math:: I_l \propto \sum_k |c_{kl}| \cdot \overline{|\tau_{kl}|} \cdot n_l

    with the mean magnitude of the task vector and the count n of numbers of tensor l, for coefficients per tensor.

    Source: Expert Merging++, arXiv 2509.25712, after descriptions of the paper: the authors' code takes the number of
    coefficients of a tensor as given.
    """
    found = {
        name: sum(
            float(c.abs().mean()) * float((expert[name].float() - base[name].float()).abs().sum())
            for c, expert in zip(by.coefficients(one), experts, strict=True)
        )
        for name, one in numbers.items()
    }
    whole = sum(found.values()) or 1.0
    return {name: one / whole for name, one in found.items()}


def allotted(importance: Mapping[str, float], budget: float = 1.0, steepness: float = 1.0) -> dict[str, int]:
    """floor(B I_l^s / sum I^s) coefficients for tensor l, with B = budget times the number of tensors.

    Below 1 there are none: such a tensor keeps the coefficient with which the learning starts. The tensor that counts
    most has one at least.

    >>> allotted({"a": 0.7, "b": 0.2, "c": 0.1}, budget=2.0)
    {'a': 4, 'b': 1, 'c': 0}
    """
    raised = {name: one**steepness for name, one in importance.items()}
    whole = sum(raised.values()) or 1.0
    parts = {name: math.floor(budget * len(raised) * one / whole + 1e-9) for name, one in raised.items()}
    most = max(importance, key=lambda name: importance[name])
    return {**parts, most: max(1, parts[most])}


@dataclass(frozen=True)
class Chunked:
    """Coefficients of which each tensor has as many as `parts` says; none: it keeps that of the start."""

    by: Coefficients
    parts: Mapping[str, int]

    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        some = {name: shape for name, shape in shapes.items() if self.parts[name]}
        return {name: self._of(name).start({name: shape}, experts)[name] for name, shape in some.items()}

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers, step: int | None = None) -> Tensor:
        if self.parts[name]:
            return self._of(name).merged(name, base, deltas, numbers, step)
        return added(base, deltas, torch.full((len(deltas), 1), self.by.start_at))

    def shares(self, numbers: Numbers) -> Tensor:
        return self.by.shares(numbers)

    def _of(self, name: str) -> Coefficients:
        return replace(self.by, parts=self.parts[name])
