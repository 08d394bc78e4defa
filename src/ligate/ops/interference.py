"""How far a merged step is from each task vector on the inputs that this task vector itself stands for.

Fine-tuning adds to each row of a weight matrix a combination of inputs. The rows of a task vector hence span the
inputs of its task, and the squared error of a step X there is |(X - tau_k) tau_k^T|^2 / |tau_k|^2, whose gradient is
linear in X. Matrices are turned here: their rows are the inputs, their columns (the outputs) go each its own way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from ligate.core.errors import NonFiniteError
from ligate.core.spare import side_by_side

from .matrices import Kernels, Matrices, matrices
from .spectrum import gram, parts

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.core.method import Site

Start = Literal["sum", "mean"]
"""Where the search for a step begins: at the sum of the task vectors, or at their mean."""

Inputs = Literal["last", "first"]
"""Which axis of a weight matrix its inputs belong to: the last in linear layers, the first in GPT-2's."""


class Interference(NamedTuple):
    """What measures it: G, the sum over tasks of the Gram matrices of their inputs, each of trace 1; and the slope.

    With A = [tau_1/|tau_1| ... tau_K/|tau_K|], inputs by the outputs of all tasks, G is A A^T, and half the gradient at
    the beginning is A C. Where outputs are few, A^T A and C are smaller than what they stand for:
    f(A A^T) A C = A f(A^T A) C.
    """

    pair: Matrices
    roots: Sequence[float]  # 1 / |tau_k|, or zero where a task has no inputs
    squares: Sequence[Tensor]  # of each task [n, n]; none where outputs are few
    pulls: Tensor  # C [K m, m]; empty where they are not

    @property
    def stacks(self) -> bool:
        """Whether A has fewer columns than rows."""
        return bool(self.pulls.numel()) and len(self.pulls) < self.pair.shape[0]

    def inputs(self) -> Tensor:
        """G [n, n]"""
        if not self.squares:
            return gram(root * block for k, root in enumerate(self.roots) for block in self.pair.blocks(k))
        total = self.squares[0].clone()
        for square in self.squares[1:]:
            total += square
        return total

    def stacked(self) -> Tensor:
        """A^T A [K m, K m]"""
        over, width = self.pair.turned(), len(self.pulls)
        tasks = range(len(self.roots))
        square = gram(torch.cat([over.task(k, part) for k in tasks]) for part in parts((width, over.shape[1])))
        roots = square.new_tensor(self.roots).repeat_interleave(over.shape[0])
        return square.mul_(roots).mul_(roots[:, None])

    def slope(self, part: slice, start: Start) -> Tensor:
        """Half the gradient at the beginning, for these columns of a step."""
        if not self.squares:
            return self.stack_times(self.pulls[:, part])
        begun = beginning(self.pair, part, start)
        slope = torch.zeros_like(begun)
        for k, square in enumerate(self.squares):
            slope = slope + square @ (begun - self.pair.task(k, part))
        return slope

    def stack_times(self, right: Tensor) -> Tensor:
        """A times [K m, w]."""
        over = self.pair.turned()
        found = right.new_zeros(over.shape[1], right.shape[1])
        for root, own, k in zip(self.roots, right.split(over.shape[0]), range(len(self.roots)), strict=True):
            for part in parts(over.shape):
                found[part].addmm_(over.task(k, part).T, own, alpha=root)
        return found


def by_inputs(base: Tensor, tuned: Tensor, site: Site | None, kernels: Kernels, inputs: Inputs) -> Matrices | None:
    """The matrices with their inputs as rows; None for a tensor that is no matrix."""
    pair = matrices(base, tuned, site, kernels)
    return pair if pair is None or inputs == "first" else pair.turned()


def interference(pair: Matrices, start: Start) -> Interference:
    """Measured on all columns.

    Raises:
        NonFiniteError: a task vector holds NaN or infinity, or numbers whose squares overflow.
    """
    inputs, outputs = pair.shape
    sizes = side_by_side(lambda k: _size(pair.blocks(k)), range(len(pair.tuned)))
    if not all(map(math.isfinite, sizes)):
        raise NonFiniteError("the squares of a task vector's entries are not all finite")
    roots = [1 / math.sqrt(size) if size > 0 else 0.0 for size in sizes]
    if few_outputs(inputs, outputs) and not pair.tuned.requires_grad:  # gradients take Gram matrices as given
        return Interference(pair, roots, (), _pulls(pair, roots, start))
    squares = [gram(root * block.detach() for block in pair.blocks(k)) for k, root in enumerate(roots)]
    return Interference(pair, roots, squares, pair.base.new_empty(0))


def few_outputs(inputs: int, outputs: int) -> bool:
    """Whether products with task vectors, twice, are fewer than those with the Gram matrices of their inputs."""
    return 2 * outputs < inputs


def working_squares(inputs: int, outputs: int, models: int) -> int:
    """Float64 numbers of all that is kept here, and of the square that is decomposed."""
    if not few_outputs(inputs, outputs):
        return (models + 1) * inputs**2
    return min(inputs, models * outputs) ** 2 + 2 * models * outputs**2


def _size(blocks: Iterator[Tensor]) -> float:
    return math.fsum(float(block.detach().square().sum()) for block in blocks)


def _pulls(pair: Matrices, roots: Sequence[float], start: Start) -> Tensor:
    """C: tau_k^T (X - tau_k) / |tau_k| for each task, X the beginning."""
    over = pair.turned()
    found = [torch.zeros(len(over.base), len(over.base), dtype=torch.float64, device=over.base.device) for _ in roots]
    for part in parts(over.shape):
        begun = beginning(over, part, start).detach()

        def add(k: int, part: slice = part, begun: Tensor = begun) -> None:
            task = over.task(k, part).detach()
            found[k].addmm_(task, (begun - task).T, alpha=roots[k])

        side_by_side(add, range(len(roots)))
    return torch.cat(found)


def beginning(pair: Matrices, part: slice, start: Start) -> Tensor:
    total = pair.total(part)
    return total / len(pair.tuned) if start == "mean" else total
