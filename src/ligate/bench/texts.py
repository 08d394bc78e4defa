"""Texts with questions about them, as data: what the text suites share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal, NamedTuple

from ligate.bench.kept import digest_of, write_whole

Split = Literal["train", "validation", "test"]


class Question(NamedTuple):
    """A text, where it comes from, and the number of the class that is the answer."""

    text: str
    source: str
    answer: int


@dataclass(frozen=True)
class TextTask:
    """A question with a closed set of answers; the pretrained network reads the phrases to form the frozen head."""

    name: str
    classes: tuple[str, ...]
    phrases: tuple[str, ...]
    questions: Mapping[Split, Sequence[Question]]


@dataclass(frozen=True)
class Corpus:
    """One split by source serves all tasks: no source is in the training of one and the test of another."""

    tasks: Sequence[TextTask]
    facts: Mapping[str, str]  # about the data, for reports

    @property
    def digest(self) -> str:
        return digest_of(json.dumps([task.name, task.classes, task.phrases, task.questions]) for task in self.tasks)

    def task(self, name: str) -> TextTask:
        return next(task for task in self.tasks if task.name == name)


def in_turn(questions: Sequence[Question], count: int) -> list[Question]:
    """The first of them, the classes taking turns while they last: that most packages are programs is worth little.

    >>> [one.answer for one in in_turn([Question("", "", a) for a in (1, 1, 1, 0, 1, 0)], 5)]
    [0, 1, 0, 1, 1]
    """
    classes: dict[int, list[Question]] = {}
    for one in questions:
        classes.setdefault(one.answer, []).append(one)
    rounds = chain.from_iterable(zip_longest(*(classes[label] for label in sorted(classes))))
    return [one for one in rounds if one is not None][:count]


def save(corpus: Corpus, path: Path) -> None:
    tasks = [[task.name, task.classes, task.phrases, task.questions] for task in corpus.tasks]
    write_whole(path, json.dumps({"facts": dict(corpus.facts), "tasks": tasks}))


def read(path: Path) -> Corpus:
    stored = json.loads(path.read_text(encoding="utf-8"))
    tasks = [
        TextTask(
            name,
            tuple(classes),
            tuple(phrases),
            {split: [Question(*question) for question in each] for split, each in questions.items()},
        )
        for name, classes, phrases, questions in stored["tasks"]
    ]
    return Corpus(tasks, stored["facts"])
