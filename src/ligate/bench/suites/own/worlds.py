"""A world in which networks of the user choose among classes, whatever they look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from ligate.bench.kept import code_digest, digest_of
from ligate.bench.shelf import Shelf, votes
from ligate.bench.suite import OUTSIDE, TEST, VALIDATION, How, Paper, State, Task, Trained, Values
from ligate.bench.textworld import DROPPED, TYPOS
from ligate.tasks.questions import Asked, Content

if TYPE_CHECKING:
    from torch import Tensor

_SCORING = (
    "shelf.py",
    "suites/own/worlds.py",
    "suites/own/sequences.py",
    "suites/own/images.py",
    "../tasks/sequences.py",
    "../tasks/images.py",
    "../tasks/loading.py",
)
_SAYS = {
    VALIDATION: "chooses coefficients, nothing else",
    TEST: "the test questions of the file",
    OUTSIDE: "tasks that no expert was trained for",
    TYPOS: "the test texts with typing errors",
    DROPPED: "the test texts with words left out",
}


class Network(Protocol):
    """What answers: weights go in with the questions, everything else about it is in `digest`."""

    @property
    def digest(self) -> str: ...
    def loaded(self, folder: Path) -> State: ...
    def logits(self, state: State, asked: Mapping[str, Sequence[Content]]) -> Mapping[str, Tensor]:
        """[N, C] by task."""
        ...


@dataclass
class Graded:
    """A `World` of questions with a right answer each: paper -> task -> questions."""

    seed: int
    tasks: Sequence[Task]
    experts: Sequence[Trained]
    others: Sequence[Trained]
    network: Network
    questions: Mapping[str, Mapping[str, Sequence[Asked]]]

    @property
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts = [code_digest(_SCORING), torch.__version__, self.network.digest]
        for paper, each in self.questions.items():
            told = {task: [(one.all_of_it, one.source, one.answer) for one in asked] for task, asked in each.items()}
            parts.append(f"{paper} {told}")
        return digest_of(parts)

    def papers(self) -> Mapping[str, Paper]:
        return papers(self.questions)

    def state(self, label: str) -> State:
        return self._shelf[label]

    def loaded(self, folder: Path) -> State:
        return self.network.loaded(folder)

    def ask(self, state: State, paper: str) -> Values:
        return self._right(self._logits(state, paper), paper)

    def vote(self, labels: Sequence[str], weights: Sequence[float], how: How, paper: str) -> Values:
        total = votes((self._logits_of(label, paper) for label in labels), weights, how)
        return self._right(total, paper)

    def _logits(self, state: State, paper: str) -> dict[str, Tensor]:
        asked = {task: [one.content for one in each] for task, each in self.questions[paper].items()}
        return {task: each.double() for task, each in self.network.logits(state, asked).items()}

    def _logits_of(self, label: str, paper: str) -> dict[str, Tensor]:
        """Those of a stored network, which votes may need more than once."""
        if (label, paper) not in self._told:
            self._told[label, paper] = self._logits(self.state(label), paper)
        return self._told[label, paper]

    def _right(self, logits: Mapping[str, Tensor], paper: str) -> Values:
        answers = {task: torch.tensor([one.answer for one in asked]) for task, asked in self.questions[paper].items()}
        return {task: (each.argmax(1) == answers[task]).double() for task, each in logits.items()}

    @cached_property
    def _shelf(self) -> Shelf:
        return Shelf((*self.others, *self.experts), self.loaded)

    @cached_property
    def _told(self) -> dict[tuple[str, str], dict[str, Tensor]]:
        return {}


def papers(questions: Mapping[str, Mapping[str, Sequence[Asked]]]) -> dict[str, Paper]:
    """Where questions come from, as numbers: the same source has the same number on every paper."""
    names = {one.source for each in questions.values() for asked in each.values() for one in asked}
    numbers = {source: number for number, source in enumerate(sorted(names))}
    return {
        paper: Paper(
            {task: torch.tensor([numbers[one.source] for one in asked]) for task, asked in each.items()}, _SAYS[paper]
        )
        for paper, each in questions.items()
    }
