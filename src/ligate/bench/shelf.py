"""What the worlds share: networks by label, loaded when first needed, and the sum of several networks' votes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ligate.bench.suite import How, State, Trained

if TYPE_CHECKING:
    from torch import Tensor


class Shelf(Mapping[str, State]):
    """Label -> weights. What was loaded stays."""

    def __init__(self, trained: Iterable[Trained], load: Callable[[Path], State]) -> None:
        self._folders = {one.label: one.folder for one in trained}
        self._load = load
        self._loaded: dict[str, State] = {}

    def __getitem__(self, label: str) -> State:
        if label not in self._loaded:
            self._loaded[label] = self._load(self._folders[label])
        return self._loaded[label]

    def label_of(self, state: State) -> str | None:
        """Under which label these very weights were given out; None for all others."""
        return next((label for label, held in self._loaded.items() if held is state), None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)


def votes(logits: Iterable[Mapping[str, Tensor]], weights: Sequence[float], how: How) -> dict[str, Tensor]:
    """Task -> weighted sum of the networks' logits [N, C], or of their probabilities.

    >>> import torch
    >>> one, other = ({"a": torch.tensor([[x, 0.0]])} for x in (4.0, -1.0))
    >>> votes([one, other], [1.0, 3.0], "logits")
    {'a': tensor([[1., 0.]])}
    """
    total: dict[str, Tensor] = {}
    for each, weight in zip(logits, weights, strict=True):
        for task, found in each.items():
            part = weight * (found.softmax(1) if how == "probabilities" else found)
            total[task] = total[task] + part if task in total else part
    return total
