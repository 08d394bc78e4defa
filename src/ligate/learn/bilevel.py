"""Masks learned for coefficients that are learned anew in every step: a solver of two levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from .gradient import Adam, Course, Problem, copied, fixed
from .masks import MASK

if TYPE_CHECKING:
    from torch import Tensor

    from .parametrisations import Numbers


@dataclass(frozen=True)
class Bilevel(Adam):
    r"""The mask x for which coefficients c do best that take one step from their start.

    .. math::
        c' = c_0 - \mathrm{Adam}(\nabla_c L(c_0, x)), \qquad x \leftarrow x - \mathrm{Adam}(\nabla_x L(c', x))

    In each step one mask is drawn; the coefficients go back to their start and take one step with it (its moments stay
    from step to step), then the mask takes its own. The two ask different batches. No gradient flows through the inner
    step. What is learned is the mask: looks ask the merge with the coefficients at their start, which are to be
    learned once the mask is known.

    Args:
        inner_rate: the rate of the coefficients; the fields of `Adam` are those of the mask.
    Source: Concrete subspace learning, arXiv 2312.06173.
    Differs: the authors' code (tanganke/subspace_fusion) asks for the inner gradient before the coefficients that were
        set back are merged, so at those of the last step; here it is taken where the step begins. It draws a mask for
        the inner step and another for the outer one, and never looks at a loss without chance.
    """

    inner_rate: float = 1.0
    asks: ClassVar[int] = 2  # batches of every task in one step

    def begin(self, problem: Problem) -> Course:
        numbers = problem.merge.start()
        masks, coefficients = _parted(numbers)
        inner = torch.optim.Adam(coefficients.values(), lr=self.inner_rate)
        return Course(numbers, [inner, self.optimizer([*masks.values()])], copied(numbers), own=copied(coefficients))

    def step(self, problem: Problem, course: Course) -> float:
        loss = self.inwards(problem, course)
        return self.outwards(problem, course) if math.isfinite(loss) else loss

    def inwards(self, problem: Problem, course: Course) -> float:
        """One step of the coefficients from their start, with the mask of this step."""
        masks, coefficients = self.set_back(course)
        loss = problem.slope({**coefficients, **fixed(masks)}, course.step, self.turn(course, 0))
        if math.isfinite(loss):
            course.optimizers[0].step()
        return loss

    def outwards(self, problem: Problem, course: Course) -> float:
        """One step of the mask, with the coefficients as they are."""
        masks, coefficients = _parted(course.numbers)
        loss = problem.slope({**masks, **fixed(coefficients)}, course.step, self.turn(course, 1))
        if math.isfinite(loss):
            self.move(course.optimizers[1], course.step)
        return loss

    def stopping(self, problem: Problem, course: Course) -> float:
        self.set_back(course)
        return super().stopping(problem, course)

    def set_back(self, course: Course) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Masks, and coefficients that stand at their start."""
        masks, coefficients = _parted(course.numbers)
        with torch.no_grad():
            for name, one in coefficients.items():
                one.copy_(course.own[name])
        return masks, coefficients

    def turn(self, course: Course, which: int) -> int:
        """Which batch of every task is asked: in one step no batch is asked twice."""
        return course.step * self.asks + which


def _parted(numbers: Numbers) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Masks, and coefficients."""
    masks = {name: one for name, one in numbers.items() if name.startswith(MASK)}
    return masks, {name: one for name, one in numbers.items() if name not in masks}
