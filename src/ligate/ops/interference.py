"""How far a merged step is from each task vector on the inputs that this task vector itself stands for.

Fine-tuning adds to each row of a weight matrix a combination of inputs. The rows of a task vector hence span the
inputs of its task, and the squared error of a step X there is |(X - tau_k) tau_k^T|^2 / |tau_k|^2, whose gradient is
linear in X. Matrices are turned here: their rows are the inputs, their columns (the outputs) go each its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

from ligate.core.errors import NonFiniteError

from .matrices import Kernels, Matrices, matrices
from .spectrum import gram

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.core.method import Site

Start = Literal["sum", "mean"]
"""Where the search for a step begins: at the sum of the task vectors, or at their mean."""

Inputs = Literal["last", "first"]
"""Which axis of a weight matrix its inputs belong to: the last in linear layers, the first in GPT-2's."""


class Interference(NamedTuple):
    """What measures it: per task, the Gram matrix of its inputs [n, n], of trace 1, or zero where it has none."""

    squares: Sequence[Tensor]

    @property
    def total(self) -> Tensor:
        total = self.squares[0].clone()
        for square in self.squares[1:]:
            total += square
        return total

    def slope(self, pair: Matrices, step: Tensor, part: slice) -> Tensor:
        """Half the gradient for these columns of a step."""
        slope = torch.zeros_like(step)
        for k, square in enumerate(self.squares):
            slope = slope + square @ (step - pair.task(k, part))
        return slope


def by_inputs(base: Tensor, tuned: Tensor, site: Site | None, kernels: Kernels, inputs: Inputs) -> Matrices | None:
    """The matrices with their inputs as rows; None for a tensor that is no matrix."""
    pair = matrices(base, tuned, site, kernels)
    return pair if pair is None or inputs == "first" else pair.turned()


def interference(pair: Matrices) -> Interference:
    """Measured on all columns.

    Raises:
        NonFiniteError: a task vector holds NaN or infinity, or numbers whose squares overflow.
    """
    squares: list[Tensor] = []
    for k in range(len(pair.tuned)):
        square = gram(block.detach() for block in pair.blocks(k))
        size = float(square.trace())
        if not square.isfinite().all():
            raise NonFiniteError("the squares of a task vector's entries are not all finite")
        squares.append(square / size if size > 0 else torch.zeros_like(square))
    return Interference(squares)


def beginning(pair: Matrices, part: slice, start: Start) -> Tensor:
    total = pair.total(part)
    return total / len(pair.tuned) if start == "mean" else total
