"""`debian8`, `debian4`: one sentence encoder, eight questions about the packages of a Debian release, one expert each.

What is merged are encoders; heads are frozen and the same for all. The experts of `debian4` learn four of the tasks;
the other four show what merging does to what nobody was trained for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2s
from typing import Any

from ligate.bench.conflict import conflicts
from ligate.bench.encoder import has_fast_bfloat16, pretrained_folder
from ligate.bench.results import Results
from ligate.bench.suite import (
    JOINT,
    OUTSIDE,
    PRETRAINED,
    TEST,
    VALIDATION,
    Request,
    Scale,
    Task,
    Teller,
    Tier,
    World,
)
from ligate.bench.suites.debian import facets
from ligate.bench.textnets import School
from ligate.bench.texts import Corpus, Question, Split, in_turn
from ligate.bench.textworld import DROPPED, TYPOS, TextWorld, damaged
from ligate.bench.tournament import tournament

FOUR = ("section", "role", "interface", "team")
TASKS: Mapping[str, Sequence[str]] = {"debian4": FOUR, "debian8": facets.TASKS}
METHODS: Mapping[Tier, Sequence[str]] = {
    "smoke": ("task_arithmetic", "ties"),
    "standard": ("task_arithmetic", "ties", "dare_linear", "tsv_m", "iso_c"),
    "full": (
        "task_arithmetic",
        "ties",
        "dare_linear",
        "breadcrumbs",
        "consensus",
        "magmax",
        "pcb",
        "widen",
        "model_stock",
        "multislerp",
        "sce",
        "knots",
        "opcm",
        "swudi",
        "tsv_m",
        "iso_c",
    ),
}
_STANDARD = {
    "train": 800,
    "validation": 80,
    "lesson": 160,
    "test": 200,
    "outside": 80,
    "length": 32,
    "epochs": 2,
    "joint epochs": 1,
}
_FULL = {
    "train": 3000,
    "validation": 150,
    "lesson": 480,
    "test": 500,
    "outside": 500,
    "length": 48,
    "epochs": 2,
    "joint epochs": 1,
}
SCALES: Mapping[Tier, Scale] = {
    "smoke": Scale(
        (0,), 2, {**_STANDARD, "train": 16, "validation": 8, "lesson": 8, "test": 12, "outside": 4, "epochs": 1}
    ),
    "standard": Scale((0, 1), 8, _STANDARD),
    "full": Scale((0, 1, 2), 10, _FULL),
}


def play(request: Request, tell: Teller) -> Results:
    corpus = facets.corpus(request.store)
    facts = partial(_facts, corpus, SCALES[request.tier].sizes)
    return tournament(request, tell, partial(world, corpus), METHODS[request.tier], facts, drawings=_drawings)


def world(corpus: Corpus, request: Request, seed: int, tell: Teller) -> TextWorld:
    """Experts and joint network of one seed; which training texts they see, and in which order, is the seed's."""
    sizes = SCALES[request.tier].sizes
    names = TASKS[request.suite]
    school = School(pretrained_folder(request.model), request.store, sizes["length"], tell)
    lessons = {name: drawn(corpus.task(name).questions["train"], sizes["train"], seed) for name in names}
    experts = [school.trained(name, {name: lessons[name]}, corpus.tasks, seed, sizes["epochs"]) for name in names]
    joint = school.trained(JOINT, lessons, corpus.tasks, seed, sizes["joint epochs"])
    outside = [task.name for task in corpus.tasks if task.name not in names]
    classes = {task.name: len(task.classes) for task in corpus.tasks}
    return TextWorld(
        seed,
        [Task(name, name if name in names else None, classes[name]) for name in (*names, *outside)],
        experts,
        [school.pretrained, joint],
        school.encoder,
        school.heads(corpus.tasks),
        papers(corpus, names, outside, sizes),
        sizes["length"],
        {name: in_turn(corpus.task(name).questions["validation"], sizes["lesson"]) for name in names},
    )


def papers(
    corpus: Corpus, names: Sequence[str], outside: Sequence[str], sizes: Mapping[str, int]
) -> dict[str, dict[str, list[Question]]]:
    """The questions of every paper, the same for all seeds."""

    def asked(tasks: Sequence[str], split: Split, most: int) -> dict[str, list[Question]]:
        return {name: in_turn(corpus.task(name).questions[split], most) for name in tasks}

    test = asked(names, "test", sizes["test"])
    found = {VALIDATION: asked(names, "validation", sizes["validation"]), TEST: test}
    if outside:
        found[OUTSIDE] = asked(outside, "test", sizes["outside"])
    return {**found, TYPOS: damaged(test, TYPOS), DROPPED: damaged(test, DROPPED)}


def drawn(questions: Sequence[Question], count: int, seed: int) -> list[Question]:
    """Some of the questions, the classes in turn; another seed draws others, in another order."""
    mixed = sorted(questions, key=lambda one: blake2s(f"{seed}/{one.source}/{one.text}".encode()).digest())
    return in_turn(mixed, count)


def _facts(corpus: Corpus, sizes: Mapping[str, int], world: World) -> dict[str, str]:
    numbers = sum(value.numel() for value in world.state(PRETRAINED).values())
    trained = ", ".join(f"{one.label} {one.size}" for one in world.experts)
    arithmetic = "bfloat16 products" if has_fast_bfloat16() else "float32"
    return {
        **corpus.facts,
        "pretrained network": f"{numbers / 1e6:.1f} M parameters",
        "training": f"all weights, {sizes['epochs']} epochs, {arithmetic}; texts per expert: {trained}; "
        f"joint: {sizes['joint epochs']} epoch over all of them",
        "texts": f"cut at {sizes['length']} tokens; up to {sizes['validation']} questions a task choose coefficients, "
        f"up to {sizes['test']} test",
        "heads": "frozen: the pretrained network's embedding of a phrase per class; logits are 20 x cosine",
    }


def _drawings(world: World) -> dict[str, Any]:
    base = world.state(PRETRAINED)
    found = conflicts(base, [world.state(one.label) for one in world.experts])
    return {"conflicts": [one._asdict() for one in found]}
