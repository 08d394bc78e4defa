"""Task vectors as matrices: which tensors are matrices, their differences from the base block by block, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from ligate.core.direct import AddWeighted

from .rows import add_weighted
from .spectrum import AT_ONCE, parts

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.core.method import Site

Kernels = Literal["average", "fold"]
"""What becomes of tensors of more than two axes: averaged like vectors, or taken for a matrix of first axis by rest."""


class Matrices(NamedTuple):
    """A base [m, n] and models [K, m, n], perhaps turned over, and the shape in which the base was given."""

    base: Tensor
    tuned: Tensor
    given: tuple[int, ...]
    over: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        rows, width = self.base.shape
        return rows, width

    def turned(self) -> Matrices:
        return Matrices(self.base.mT, self.tuned.mT, self.given, not self.over)

    def lying(self) -> Matrices:
        """With at least as many columns as rows."""
        return self if self.shape[0] <= self.shape[1] else self.turned()

    def task(self, model: int, part: slice) -> Tensor:
        """Columns of a task vector."""
        return self.tuned[model, :, part].double() - self.base[:, part].double()

    def blocks(self, model: int) -> Iterator[Tensor]:
        return (self.task(model, part) for part in parts(self.shape))

    def total(self, part: slice) -> Tensor:
        """Columns of the sum of all task vectors."""
        total = self.task(0, part)
        for model in range(1, len(self.tuned)):
            total = total + self.task(model, part)
        return total


def matrices(base: Tensor, tuned: Tensor, site: Site | None, kernels: Kernels) -> Matrices | None:
    """Views of what a rule was given; None for a tensor that is no matrix."""
    shape = whole_shape(tuned, site)
    if len(shape) < 2 or 0 in shape or (len(shape) > 2 and kernels == "average"):
        return None
    return Matrices(base.reshape(shape[0], -1), tuned.reshape(len(tuned), shape[0], -1), tuple(base.shape))


def whole_shape(tuned: Tensor, site: Site | None) -> tuple[int, ...]:
    """Of the tensor, which a rule may be given flattened."""
    return tuple(tuned.shape[1:]) if site is None else tuple(site.shape)


def moved(pair: Matrices, steps: Iterable[Tensor], scale: float) -> Tensor:
    """Base plus scale times the step, which comes in the blocks of `parts`; in the given base's dtype and shape."""
    result = torch.empty_like(pair.base)
    for part, step in zip(parts(pair.shape), steps, strict=True):
        result[:, part] = (pair.base[:, part].double() + scale * step).to(result.dtype)
    return (result.mT if pair.over else result).reshape(pair.given)


def averaged(base: Tensor, tuned: Tensor, scale: float, weights: Sequence[float] | None = None) -> Tensor:
    """Base plus scale times the mean of the task vectors, each times its weight."""
    return add_weighted(base, tuned, AddWeighted(list(weights or [1.0] * len(tuned)), scale / len(tuned)))


def sides(shape: Sequence[int]) -> tuple[int, int]:
    """The first axis, and all others together."""
    first = shape[0] if shape else 1
    return first, math.prod(shape) // max(first, 1)


def working_bytes(shape: Sequence[int], kernels: Kernels, squares: float) -> int:
    """Memory of so many float64 squares of a matrix's smaller side, and of ten blocks: two pieces go side by side."""
    numel = math.prod(shape)
    if len(shape) < 2 or (len(shape) > 2 and kernels == "average"):
        return 8 * numel * 3
    side = min(shape[0], numel // max(shape[0], 1))
    return int(8 * (squares * side * side + 10 * min(numel, AT_ONCE)))
