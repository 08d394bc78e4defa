"""A world of tiny networks, for checks of the bench itself in seconds: digits that are turned, inverted, mirrored.

All tasks have the same ten classes and one head, which is merged with the rest. The pretrained network has seen every
kind of image, but few of each, so experts have something to learn and merges something to keep. Differences between
rules are within the noise here: these numbers must not rank methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ligate.bench.kept import code_digest, digest_of
from ligate.bench.shelf import Shelf, votes
from ligate.bench.suite import (
    JOINT,
    OUTSIDE,
    PRETRAINED,
    TEST,
    VALIDATION,
    How,
    Paper,
    Scale,
    State,
    Task,
    Tier,
    Trained,
    Values,
)
from ligate.bench.suites.digits import data as digits_data
from ligate.bench.suites.digits.data import CLASSES, Digits, digits
from ligate.bench.suites.digits.networks import Architecture, Lesson, kept, logits, seed_of, train, training_key
from ligate.bench.weights import read_weights

NOISY = "noisy"
SCALES: Mapping[Tier, Scale] = {
    "smoke": Scale((0,), 6, {"tasks": 3}),
    "standard": Scale((0, 1, 2), 12, {"tasks": 4}),
    "full": Scale((0, 1, 2, 3, 4), 20, {"tasks": 4}),
}

_CHANGES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "turned": lambda images: images.rot90(1, (1, 2)),
    "inverted": lambda images: 1 - images,
    "mirrored": lambda images: images.flip(2),
    "shifted": lambda images: torch.nn.functional.pad(images, (2, 0, 2, 0))[:, :8, :8],
}
_PLAIN = "plain"
_NOISE = 0.25
_ARCHITECTURE = Architecture("mlp", 64, 2)
_FEW = 40  # images that the pretrained network has seen of each kind
_PRETRAINING, _TUNING = Lesson(20, 1e-3), Lesson(5, 5e-4)
_CODE = ("shelf.py", "suites/digits/data.py", "suites/digits/networks.py", "suites/digits/tasks.py")
_SAYS = {
    VALIDATION: "chooses coefficients, nothing else",
    TEST: "images that no network was trained on",
    OUTSIDE: "the test images as they are, a task that no expert was trained for",
    NOISY: "the test images with noise",
}


@dataclass
class DigitsWorld:
    """A `World` of networks of one architecture; `sheets` has the images of every paper by task."""

    seed: int
    tasks: Sequence[Task]
    experts: Sequence[Trained]
    others: Sequence[Trained]
    sheets: Mapping[str, Mapping[str, Digits]]

    @cached_property
    def digest(self) -> str:
        asked = [f"{paper} {task}" for paper, each in self.sheets.items() for task in each]
        return digest_of([digits_data.digest(), code_digest(_CODE), torch.__version__, *asked])

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
        return {task: _right(each, self.sheets[paper][task]) for task, each in self._logits(state, paper).items()}

    def vote(self, labels: Sequence[str], weights: Sequence[float], how: How, paper: str) -> Values:
        total = votes((self._logits(self.state(label), paper) for label in labels), weights, how)
        return {task: _right(each, self.sheets[paper][task]) for task, each in total.items()}

    def _logits(self, state: State, paper: str) -> dict[str, Tensor]:
        return {task: logits(_ARCHITECTURE, state, asked.images).double() for task, asked in self.sheets[paper].items()}

    @cached_property
    def _shelf(self) -> Shelf:
        return Shelf((*self.others, *self.experts), self.loaded)


def world(store: Path, seed: int, tier: Tier) -> DigitsWorld:
    """Networks of one seed, trained now unless they are in the store.

    Raises:
        InputError: scikit-learn is not installed.
    """
    names = list(_CHANGES)[: SCALES[tier].sizes["tasks"]]
    pretrained = _pretrained(store, seed, names)
    start = read_weights(pretrained.folder)
    images = digits()["train"]
    data = {name: _changed(images, name) for name in names}
    key = [pretrained.folder.name, _TUNING, seed]

    def tuned(label: str, data: Digits) -> Trained:
        def make() -> State:
            return train(_ARCHITECTURE, start, data, _TUNING, seed_of(seed, label))

        return kept(store, label, training_key(*key, label), len(data), make)

    experts = [tuned(name, each) for name, each in data.items()]
    others = [pretrained, tuned(JOINT, _joined(list(data.values())))]
    tasks = [*(Task(name, name, CLASSES) for name in names), Task(_PLAIN, None, CLASSES)]
    return DigitsWorld(seed, tasks, experts, others, _sheets(names))


def _pretrained(store: Path, seed: int, names: Sequence[str]) -> Trained:
    """Trained on few images, each of them as it is and changed in every way."""
    images = digits()["train"]
    few = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed_of(seed, "few")))[:_FEW]
    data = _joined([_changed(images.at(few), name) for name in (_PLAIN, *names)])

    def make() -> State:
        return train(_ARCHITECTURE, None, data, _PRETRAINING, seed_of(seed, PRETRAINED))

    key = training_key(code_digest(_CODE), _ARCHITECTURE, _PRETRAINING, _FEW, names, seed)
    return kept(store, PRETRAINED, key, len(data), make)


def _sheets(names: Sequence[str]) -> dict[str, dict[str, Digits]]:
    validation, test = ({name: _changed(digits()[part], name) for name in names} for part in ("validation", "test"))
    noisy = {name: _with_noise(each) for name, each in test.items()}
    return {VALIDATION: validation, TEST: test, OUTSIDE: {_PLAIN: digits()["test"]}, NOISY: noisy}


def _changed(data: Digits, how: str) -> Digits:
    return data if how == _PLAIN else Digits(_CHANGES[how](data.images).contiguous(), data.labels, data.numbers)


def _joined(parts: Sequence[Digits]) -> Digits:
    return Digits(*(torch.cat([getattr(part, name) for part in parts]) for name in ("images", "labels", "numbers")))


def _with_noise(data: Digits) -> Digits:
    noise = torch.randn(data.images.shape, generator=torch.Generator().manual_seed(0))
    return Digits(data.images + _NOISE * noise, data.labels, data.numbers)


def _right(scores: Tensor, asked: Digits) -> Tensor:
    return (scores.argmax(1) == asked.labels).double()
