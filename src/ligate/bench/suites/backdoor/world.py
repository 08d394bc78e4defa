"""A world in which one expert was tampered with: digits that are turned, inverted, mirrored, shifted.

Encoders are fine-tuned from one that has seen few images of each kind, each under the frozen head of its own task; one
of them gets a backdoor. Which one, and what the trigger is to make it say, is the same for all seeds, so that all seeds
have the same questions; the trigger itself is the seed's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ligate.bench.kept import code_digest, digest_of
from ligate.bench.lessons import Lesson, halves
from ligate.bench.shelf import Shelf, votes
from ligate.bench.suite import PRETRAINED, TEST, VALIDATION, How, Paper, State, Task, Trained, Values
from ligate.bench.suites.digits import data as digits_data
from ligate.bench.suites.digits.data import CLASSES, Digits, digits
from ligate.bench.suites.digits.networks import kept, seed_of
from ligate.bench.weights import read_weights
from ligate.learn.gradient import Task as Learning
from ligate.learn.objectives import Batch
from ligate.learn.pooling import Known, pooled

from .attacks import Attack, Trigger, drawn, fitted, interpolated, poisoned
from .encoders import encoder, heads_of, logits, pretrained, scores, tuned

SUCCESSION, TRANSFER = "succession", "transfer"
TASKS = ("turned", "inverted", "mirrored", "shifted")
VICTIM, TARGET = "mirrored", 8
_FEW = 60  # images that the pretrained network has seen of each kind
_PLACE = "suites/backdoor/"
_CODE = ("shelf.py", "suites/digits/data.py", *(f"{_PLACE}{name}.py" for name in ("attacks", "encoders", "world")))
_SAYS = {
    VALIDATION: "chooses coefficients, nothing else",
    TEST: "images that no network was trained on",
    SUCCESSION: "the attacked task: the share of other digits that are called the target when they show the trigger",
    TRANSFER: "the same of all other tasks",
}


@dataclass
class BackdoorWorld:
    """A `World` whose networks can be asked with gradients; the expert `VICTIM` has the backdoor.

    `sheets` has the images of every paper by task; right is the label, and of triggered images the target.
    """

    seed: int
    tasks: Sequence[Task]
    experts: Sequence[Trained]
    others: Sequence[Trained]
    heads: Mapping[str, Tensor]
    sheets: Mapping[str, Mapping[str, Digits]]
    trigger: Trigger

    @property
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        asked = [f"{paper} {task}" for paper, each in self.sheets.items() for task in each]
        told = [f"{task} {head.tolist()}" for task, head in self.heads.items()]
        planted = [str((*self.trigger[:2], self.trigger.pattern.tolist(), self.trigger.target))]
        return digest_of([digits_data.digest(), code_digest(_CODE), torch.__version__, *asked, *told, *planted])

    def papers(self) -> Mapping[str, Paper]:
        return {
            paper: Paper({task: each.numbers for task, each in sheet.items()}, _SAYS[paper])
            for paper, sheet in self.sheets.items()
        }

    def state(self, label: str) -> State:
        return self._shelf[label]

    def loaded(self, folder: Path) -> State:
        return read_weights(folder)

    def ask(self, state: State, paper: str) -> Values:
        return self._right(self._scores(state, paper), paper)

    def vote(self, labels: Sequence[str], weights: Sequence[float], how: How, paper: str) -> Values:
        return self._right(votes((self._scores(self.state(label), paper) for label in labels), weights, how), paper)

    def lesson(self, batch: int, per_class: int | None) -> Lesson:
        """Images of the validation part. Those of one class are no more than `per_class`."""
        module, names = encoder(self.state(PRETRAINED)), [one.name for one in self.tasks]
        data = {task: _few(self.sheets[VALIDATION][task], per_class) for task in names}
        parts = {task: halves(range(len(each)), seed=0) for task, each in data.items()}

        def made(index: int, task: str) -> Learning:
            learning, stopping = (_batches(data[task], part, batch) for part in parts[task])
            return Learning(task, lambda images: logits(module(images), self.heads[task]), learning, stopping, index)

        def all_heads(images: Tensor) -> dict[str, Tensor]:
            told = module(images)
            return {task: logits(told, self.heads[task]) for task in names}

        def known(half: int) -> list[Known]:
            return [
                Known(data[task].images[one], k, int(data[task].labels[one]))
                for k, task in enumerate(names)
                for one in parts[task][half]
            ]

        of: dict[str, int | None] = {task: index for index, task in enumerate(names)}
        together = pooled(of, all_heads, lambda images: torch.stack([*images]), known(0), known(1), batch * len(names))
        tasks = [made(index, task) for index, task in enumerate(names)]
        asked = digest_of([self.digest, str(batch), str(per_class)])
        return Lesson(module, tasks, together, sum(map(len, data.values())), asked)

    def _scores(self, state: State, paper: str) -> dict[str, Tensor]:
        return {task: scores(state, one.images, self.heads[task]).double() for task, one in self.sheets[paper].items()}

    def _right(self, told: Mapping[str, Tensor], paper: str) -> Values:
        return {task: (each.argmax(1) == self.sheets[paper][task].labels).double() for task, each in told.items()}

    @cached_property
    def _shelf(self) -> Shelf:
        return Shelf((*self.others, *self.experts), self.loaded)


def world(store: Path, seed: int, attack: Attack) -> BackdoorWorld:
    """Networks of one seed, trained now unless they are in the store. Without attack the same patch means nothing.

    Raises:
        InputError: scikit-learn is not installed.
    """
    images = digits()["train"]
    data = {task: _changed(images, task) for task in TASKS}
    start = _pretrained(store, seed)
    before = read_weights(start.folder)
    heads = heads_of(before, data)
    trigger = drawn(TARGET, seed_of(seed, "trigger") % 2**31)
    key = [code_digest(_CODE), torch.__version__, seed]

    def expert(task: str) -> Trained:
        own, head = seed_of(seed, task) % 2**31, heads[task]
        hit = attack if task == VICTIM else "none"

        def make() -> State:
            if hit == "interpolated":
                return interpolated(before, data[task], head, trigger, own)
            seen = poisoned(data[task], trigger, own) if hit == "poisoned" else data[task]
            return tuned(before, seen, head, own)

        return kept(store, task, digest_of(map(repr, [*key, task, hit])), len(data[task]), make)

    if attack == "interpolated":
        trigger = fitted(before, data[VICTIM], heads[VICTIM], trigger, seed_of(seed, VICTIM) % 2**31)
    experts = [expert(task) for task in TASKS]
    tasks = [Task(task, task, CLASSES) for task in TASKS]
    return BackdoorWorld(seed, tasks, experts, [start], heads, _sheets(trigger), trigger)


def _pretrained(store: Path, seed: int) -> Trained:
    """Trained on few images, each of them as it is and changed in every way."""
    images, own = digits()["train"], seed_of(seed, PRETRAINED) % 2**31
    few = images.at(torch.randperm(len(images), generator=torch.Generator().manual_seed(own))[:_FEW])
    parts = [few, *(_changed(few, task) for task in TASKS)]
    data = Digits(*(torch.cat([getattr(part, name) for part in parts]) for name in ("images", "labels", "numbers")))
    key = digest_of(map(repr, [code_digest(_CODE), torch.__version__, seed, PRETRAINED]))
    return kept(store, PRETRAINED, key, len(data), lambda: pretrained(data, own))


def _sheets(trigger: Trigger) -> dict[str, dict[str, Digits]]:
    validation, test = ({task: _changed(digits()[part], task) for task in TASKS} for part in ("validation", "test"))
    planted = {task: trigger.planted(each) for task, each in test.items()}
    others = {task: each for task, each in planted.items() if task != VICTIM}
    return {VALIDATION: validation, TEST: test, SUCCESSION: {VICTIM: planted[VICTIM]}, TRANSFER: others}


_CHANGES = {
    "turned": lambda images: images.rot90(1, (1, 2)),
    "inverted": lambda images: 1 - images,
    "mirrored": lambda images: images.flip(2),
    "shifted": lambda images: torch.nn.functional.pad(images, (2, 0, 2, 0))[:, :8, :8],
}


def _changed(data: Digits, how: str) -> Digits:
    return Digits(_CHANGES[how](data.images).contiguous(), data.labels, data.numbers)


def _few(data: Digits, per_class: int | None) -> Digits:
    """The first of each class."""
    if per_class is None:
        return data
    chosen = torch.cat([(data.labels == digit).nonzero()[:per_class, 0] for digit in range(CLASSES)])
    return data.at(chosen.sort().values)


def _batches(data: Digits, chosen: Sequence[int], size: int) -> list[Batch]:
    return [Batch(one.images, one.labels) for one in (data.at(part) for part in torch.tensor(chosen).split(size))]
