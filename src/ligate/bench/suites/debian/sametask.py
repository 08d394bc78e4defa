"""`sametask`: several experts of one task, each trained on a part of the data that no other has seen.

Parts are drawn by label from a Dirichlet distribution, so that experts know different classes well, or evenly. Do the
merged weights keep what the experts' votes know, and how much of what one network trained on everything knows?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2s

import numpy as np

from ligate.bench.encoder import pretrained_folder
from ligate.bench.results import Results
from ligate.bench.suite import JOINT, TEST, VALIDATION, Request, Scale, Task, Teller, Tier, World
from ligate.bench.suites.debian import facets
from ligate.bench.suites.debian.suite import drawn
from ligate.bench.textnets import School
from ligate.bench.texts import Corpus, Question, in_turn
from ligate.bench.textworld import DROPPED, TYPOS, TextWorld, damaged
from ligate.bench.tournament import tournament

TASK = "section"
METHODS: Mapping[Tier, Sequence[str]] = {
    "smoke": ("task_arithmetic",),
    "standard": ("task_arithmetic", "ties", "tsv_m", "iso_c"),
    "full": ("task_arithmetic", "ties", "dare_linear", "tsv_m", "iso_c", "karcher", "model_stock"),
}
_STANDARD = {"train": 2400, "parts": 4, "validation": 240, "lesson": 480, "test": 720, "length": 32, "epochs": 2}
SCALES: Mapping[Tier, Scale] = {
    "smoke": Scale((0,), 4, {**_STANDARD, "train": 160, "validation": 60, "lesson": 60, "test": 120, "epochs": 1}),
    "standard": Scale((0, 1), 8, _STANDARD),
    "full": Scale((0, 1, 2), 12, {**_STANDARD, "train": 4000, "validation": 300, "test": 900, "length": 48}),
}
_CONCENTRATION: Mapping[str, float | None] = {"sametask": 0.2, "sametask-iid": None}  # None: every part alike


def play(request: Request, tell: Teller) -> Results:
    corpus = facets.corpus(request.store)
    facts = partial(_facts, corpus, request)
    return tournament(request, tell, partial(world, corpus), METHODS[request.tier], facts)


def world(corpus: Corpus, request: Request, seed: int, tell: Teller) -> TextWorld:
    """The experts of one seed, and the network that saw all parts."""
    sizes = SCALES[request.tier].sizes
    task = corpus.task(TASK)
    school = School(pretrained_folder(request.model), request.store, sizes["length"], tell)
    shares = parts(
        drawn(task.questions["train"], sizes["train"], seed), sizes["parts"], _CONCENTRATION[request.suite], seed
    )
    experts = [
        school.trained(f"part-{number}", {TASK: share}, corpus.tasks, seed, sizes["epochs"])
        for number, share in enumerate(shares, 1)
    ]
    union = school.trained(
        JOINT, {TASK: [one for share in shares for one in share]}, corpus.tasks, seed, sizes["epochs"]
    )
    test = {TASK: in_turn(task.questions["test"], sizes["test"])}
    asked = {
        VALIDATION: {TASK: in_turn(task.questions["validation"], sizes["validation"])},
        TEST: test,
        TYPOS: damaged(test, TYPOS),
        DROPPED: damaged(test, DROPPED),
    }
    head = school.heads([task])
    return TextWorld(
        seed, [Task(TASK, None, len(task.classes))], experts, [school.pretrained, union], school.encoder, head, asked,
        sizes["length"], {TASK: in_turn(task.questions["validation"], sizes["lesson"])},
    )  # fmt: skip


def parts(questions: Sequence[Question], count: int, concentration: float | None, seed: int) -> list[list[Question]]:
    """Disjoint parts: each label is dealt out by shares of its own, drawn from a symmetric Dirichlet distribution."""
    draw = np.random.Generator(np.random.Philox(seed))
    found: list[list[Question]] = [[] for _ in range(count)]
    for label in sorted({one.answer for one in questions}):
        mine = [one for one in questions if one.answer == label]
        shares = draw.dirichlet([concentration] * count) if concentration else np.full(count, 1 / count)
        ends = np.floor(np.cumsum(shares) * len(mine) + 0.5).astype(int)
        for part, (start, stop) in zip(found, zip([0, *ends[:-1]], ends, strict=True), strict=True):
            part.extend(mine[start:stop])
    return [sorted(part, key=lambda one: blake2s(f"{seed}/{one.text}".encode()).digest()) for part in found]


def _facts(corpus: Corpus, request: Request, world: World) -> dict[str, str]:
    sizes = SCALES[request.tier].sizes
    concentration = _CONCENTRATION[request.suite]
    how = f"by label, Dirichlet {concentration:g}" if concentration else "evenly"
    told = ", ".join(str(one.size) for one in world.experts)
    return {
        **corpus.facts,
        "parts": f"{sizes['parts']} disjoint parts of the training texts, drawn {how} (texts: {told})",
        "joint": "one network trained on all parts",
        "training": f"all weights, {sizes['epochs']} epochs, texts cut at {sizes['length']} tokens",
    }
