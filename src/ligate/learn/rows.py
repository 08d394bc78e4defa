"""A gate for every row of every tensor: each unit of the merge has a mixture of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .parametrisations import GATE, Numbers, gate_at

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GatedRows:
    r"""What `Gated` does tensor by tensor, done row by row.

    .. math::
        W_r = W_{0,r} + s_r \sum_k c_{rk} \tau_{k,r}, \quad c_r = \mathrm{softmax}(g + o_r)

    with row r an index of the first axis (a unit, or channel, and what it gets; one number of a bias or a norm), one
    gate g [K] for all rows, and for each row offsets o_r [K] and a factor s_r. A tensor without axes is one row. These
    are K + 1 numbers for each row: of a layer of n inputs, about (K + 1) / n of its weights.

    The gate is the experts' weight in a vote as well (`shares`), as in Multi-Level Collaboration in Model Merging,
    arXiv 2503.01268. Differs: its authors have no numbers for single rows.

    Args:
        length: the factors before anything is learned. With 0 learning begins at the base, say at a merge that was made
            without data: the gates move as soon as the factors have.
        at: what the experts have in the vote before anything is learned, as in `Gated`.
    """

    length: float = 1.0
    at: tuple[float, ...] = ()

    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        offsets = {f"offset:{name}": torch.zeros(experts, *shape[:1]) for name, shape in shapes.items()}
        lengths = {f"length:{name}": torch.full(tuple(shape[:1]), self.length) for name, shape in shapes.items()}
        return {GATE: gate_at(self.at, experts), **offsets, **lengths}

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers, step: int | None = None) -> Tensor:
        return added_by_rows(base, deltas, self.coefficients(name, numbers))

    def coefficients(self, name: str, numbers: Numbers) -> Tensor:
        """[K, rows] what multiplies the rows of the deltas."""
        offsets = numbers[f"offset:{name}"]
        gate = numbers[GATE].reshape(-1, *[1] * (offsets.ndim - 1))
        return (gate + offsets).softmax(0) * numbers[f"length:{name}"]

    def shares(self, numbers: Numbers) -> Tensor:
        return numbers[GATE].softmax(0)


def added_by_rows(base: Tensor, deltas: Tensor, coefficients: Tensor) -> Tensor:
    """base [rows, ...] and the sum of deltas [K, rows, ...], each row times its own coefficient [K, rows]."""
    c = coefficients.to(deltas.dtype)
    return base + (c.reshape(*c.shape, *[1] * (deltas.ndim - c.ndim)) * deltas).sum(0)
