"""How many numbers decide a merge, and what they do: the first of the three choices of a learned merge.

For a tensor l with base W_0 and experts W_1 ... W_n, tau_i = W_i - W_0, a parametrisation says what the merge is for
given numbers. It is asked tensor by tensor, with the experts' deltas at hand for that tensor only, and has to be
differentiable in its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor

Numbers = Mapping[str, "Tensor"]
Squash = Literal["none", "clamp", "sigmoid"]


class Parametrisation(Protocol):
    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        """The numbers before anything is learned, float32, under names of the parametrisation's own."""
        ...

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers) -> Tensor:
        """[*shape] from base [*shape] and deltas [experts, *shape]."""
        ...


@dataclass(frozen=True)
class Coefficients:
    """W_0 + sum_i c_i tau_i, with a coefficient for each expert, or also for each tensor, or for each part of a tensor.

    Args:
        per: `task`: one for each expert (AdaMerging task-wise); `tensor`: one for each expert and tensor (AdaMerging
            layer-wise, arXiv 2310.02575; aTLAS, arXiv 2407.02880).
        start_at: the coefficient before anything is learned.
        squash: `none`; `clamp` to [0, 1] (no gradient outside, as AdaMerging); `sigmoid`, what is learned being the
            logit (Expert Merging, arXiv 2509.25712).
        parts: so many coefficients per tensor, for contiguous parts of nearly equal size (Expert Merging++), or for a
            random partition of its numbers (`scattered`; aTLAS x K). A tensor of fewer numbers has as many parts.
    """

    per: Literal["task", "tensor"] = "tensor"
    start_at: float = 0.3
    squash: Squash = "none"
    parts: int = 1
    scattered: bool = False
    seed: int = 0

    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        at = torch.tensor(self.start_at).logit() if self.squash == "sigmoid" else torch.tensor(self.start_at)
        if self.per == "task":
            return {"": at.repeat(experts)}
        return {name: at.repeat(experts, self._parts_of(torch.Size(shape).numel())) for name, shape in shapes.items()}

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers) -> Tensor:
        c = self.coefficients(numbers["" if self.per == "task" else name]).reshape(len(deltas), -1)
        if c.shape[1] == 1:
            return base + torch.tensordot(c[:, 0].to(deltas.dtype), deltas, 1)
        which = self._which(base.numel())
        return base + (c.to(deltas.dtype)[:, which] * deltas.reshape(len(deltas), -1)).sum(0).reshape(base.shape)

    def coefficients(self, numbers: Tensor) -> Tensor:
        """What multiplies the deltas."""
        if self.squash == "sigmoid":
            return numbers.sigmoid()
        return numbers.clamp(0, 1) if self.squash == "clamp" else numbers

    def _parts_of(self, count: int) -> int:
        return max(1, min(self.parts, count))

    def _which(self, count: int) -> Tensor:
        """The part of each number."""
        parts = self._parts_of(count)
        if self.scattered:
            return torch.randint(parts, (count,), generator=torch.Generator().manual_seed(self.seed + count))
        return torch.arange(count) * parts // count


@dataclass(frozen=True)
class Masked:
    """W_0 + sum_i c_i m / mean(m) tau_i: besides coefficients a mask in (0, 1) over all numbers, shared by the experts.

    Concrete subspace learning, arXiv 2312.06173, at the mean of its random mask: m = sigmoid(logits). The mask has as
    many numbers as the model; with Adam's two moments the learning needs three times that memory more.
    """

    coefficients: Coefficients = Coefficients()
    logit: float = 0.0

    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        masks = {f"mask:{name}": torch.full(tuple(shape), self.logit) for name, shape in shapes.items()}
        return self.coefficients.start(shapes, experts) | masks

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers) -> Tensor:
        mask = numbers[f"mask:{name}"].sigmoid()
        return self.coefficients.merged(name, base, deltas * (mask / mask.mean()).to(deltas.dtype), numbers)
