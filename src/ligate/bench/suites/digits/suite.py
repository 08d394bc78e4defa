"""`digits`: what lies between networks of one task that began at different random weights.

Two networks that answer equally well have their hidden units in different orders, so the average of their weights knows
little: the loss has a barrier between them. The suite measures it for MLPs, convolutional networks and vision
transformers, beside what the same two networks say when they vote. Rows of `aligners` try to remove it; rows of
`learned` go on where the best of them ends.

Pairs of different widths have no straight line between them. They are on a paper of their own: their parents, their
votes, and what rows of `widths` make of the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ligate.bench.kept import code_digest, digest_of
from ligate.bench.results import Cell, Cost, Results, Row
from ligate.bench.suite import ACCURACY, TEST, Paper, Request, Scale, State, Task, Teller, Tier, Trained
from ligate.bench.suites.digits import data as digits_data
from ligate.bench.suites.digits.aligners import ALIGNERS, Alignment, Mend
from ligate.bench.suites.digits.data import CLASSES, digits
from ligate.bench.suites.digits.learned import LEARNINGS, START, Learning, learned
from ligate.bench.suites.digits.networks import Architecture, Kind, Lesson, kept, logits, seed_of, train, training_key
from ligate.bench.suites.digits.pairs import Pair, name_of
from ligate.bench.suites.digits.paths import SHARES, Walk, walk
from ligate.bench.suites.digits.widths import FUSIONS, TUNING, Fusion, Member
from ligate.bench.weights import read_weights, write_weights
from ligate.core.errors import LigateError, RecipeError
from ligate.core.suggest import nearest
from ligate.verbs.parallel import one_processor

WIDTHS = "widths"  # the paper of pairs of different widths

SCALES: Mapping[Tier, Scale] = {
    "smoke": Scale((0, 1), 0),
    "standard": Scale((0, 1, 2), 0),
    "full": Scale((0, 1, 2, 3, 4), 0),
}


def _mlps(*widths: int) -> list[Architecture]:
    return [Architecture("mlp", width, depth) for width in widths for depth in (1, 2, 3)]


_CNN, _VIT = Architecture("cnn", 32, 3), Architecture("vit", 32, 2)
ALIKE: Mapping[Tier, Sequence[Architecture]] = {
    "smoke": (Architecture("mlp", 32, 3), Architecture("mlp", 128, 2), Architecture("mlp", 128, 3)),
    "standard": (*_mlps(32, 128), _CNN, _VIT),
    "full": (*_mlps(32, 128, 512), _CNN, _VIT),
}
_UNLIKE = (
    (Architecture("mlp", 128, 3), Architecture("mlp", 96, 3)),
    (Architecture("mlp", 128, 2), Architecture("mlp", 96, 2)),
    (Architecture("mlp", 128, 3), Architecture("mlp", 32, 3)),
    (_CNN, Architecture("cnn", 24, 3)),
)
UNLIKE: Mapping[Tier, Sequence[tuple[Architecture, Architecture]]] = {
    "smoke": _UNLIKE[:1],
    "standard": _UNLIKE,
    "full": _UNLIKE,
}
LESSONS: Mapping[Kind, Lesson] = {"mlp": Lesson(25, 1e-3), "cnn": Lesson(25, 3e-3), "vit": Lesson(25, 2e-3)}

_SCORING = ("suites/digits/data.py", "suites/digits/paths.py")
_SAYS = {TEST: "images that no network was trained on", WIDTHS: "the same images, asked of pairs of different widths"}
_VOTES: Mapping[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "ensemble-logits": ("ensemble, mean logits", lambda logits: logits),
    "ensemble-probabilities": ("ensemble, mean probabilities", lambda logits: logits.softmax(1)),
}


class Made(NamedTuple):
    """One network of a pair, which questions it answers right, the seconds it took, and what else is told of it."""

    state: State
    right: Tensor
    seconds: float
    extras: Mapping[str, float]


def play(request: Request, tell: Teller) -> Results:
    """Train or find the networks of all seeds, one pair a seed and architecture, and walk between them.

    Raises:
        InputError: scikit-learn is not installed.
        RecipeError: a method that is no row of this suite, or a model to begin with, which it does not take.
    """
    began = time.perf_counter()
    asked = _asked_for(request)
    aligned = {name: ALIGNERS[name] for name in asked if name in ALIGNERS}
    fused = {name: FUSIONS[name] for name in asked if name in FUSIONS}
    taught = {name: LEARNINGS[name] for name in asked if name in LEARNINGS}
    cells: dict[str, list[Cell]] = {name: [] for name in ("parents", *_VOTES, *asked)}
    paths: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for seed in request.seeds:
        pairs = _trained(request, seed, tell)
        cells["parents"].append(_answered(seed, pairs, _parents, networks=1))
        for name, (_, share) in _VOTES.items():
            cells[name].append(_answered(seed, pairs, partial(_together, share), networks=2))
        alike = [pair for pair in pairs if pair.alike]
        for name, alignment in aligned.items():
            cell, walked = _walked(seed, alike, name, alignment, request, tell)
            cells[name].append(cell)
            for task, path in walked.items():
                told = {"seed": seed, "loss": list(path.losses), "accuracy": path.accuracies}
                paths.setdefault(task, {}).setdefault(name, []).append(told)
        for name, fusion in fused.items():
            unlike = [pair for pair in pairs if not pair.alike]
            fuse = partial(_fuse, request, f"{name}-{seed}", seed, fusion)
            cells[name].append(_made(seed, unlike, WIDTHS, (name, fusion.title), fuse, request, tell))
        for name, learning in taught.items():
            learn = partial(_learn, learning)
            cells[name].append(_made(seed, alike, TEST, (name, learning.title), learn, request, tell))
    papers = _papers(request.tier)
    return Results(
        suite=request.suite,
        tier=request.tier,
        seeds=request.seeds,
        budget=request.budget,
        metric=ACCURACY,
        tasks=[Task(task, None, CLASSES) for paper in papers.values() for task in paper.sources],
        papers=papers,
        rows=_rows(cells, {**aligned, **taught, **fused}),
        facts=_facts(),
        digest=_digest(papers),
        seconds=time.perf_counter() - began,
        drawings={"paths": paths},
    )


_LONG = (START, *LEARNINGS)
"""Rows that the smoke tier has no time for, unless they are asked for."""


def _asked_for(request: Request) -> list[str]:
    if request.model is not None:
        raise RecipeError("digits trains its own networks from random weights", where="--model", hint="leave it out.")
    known = [*ALIGNERS, *LEARNINGS, *FUSIONS]
    usual = [name for name in known if request.tier != "smoke" or name not in _LONG]
    names = usual if request.methods is None else list(request.methods)
    for name in names:
        if name not in known:
            hint = nearest(name, known) or f"it has {', '.join(known)}; merges of experts belong to other suites."
            raise RecipeError(f"digits has no way to align networks called '{name}'", where="--methods", hint=hint)
    return names


# Networks


def _trained(request: Request, seed: int, tell: Teller) -> list[Pair]:
    """All pairs of a seed. The left network of an unlike pair may be that of an alike one."""
    kinds = [*((one, one) for one in ALIKE[request.tier]), *UNLIKE[request.tier]]
    pairs: list[Pair] = []
    for number, (left, right) in enumerate(kinds):
        tell.counts(f"seed {seed}: {name_of(left, right)}", number, len(kinds))
        states = _network(request, left, seed, "first"), _network(request, right, seed, "second")
        pairs.append(Pair(left, right, states))
    tell.counts(f"seed {seed}", len(kinds), len(kinds))
    return pairs


def _network(request: Request, architecture: Architecture, seed: int, which: str) -> State:
    data, lesson, own = digits()["train"], LESSONS[architecture.kind], seed_of(architecture, seed, which)
    label = f"{architecture.name}-{seed}-{which}"
    key = training_key(architecture, lesson, own)
    return read_weights(
        kept(request.store, label, key, len(data), lambda: train(architecture, None, data, lesson, own)).folder
    )


def _tuned(request: Request, architecture: Architecture, start: State, own: int, label: str) -> Trained:
    """Trained on from these weights, on the data of all networks."""
    data, begins = digits()["train"], digest_of(value.numpy(force=True).tobytes() for value in start.values())
    key = training_key(architecture, TUNING, own, begins)
    label = f"{label}-{architecture.name}"
    return kept(request.store, label, key, len(data), lambda: train(architecture, start, data, TUNING, own))


# Answers


def _answered(seed: int, pairs: Sequence[Pair], how: Callable[[Pair], Tensor], networks: int) -> Cell:
    """What a row says about all pairs; the accuracies of unlike pairs are told as further numbers, too."""
    alike = {pair.name: how(pair) for pair in pairs if pair.alike}
    unlike = {pair.name: how(pair) for pair in pairs if not pair.alike}
    cost = Cost(sum(pair.parameters for pair in pairs if pair.alike) * networks // 2, networks)
    extras = {f"accuracy {name}": float(right.mean()) for name, right in unlike.items()}
    return Cell(seed, {TEST: alike, WIDTHS: unlike}, cost=cost, extras=extras)


def _parents(pair: Pair) -> Tensor:
    first, second = (_right(each) for each in pair.logits)
    return (first + second) / 2


def _together(share: Callable[[Tensor], Tensor], pair: Pair) -> Tensor:
    first, second = pair.logits
    return _right(share(first) + share(second))


def _right(scores: Tensor) -> Tensor:
    return (scores.argmax(1) == digits()["test"].labels).double()


def _walked(
    seed: int, pairs: Sequence[Pair], name: str, alignment: Alignment, request: Request, tell: Teller
) -> tuple[Cell, dict[str, Walk]]:
    """Align the second network of every pair that the row can align, and walk to it from the first."""
    paths: dict[str, Walk] = {}
    seconds = 0.0
    try:
        for pair in [pair for pair in pairs if pair.left.kind in alignment.kinds]:
            aligned = pair.aligned(alignment)
            seconds += aligned.seconds
            with one_processor():
                paths[pair.name] = _path(pair.left, pair.states[0], aligned.state, aligned.mend)
            if request.keep:
                write_weights(pair.middle(aligned), _kept_at(request, seed, name, pair))
    except Exception as error:  # an aligner may be anybody's code: its failure is a row of the table, not the end
        return _failed(seed, alignment.title, error, tell), {}
    stored = sum(pair.parameters for pair in pairs if pair.name in paths) // 2
    barriers = {f"barrier {task}": path.barrier for task, path in paths.items()}
    midpoints = {task: path.midpoint for task, path in paths.items()}
    return Cell(seed, {TEST: midpoints}, cost=Cost(stored, 1, seconds), extras=barriers), paths


def _made(
    seed: int,
    pairs: Sequence[Pair],
    paper: str,
    row: tuple[str, str],
    make: Callable[[Pair], Made],
    request: Request,
    tell: Teller,
) -> Cell:
    """One network of every pair, for a row of this name and title."""
    made: dict[str, Made] = {}
    name, title = row
    try:
        for number, pair in enumerate(pairs):
            tell.counts(f"seed {seed}: {title}, {pair.name}", number, len(pairs))
            made[pair.name] = make(pair)
            if request.keep:
                write_weights(made[pair.name].state, _kept_at(request, seed, name, pair))
    except Exception as error:  # as for aligners
        return _failed(seed, title, error, tell)
    right = {task: each.right for task, each in made.items()}
    extras = {key: value for each in made.values() for key, value in each.extras.items()}
    stored = sum(value.numel() for each in made.values() for value in each.state.values())
    cost = Cost(stored, 1, sum(each.seconds for each in made.values()))
    return Cell(seed, {TEST: {}, paper: right}, cost=cost, extras=extras)


def _fuse(request: Request, label: str, seed: int, fusion: Fusion, pair: Pair) -> Made:
    """Of networks of different widths."""
    members = Member(pair.left, pair.states[0]), Member(pair.right, pair.states[1])
    one, other = members[fusion.into], members[1 - fusion.into]
    began = time.perf_counter()
    state = fusion.fuse(one, other, digits()["train"].images)
    seconds = time.perf_counter() - began
    if fusion.tuned:
        tuned = _tuned(request, one.architecture, state, seed_of(seed, pair.name, "tuning"), label)
        state, seconds = read_weights(tuned.folder), seconds + tuned.seconds
    right = _right(logits(one.architecture, state, digits()["test"].images).double())
    return Made(state, right, seconds, {f"accuracy {pair.name}": float(right.mean())})


def _learn(learning: Learning, pair: Pair) -> Made:
    """Of networks that are alike. What it is below the better vote is told, and how many numbers were learned."""
    aligned = pair.aligned(ALIGNERS[START])
    began = time.perf_counter()
    with one_processor():
        state, found = learned(learning.preset, pair.left, pair.middle(aligned), (pair.states[0], aligned.state))
    seconds = aligned.seconds + time.perf_counter() - began
    right = _right(logits(pair.left, state, digits()["test"].images).double())
    votes = max(float(_together(share, pair).mean()) for _, share in _VOTES.values())
    told = {f"minus vote {pair.name}": float(right.mean()) - votes, f"learned {pair.name}": float(found.scalars)}
    return Made(state, right, seconds, told)


def _failed(seed: int, title: str, error: Exception, tell: Teller) -> Cell:
    reason = str(error) if isinstance(error, LigateError) else f"{type(error).__name__}: {error}"
    tell.says(f"{title} failed with seed {seed}: {reason}")
    return Cell(seed, failed=reason)


def _kept_at(request: Request, seed: int, name: str, pair: Pair) -> Path:
    return request.out / "merged" / f"seed-{seed}" / name / pair.name


def _path(architecture: Architecture, first: State, second: State, mend: Mend | None) -> Walk:
    test = digits()["test"]
    return walk(first, second, lambda state: logits(architecture, state, test.images), test.labels, mend)


# The results


def _rows(cells: Mapping[str, Sequence[Cell]], merged: Mapping[str, Alignment | Learning | Fusion]) -> list[Row]:
    parents = Row("parents", "the two networks", "reference", ("nothing",), note="mean of both", cells=cells["parents"])
    votes = [
        Row(name, title, "ensemble", ("extra storage",), note="both networks are asked", cells=cells[name])
        for name, (title, _) in _VOTES.items()
    ]
    merges = [Row(name, one.title, "merge", one.uses, note=one.note, cells=cells[name]) for name, one in merged.items()]
    return [parents, *merges, *votes]


def _papers(tier: Tier) -> dict[str, Paper]:
    numbers = digits()["test"].numbers
    tasks = {TEST: [one.name for one in ALIKE[tier]], WIDTHS: [name_of(*both) for both in UNLIKE[tier]]}
    return {paper: Paper(dict.fromkeys(names, numbers), _SAYS[paper]) for paper, names in tasks.items()}


def _digest(papers: Mapping[str, Paper]) -> str:
    """Of questions and scoring only: runs with other aligners or other training can be compared."""
    asked = [f"{name} {task}" for name, paper in papers.items() for task in paper.sources]
    return digest_of([digits_data.digest(), code_digest(_SCORING), *asked])


def _facts() -> dict[str, str]:
    lessons = (f"{kind}: {lesson.epochs} epochs at {lesson.rate:g}" for kind, lesson in LESSONS.items())
    parts = ", ".join(f"{len(each)} {part}" for part, each in digits().items())
    return {
        "data": f"the handwritten digits of scikit-learn, 8 x 8 pixels; {parts}",
        "networks": "from different random weights, a pair for each seed and architecture (kind-width x depth); "
        f"Adam, {'; '.join(lessons)}",
        "barrier": f"how far the test cross-entropy rises, at the worst of {len(SHARES)} points on the straight line "
        "between two networks, above the line between their own losses",
        "learned": f"from half of the {len(digits()['train'])} training images, the other half decides when to stop; "
        "`minus vote` is the accuracy less that of the better vote, `learned` how many numbers were learned",
        "different widths": "no straight line lies between such networks: one is brought to the widths of the other",
        "arithmetic": f"float32 on one thread, torch {torch.__version__}",
    }
