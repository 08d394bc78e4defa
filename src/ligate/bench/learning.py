"""Learned merges of a world's experts, kept for later runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ligate.bench.contestants import Taught
from ligate.bench.kept import code_digest
from ligate.bench.lessons import Lesson
from ligate.bench.suite import PRETRAINED, State, Teller, World
from ligate.learn.gradient import save_whole
from ligate.learn.presets import PRESETS, Preset
from ligate.learn.settings import with_settings, with_shares

if TYPE_CHECKING:
    from ligate.learn.gradient import Look

_ROOM = Path(__file__).parent.parent / "learn"
_OWN = ("encoder.py", "learning.py", "lessons.py", "textlessons.py")


class Done(NamedTuple):
    """What was learned, in how many seconds, and the merge by it."""

    state: State
    seconds: float
    extras: Mapping[str, float]


@cache
def learning_digest() -> str:
    """Of the code that decides what is learned."""
    names = sorted(str(path.relative_to(_ROOM)) for path in _ROOM.rglob("*.py") if not path.name.endswith("_test.py"))
    return code_digest(names, _ROOM) + code_digest(_OWN)


def learned(world: World, lesson: Lesson, kind: Taught, kept: Path, tell: Teller) -> Done:
    """Learn, or find what was learned before under this name. A learning that was killed goes on."""
    preset = with_settings(PRESETS[kind.preset], kind.settings, f"learn/{kind.preset}")
    if kind.by_size:
        preset = with_shares(preset, [one.size for one in world.experts], f"learn/{kind.preset}")
    base, experts = world.state(PRETRAINED), [world.state(one.label) for one in world.experts]
    if not kept.is_file():
        save_whole(_learn(lesson, base, experts, preset, kept.with_suffix(".state"), tell), kept)
    known: Mapping[str, Any] = torch.load(kept, weights_only=True)
    return Done(known["state"], known["seconds"], known["extras"])


def _learn(
    lesson: Lesson, base: State, experts: Sequence[State], preset: Preset, state: Path, tell: Teller
) -> dict[str, Any]:
    began = time.perf_counter()

    def says(look: Look) -> None:
        tell.counts("learning a merge", look.step, preset.solver.steps)

    tasks = [lesson.pooled] if preset.pooled else lesson.tasks
    found = preset.learned(lesson.module, base, experts, tasks, kept=state, tell=says)
    seconds = time.perf_counter() - began
    for left in state.parent.glob(f"{state.name}*"):
        left.unlink()
    extras = {
        "scalars": found.scalars,
        "steps": found.best.step,
        "examples": lesson.examples,
        "loss at the start": found.curve[0].stopping,
        "loss": found.best.stopping,
    }
    weights = {name: one.detach().clone() for name, one in lesson.module.state_dict().items()}
    return {"state": weights, "seconds": seconds, "extras": {name: float(one) for name, one in extras.items()}}
