"""What a learned merge is to be good at: the second of the three choices. Each is a mean over the examples of a batch.

`told` are the merged network's logits [N, C] for a task; `right` are the classes [N], if they are known; `expert` the
logits of that task's own expert, if the objective asks for them. Losses are in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor


class Objective(Protocol):
    needs: str
    """`nothing` but inputs, `labels`, or `experts`, whose logits are then given."""

    def __call__(self, told: Tensor, right: Tensor | None, expert: Tensor | None) -> Tensor: ...


@dataclass(frozen=True)
class Entropy:
    """H = -sum_c p_c log p_c (AdaMerging, arXiv 2310.02575): merged networks that are sure are right more often."""

    needs = "nothing"

    def __call__(self, told: Tensor, right: Tensor | None, expert: Tensor | None) -> Tensor:
        log = told.log_softmax(-1)
        return -(log.exp() * log).sum(-1).mean()


@dataclass(frozen=True)
class CrossEntropy:
    """-log p of the right class: supervised, as aTLAS for few examples (arXiv 2407.02880)."""

    needs = "labels"

    def __call__(self, told: Tensor, right: Tensor | None, expert: Tensor | None) -> Tensor:
        if right is None:
            raise ValueError("cross-entropy needs labels")
        return torch.nn.functional.cross_entropy(told, right)


@dataclass(frozen=True)
class Agreement:
    """T^2 times the cross-entropy of softmax(expert / T) and softmax(told / T): each task as its own expert says.

    Expert Merging, arXiv 2509.25712; knowledge distillation, arXiv 1503.02531.
    """

    temperature: float = 1.0
    needs = "experts"

    def __call__(self, told: Tensor, right: Tensor | None, expert: Tensor | None) -> Tensor:
        if expert is None:
            raise ValueError("agreement needs the experts' logits")
        t = self.temperature
        return -t * t * ((expert / t).softmax(-1) * (told / t).log_softmax(-1)).sum(-1).mean()


@dataclass(frozen=True)
class Mixed:
    """A weighted sum of objectives."""

    parts: Mapping[Objective, float]

    @property
    def needs(self) -> str:
        found = {part.needs for part in self.parts}
        return "labels" if "labels" in found else "experts" if "experts" in found else "nothing"

    def __call__(self, told: Tensor, right: Tensor | None, expert: Tensor | None) -> Tensor:
        total = sum(weight * part(told, right, expert) for part, weight in self.parts.items())
        return torch.as_tensor(total)
