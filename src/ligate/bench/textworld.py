"""A world of texts: one encoder is asked questions by frozen heads, so that only encoders are merged.

A head is the pretrained network's own embedding of a phrase for each class; logits are 20 times the cosine. The task is
not visible in a text: a merged network must satisfy all heads with one embedding of it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ligate.bench import encoder as encoders
from ligate.bench import textlessons
from ligate.bench.encoder import Encoder, embed, has_fast_bfloat16, logits
from ligate.bench.kept import code_digest, digest_of
from ligate.bench.lessons import Lesson
from ligate.bench.shelf import Shelf, votes
from ligate.bench.suite import OUTSIDE, TEST, VALIDATION, How, Paper, State, Task, Trained, Values
from ligate.bench.texts import Question

TYPOS, DROPPED = "typos", "dropped"
_TYPO_SHARE, _DROP_SHARE = 0.3, 0.2  # of the words
_SCORING = ("encoder.py", "shelf.py", "textworld.py")
_SAYS = {
    VALIDATION: "chooses coefficients, nothing else",
    TEST: "sources that no network was trained on",
    OUTSIDE: "tasks that no expert was trained for",
    TYPOS: f"the test texts, two letters swapped in {_TYPO_SHARE:.0%} of the words",
    DROPPED: f"the test texts without {_DROP_SHARE:.0%} of their words",
}


@dataclass(frozen=True)
class Sheet:
    """The questions of one paper, each text once: task -> places among the texts and right answers."""

    texts: Sequence[str]
    places: Mapping[str, Tensor]
    answers: Mapping[str, Tensor]
    sources: Mapping[str, Tensor]


@dataclass
class TextWorld:
    """A `World` of texts. `heads` has a matrix of unit class vectors for every task, outside ones included."""

    seed: int
    tasks: Sequence[Task]
    experts: Sequence[Trained]
    others: Sequence[Trained]
    encoder: Encoder
    heads: Mapping[str, Tensor]
    questions: Mapping[str, Mapping[str, Sequence[Question]]]  # paper -> task -> questions
    length: int  # tokens after which a text is cut
    lessons: Mapping[str, Sequence[Question]] = field(default_factory=dict)  # what learned merges may look at

    @property
    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts = [code_digest(_SCORING), str(self.length), torch.__version__, str(has_fast_bfloat16())]
        parts += [f"{paper} {task} {asked}" for paper, each in self.questions.items() for task, asked in each.items()]
        parts += [f"{task} {head.tolist()}" for task, head in self.heads.items()]
        return digest_of(parts)

    def papers(self) -> Mapping[str, Paper]:
        return {name: Paper(sheet.sources, _SAYS.get(name, "")) for name, sheet in self._sheets.items()}

    def state(self, label: str) -> State:
        return self._shelf[label]

    def loaded(self, folder: Path) -> State:
        return encoders.load(folder).model.state_dict()

    def ask(self, state: State, paper: str) -> Values:
        label = self._shelf.label_of(state)
        found = self._logits(state, paper) if label is None else self._logits_of(label, paper)
        return {task: _right(each, self._sheets[paper].answers[task]) for task, each in found.items()}

    def vote(self, labels: Sequence[str], weights: Sequence[float], how: How, paper: str) -> Values:
        total = votes((self._logits_of(label, paper) for label in labels), weights, how)
        return {task: _right(each, self._sheets[paper].answers[task]) for task, each in total.items()}

    def lesson(self, batch: int, per_class: int | None) -> Lesson:
        labels = [one.label for one in self.experts]
        return textlessons.lesson(
            self.encoder, self.tasks, self.heads, self.lessons, labels, self.length, batch, per_class
        )

    def _logits(self, state: State, paper: str) -> dict[str, Tensor]:
        """Per task [N, C]; every text is embedded once."""
        sheet = self._sheets[paper]
        vectors = embed(self.encoder, self.encoder.tokens(sheet.texts, self.length), state)
        return {task: logits(vectors[place], self.heads[task]).double() for task, place in sheet.places.items()}

    def _logits_of(self, label: str, paper: str) -> dict[str, Tensor]:
        """Those of a stored network, which is asked for itself and in each vote."""
        if (label, paper) not in self._told:
            self._told[label, paper] = self._logits(self.state(label), paper)
        return self._told[label, paper]

    @cached_property
    def _sheets(self) -> Mapping[str, Sheet]:
        names = {source for each in self.questions.values() for asked in each.values() for _, source, _ in asked}
        numbers = {source: number for number, source in enumerate(sorted(names))}
        return {paper: _sheet(each, numbers) for paper, each in self.questions.items()}

    @cached_property
    def _shelf(self) -> Shelf:
        return Shelf((*self.others, *self.experts), self.loaded)

    @cached_property
    def _told(self) -> dict[tuple[str, str], dict[str, Tensor]]:
        return {}


def damaged(asked: Mapping[str, Sequence[Question]], how: str) -> dict[str, list[Question]]:
    """The same questions about texts with typing errors or missing words; the same text is always damaged alike."""
    damage = {TYPOS: _with_typos, DROPPED: _with_words_dropped}[how]
    return {task: [one._replace(text=damage(one.text)) for one in each] for task, each in asked.items()}


def _with_typos(text: str) -> str:
    draw = random.Random(text)
    return " ".join(_swapped(word, draw) if draw.random() < _TYPO_SHARE else word for word in text.split())


def _swapped(word: str, draw: random.Random) -> str:
    if len(word) < 3:
        return word
    at = draw.randrange(len(word) - 1)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _with_words_dropped(text: str) -> str:
    draw = random.Random(text)
    kept = [word for word in text.split() if draw.random() >= _DROP_SHARE]
    return " ".join(kept) or text


def _sheet(questions: Mapping[str, Sequence[Question]], numbers: Mapping[str, int]) -> Sheet:
    texts = sorted({one.text for asked in questions.values() for one in asked})
    place = {text: number for number, text in enumerate(texts)}
    return Sheet(
        texts,
        {task: torch.tensor([place[one.text] for one in asked]) for task, asked in questions.items()},
        {task: torch.tensor([one.answer for one in asked]) for task, asked in questions.items()},
        {task: torch.tensor([numbers[one.source] for one in asked]) for task, asked in questions.items()},
    )


def _right(scores: Tensor, answers: Tensor) -> Tensor:
    return (scores.argmax(1) == answers).double()
