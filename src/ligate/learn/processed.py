"""Experts whose task vectors are changed before any number is learned, one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ligate.ops.directions import directions
from ligate.ops.matrices import matrices
from ligate.ops.order import rank

from .merging import Weights
from .stored import stored

if TYPE_CHECKING:
    from torch import Tensor

Process = Callable[[str, "Tensor"], "Tensor"]
"""(name, deltas [K, *S]) -> other deltas [K, *S]."""


def processed(base: Weights, experts: Sequence[Weights], process: Process) -> list[Weights]:
    """The experts with other task vectors, made when a tensor is asked for; the last tensor is remembered."""
    together = _Together(base, experts, process)
    return [_Processed(together, index) for index in range(len(experts))]


def elected(base: Weights, experts: Sequence[Weights], density: float = 0.2) -> list[Weights]:
    """Task vectors trimmed and cleared of conflicts as TIES does, each for itself: none are averaged.

    Each keeps its `density` numbers of largest magnitude, counted over the whole model; of these the ones whose sign is
    that of the sum over all experts stay. It needs the magnitudes of one expert in memory, 4 bytes for each number.

    Source: AdaMerging++, arXiv 2310.02575; TIES, arXiv 2306.01708.
    Differs: where the sum is exactly 0 the positive sign is elected; the authors elect the one that most numbers have.
    """
    least = [_least(base, each, density) for each in experts]

    def process(name: str, deltas: Tensor) -> Tensor:
        bounds = torch.tensor(least).reshape(-1, *[1] * (deltas.dim() - 1))
        kept = deltas * (deltas.abs() >= bounds)
        up = kept.sum(0) >= 0
        return kept * torch.where(up, kept > 0, kept < 0)

    return processed(base, experts, process)


def orthogonal(base: Weights, experts: Sequence[Weights], share: float | None = None) -> list[Weights]:
    """Of each task vector the strongest singular directions, made orthogonal to those of the others, as TSV-Merge does.

    Their sum, each times its weight, is the rule `merge/tsv_m` with these weights. They are made once, all of them now,
    and lie in a temporary file of 4 bytes for each number of each expert.

    Source: TSV-Merge, arXiv 2412.00081; what is no matrix counts a K-th.
    """

    def process(name: str, deltas: Tensor) -> Tensor:
        pair = matrices(torch.zeros_like(deltas[0]), deltas, None, "average")
        if pair is None:
            return deltas / len(deltas)
        lying = pair.lying()
        steps = directions(lying, share).steps(lying.tuned)
        return steps.mT if lying.over else steps

    return _on_disk(processed(base, experts, process), base)


def _on_disk(experts: Sequence[Weights], base: Weights) -> list[Weights]:
    names = [name for name in base if base[name].is_floating_point()]
    # Name by name, since the tensors of all experts are made together.
    together = stored((f"{index}:{name}", each[name]) for name in names for index, each in enumerate(experts))
    return [{name: together[f"{index}:{name}"] for name in names} for index in range(len(experts))]


def _least(base: Weights, expert: Weights, density: float) -> float:
    """The smallest magnitude that is kept: `density` of all and one more, as the authors count."""
    names = [name for name in base if name in expert and base[name].is_floating_point()]
    sizes = torch.cat([(expert[name].float() - base[name].float()).abs().flatten() for name in names])
    kept = min(rank(density, len(sizes)) + 1, len(sizes))
    return float(sizes.kthvalue(len(sizes) - kept + 1).values)


class _Together:
    """All experts' processed weights of the tensor that was asked for last."""

    def __init__(self, base: Weights, experts: Sequence[Weights], process: Process) -> None:
        self.base = base
        self._experts, self._process = experts, process
        self._last: tuple[str, Tensor] | None = None

    def weights(self, name: str) -> Tensor:
        """[K, *S]"""
        if self._last is None or self._last[0] != name:
            base = self.base[name].float()
            deltas = torch.stack([each[name].float() - base for each in self._experts])
            self._last = name, base + self._process(name, deltas)
        return self._last[1]


class _Processed(Mapping[str, "Tensor"]):
    def __init__(self, together: _Together, index: int) -> None:
        self._together, self._index = together, index

    def __getitem__(self, name: str) -> Tensor:
        return self._together.weights(name)[self._index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._together.base)

    def __len__(self) -> int:
        return len(self._together.base)
