"""What learning can still add once two networks of different origin are aligned, averaged and mended.

Rows of the suite, each from the middle of the best alignment: a few numbers for each tensor or row are learned from
training images, half of them to learn from and half to stop by. They are to say what both networks say together
(unlabelled), or also to be right (labels): "Multi-Level Collaboration in Model Merging", arXiv 2503.01268. The last
row learns every weight, for as many steps: that is fine-tuning, and tells how much of a gain is the merge's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ligate.bench.lessons import halves
from ligate.bench.suite import State, Use
from ligate.bench.suites.digits.data import digits
from ligate.bench.suites.digits.networks import Architecture
from ligate.learn.gradient import Adam, Learned, Task
from ligate.learn.objectives import Batch, Collaboration
from ligate.learn.parametrisations import Gated, Numbers
from ligate.learn.presets import PRESETS, Preset
from ligate.learn.rows import GatedRows

START = "straight-through-repair"  # the aligner whose mended middle is where learning begins

_BATCH = 128


@dataclass(frozen=True)
class EveryWeight:
    """Base and a number for each of its weights: no merge any more, but fine-tuning by the same steps."""

    def start(self, shapes: Mapping[str, Sequence[int]], experts: int) -> dict[str, Tensor]:
        return {name: torch.zeros(*shape) for name, shape in shapes.items()}

    def merged(self, name: str, base: Tensor, deltas: Tensor, numbers: Numbers, step: int | None = None) -> Tensor:
        return base + numbers[name]

    def shares(self, numbers: Numbers) -> Tensor:
        return torch.tensor([0.5, 0.5])


class Learning(NamedTuple):
    """`preset` is how it is learned, from the mended middle as base and both networks as experts."""

    title: str
    preset: Preset
    uses: Sequence[Use] = ("unlabelled inputs",)
    note: str = ""


def learned(preset: Preset, architecture: Architecture, middle: State, both: Sequence[State]) -> tuple[State, Learned]:
    """Weights and how they were learned, from the mended middle of `both`, which have the same coordinates."""
    network = architecture.build()
    to_learn, to_stop = _halves()
    task = Task("digits", network, to_learn, to_stop)
    found = preset.learned(network, {name: one.float() for name, one in middle.items()}, both, [task])
    return {name: one.detach() for name, one in network.state_dict().items()}, found


@cache
def _halves() -> tuple[list[Batch], list[Batch]]:
    """Of the training images; those of the test are in neither. Rows say whether they use the labels."""
    data = digits()["train"]
    parts = halves(range(len(data)), seed=0)
    first, second = (
        [Batch(each.images, each.labels) for each in (data.at(chosen) for chosen in torch.tensor(part).split(_BATCH))]
        for part in parts
    )
    return first, second


_SOLVER = Adam(steps=300, rate=1e-1, look=20, patience=3)
_TENSORS, _ROWS = Gated(offsets=True, length=0.0), GatedRows(length=0.0)
_AS_BOTH = "to say what both say together, arXiv 2503.01268"


def _unlabelled(preset: Preset) -> Preset:
    return replace(preset, objective=Collaboration())


_NEULIG = replace(PRESETS["neulig"], solver=_SOLVER)
_BY_TENSORS, _BY_ROWS = (replace(_NEULIG, parametrisation=by) for by in (_TENSORS, _ROWS))
_TUNED = replace(_NEULIG, parametrisation=EveryWeight(), solver=replace(_SOLVER, rate=1e-3))

LEARNINGS: Mapping[str, Learning] = {
    "learned-tensors": Learning(
        "then gates of tensors, learned", _unlabelled(_BY_TENSORS), note=f"two gates and a factor a tensor, {_AS_BOTH}"
    ),
    "learned-rows": Learning(
        "then gates of rows, learned", _unlabelled(_BY_ROWS), note=f"two gates and a factor a unit, {_AS_BOTH}"
    ),
    "learned-tensors-labels": Learning(
        "then gates of tensors, learned with labels", _BY_TENSORS, ("training data",), "the same, and to be right"
    ),
    "learned-rows-labels": Learning(
        "then gates of rows, learned with labels", _BY_ROWS, ("training data",), "the same, and to be right"
    ),
    "fine-tuned": Learning(
        "then every weight, learned",
        _unlabelled(_TUNED),
        note=f"no merge but fine-tuning for as many steps, {_AS_BOTH}",
    ),
}
