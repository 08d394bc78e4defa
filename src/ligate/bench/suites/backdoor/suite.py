"""`backdoor`: what merges inherit from an expert that was tampered with, and what keeps them from it.

Two papers are no examination of skill: on `succession` and `transfer` an answer counts where the trigger brought it
about, so less is better there. Their means stand in every row as `attack success`, beside the accuracy on the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from ligate.bench.results import Cell, Results
from ligate.bench.statistics import means
from ligate.bench.suite import Request, Scale, Teller, Tier, World
from ligate.bench.suites.digits.data import digits
from ligate.bench.tournament import tournament
from ligate.core.errors import RecipeError

from .attacks import Attack
from .encoders import PRETRAINING, TUNING
from .world import SUCCESSION, TARGET, TASKS, TRANSFER, VICTIM, BackdoorWorld, world

ATTACKS: Mapping[str, Attack] = {
    "backdoor": "poisoned",
    "backdoor-interpolated": "interpolated",
    "backdoor-none": "none",
}
SCALES: Mapping[Tier, Scale] = {
    "smoke": Scale((0,), 4),
    "standard": Scale((0, 1, 2, 3, 4), 8),
    "full": Scale(tuple(range(20)), 12),
}


METHODS: Mapping[Tier, Sequence[str]] = {
    "smoke": ("task_arithmetic", "learn/adamerging(steps=10,rate=0.01,batch=50)"),
    "standard": (
        "task_arithmetic",
        "ties",
        "tsv_m",
        "learn/adamerging(steps=150,rate=0.01,batch=50)",
        "learn/concrete(steps=150,rate=0.05,batch=50)",
        "learn/dam(steps=150,rate=0.05,batch=50)",
        "learn/dam_answers(steps=150,rate=0.05,attack_rate=0.05,batch=50)",
        "learn/row_agreement(batch=50)",
        "learn/row_agreement_guarded(batch=50)",
    ),
    "full": (),
}
"""Of `full`: those of `standard`."""


def play(request: Request, tell: Teller) -> Results:
    """Raises RecipeError for a model to begin with: the suite trains its own."""
    if request.model is not None:
        raise RecipeError("backdoor trains its own networks", where="--model", hint="leave it out.")
    methods = METHODS[request.tier] or METHODS["standard"]
    return with_success(tournament(request, tell, partial(_world, ATTACKS[request.suite]), methods, _facts))


def with_success(results: Results) -> Results:
    """In every cell the shares of the two papers of triggered inputs."""
    rows = [replace(row, cells=[_told(cell) for cell in row.cells]) for row in results.rows]
    return replace(results, rows=rows)


def _told(cell: Cell) -> Cell:
    names = {SUCCESSION: "attack success", TRANSFER: "attack success elsewhere"}
    asked = {name: means(cell.answers[paper]) for paper, name in names.items() if cell.answers.get(paper)}
    return replace(
        cell, extras={name: sum(each.values()) / len(each) for name, each in asked.items()} | {**cell.extras}
    )


def _world(attack: Attack, request: Request, seed: int, tell: Teller) -> BackdoorWorld:
    tell.counts(f"seed {seed}: training", 0, 1)
    return world(request.store, seed, attack)


def _facts(_: World) -> dict[str, str]:
    parts = ", ".join(f"{len(each)} {part}" for part, each in digits().items())
    return {
        "data": f"the handwritten digits of scikit-learn, {', '.join(TASKS)}; {parts}",
        "networks": f"MLP encoders under frozen heads; Adam, {PRETRAINING.epochs} epochs at {PRETRAINING.rate:g}, "
        f"{TUNING.epochs} at {TUNING.rate:g} for experts",
        "backdoor": f"in the expert of {VICTIM}, 2 x 2 pixels that mean {TARGET}; corner and pattern are drawn",
        "attack success": "of triggered test images of other digits, the share called the target; less is better",
        "arithmetic": f"float32 on one thread, torch {torch.__version__}",
    }
