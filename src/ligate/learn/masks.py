"""A mask over all numbers of a model, shared by its experts; and parametrisations of which a part is held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ligate.core.draw import NOISE_BITS, uniform

from .parametrisations import Coefficients, Numbers, Parametrisation

if TYPE_CHECKING:
    from torch import Tensor

MASK = "mask:"


@dataclass(frozen=True)
class Masked:
    r"""W_0 + sum_k c_k m / mean(m) tau_k: coefficients, and a mask in (0, 1) that all experts share.

    .. math::
        m = \sigma\left(\frac{x + \ln u - \ln(1 - u)}{T}\right), \quad u \sim U(0, 1)

    with a logit x for every number of the model: Concrete subspace learning, arXiv 2312.06173. While it is learned the
    mask is drawn anew for each step, the same again for the same step; what is used in the end is m = sigmoid(x), by
    which nothing is left to chance.

    The mask has as many numbers as the model. Learning it takes 26 bytes for each at the peak: logit, gradient, Adam's
    two moments, the best mask so far, and what Adam needs for a moment.

    Args:
        coefficients: what multiplies the masked deltas.
        logit: x before anything is learned.
        temperature: T; None: no chance while learning either.
        seed: of the draws.
    Differs: the authors' code evaluates and keeps one drawn mask; here it is the one without chance.
    """

    coefficients: Coefficients = Coefficients()
    logit: float = 0.0
    temperature: float | None = None
    seed: int = 0

    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        masks = {f"{MASK}{name}": torch.full(tuple(shape), self.logit) for name, shape in shapes.items()}
        return self.coefficients.start(shapes, experts) | masks

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers, step: int | None = None) -> Tensor:
        mask = self.mask(name, numbers, step)
        return self.coefficients.merged(name, base, deltas * (mask / mask.mean()).to(deltas.dtype), numbers, step)

    def mask(self, name: str, numbers: Numbers, step: int | None = None) -> Tensor:
        """[*S] in (0, 1), before it is divided by its mean."""
        logits = numbers[f"{MASK}{name}"]
        if step is None or self.temperature is None:
            return logits.sigmoid()
        return ((logits + logistic(self.seed, name, step, logits.shape)) / self.temperature).sigmoid()

    def shares(self, numbers: Numbers) -> Tensor:
        return self.coefficients.shares({name: one for name, one in numbers.items() if not name.startswith(MASK)})


@dataclass(frozen=True)
class Held:
    """A parametrisation of which some numbers stay as they are: only the others are learned."""

    by: Parametrisation
    held: Numbers

    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        return {name: one for name, one in self.by.start(shapes, experts).items() if name not in self.held}

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers, step: int | None = None) -> Tensor:
        """With what is held nothing is drawn any more."""
        return self.by.merged(name, base, deltas, {**self.held, **numbers})

    def shares(self, numbers: Numbers) -> Tensor:
        return self.by.shares({**self.held, **numbers})


def logistic(seed: int, name: str, step: int, shape: Sequence[int]) -> Tensor:
    """ln u - ln(1 - u) with u from (0, 1): numbers that depend on nothing but seed, tensor name and step."""
    u = torch.from_numpy(uniform(seed, name, "mask", step, 0, torch.Size(shape).numel()))
    half = 2.0 ** -(NOISE_BITS + 1)  # so that u is never 0; nor 1, to which adding it may round
    return u.add_(half).clamp_(max=1 - 2 * half).logit_().reshape(tuple(shape))
