"""The user's examples as two halves: those that are learned from, and those that decide when to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ligate.core.errors import InputError
from ligate.recipe.schema import DataSpec, DataTask
from ligate.tasks import questions
from ligate.tasks.digests import digest_of
from ligate.tasks.questions import Asked, ordered, share_of
from ligate.tasks.tables import Table, read_dataset, read_file, require_columns

FEWEST = 2  # examples of a task on each side
_UNKNOWN = -1  # the number of a class that nobody tells


class Examples(NamedTuple):
    """Of one task; `labels` and `phrases` of its classes are in the order of their numbers."""

    name: str
    labels: Sequence[str]
    phrases: Sequence[str]
    learning: Sequence[Asked]
    stopping: Sequence[Asked]

    @property
    def digest(self) -> str:
        halves = (self.learning, self.stopping)
        told = [repr([(one.all_of_it, one.source, one.answer) for one in half]) for half in halves]
        return digest_of([self.name, repr(self.labels), repr(self.phrases), *told])


def read(data: DataSpec, task: DataTask, labels: Sequence[str] | None, *, labelled: bool) -> Examples:
    """The examples of a task; `labels` are those that its model names, where the recipe names none.

    Which half an example belongs to is drawn by the hash of its source (of the text itself where no column tells one),
    so that it is the same in every run. Without `labelled` no answer is kept, and a column of labels serves at most to
    name the classes.

    Raises:
        InputError: the data cannot be read, or are not what the task needs.
    """
    table = _table(task)
    spec = task if _reads_labels(task, table, labels, labelled) else _without_labels(task)
    require_columns(table, spec.columns, task.file or f"{task.dataset}/{task.split}", task.columns_at)
    drafts = [questions.draft(spec, table, row) for row in table.rows]
    found = [label for _, label in drafts]
    classes = questions.classes_of(spec, labels, table.names, found)
    if not classes and data.kind != "causal-lm":
        hint = "list them: `classes: {label: phrase}`, in the order of the head where the models have one."
        raise InputError(f"the classes of task `{task.name}` are not known", where=str(task.place), hint=hint)
    numbers = questions.numbers_of(classes, table.names, found) if classes else {}

    def answer(one: Asked, label: str) -> int:
        return questions.number_of(one, label, numbers, classes) if labelled else _UNKNOWN

    asked = ordered(one._replace(answer=answer(one, label)) for one, label in drafts)
    learning, stopping = _halves(asked, data)
    _enough(task, data, learning, stopping)
    return Examples(task.name, list(classes), list(classes.values()), learning, stopping)


def _table(task: DataTask) -> Table:
    if task.dataset:
        return read_dataset(task.dataset, task.config, task.split, task.columns, task.place)
    return read_file(task.file, Path(), task.place)


def _reads_labels(task: DataTask, table: Table, labels: Sequence[str] | None, labelled: bool) -> bool:
    named = task.classes is not None or bool(labels or table.names)
    return labelled or (not named and task.columns.get("label") in table.columns)


def _without_labels(task: DataTask) -> DataTask:
    return replace(task, columns={what: column for what, column in task.columns.items() if what != "label"})


def _halves(asked: Sequence[Asked], data: DataSpec) -> tuple[list[Asked], list[Asked]]:
    stops = [share_of(f"stop/{one.source}") < data.share for one in asked]
    learning = [one for one, stop in zip(asked, stops, strict=True) if not stop]
    stopping = [one for one, stop in zip(asked, stops, strict=True) if stop]
    if data.per_class is None:
        return learning, stopping
    kept = max(1, round(data.per_class * data.share))
    return _first_of_each(learning, max(1, data.per_class - kept)), _first_of_each(stopping, kept)


def _first_of_each(asked: Sequence[Asked], count: int) -> list[Asked]:
    """So many of every class."""
    seen: dict[int, int] = {}
    kept: list[Asked] = []
    for one in asked:
        seen[one.answer] = seen.get(one.answer, 0) + 1
        if seen[one.answer] <= count:
            kept.append(one)
    return kept


def _enough(task: DataTask, data: DataSpec, learning: Sequence[Asked], stopping: Sequence[Asked]) -> None:
    if min(len(learning), len(stopping)) < FEWEST:
        raise InputError(
            f"task `{task.name}` has {len(learning)} examples to learn from and {len(stopping)} that decide when to "
            f"stop, and needs {FEWEST} of each",
            where=str(task.place),
            hint=f"give it more data, or another `share:` than {data.share:g}.",
        )


def in_batches(asked: Sequence[Asked], size: int) -> list[Sequence[Asked]]:
    return [asked[start : start + size] for start in range(0, len(asked), size)]


def counted(found: Mapping[str, Examples]) -> dict[str, dict[str, object]]:
    """What a record tells of the examples: no text, no path."""
    return {
        name: {"digest": one.digest, "classes": len(one.labels), "learning": len(one.learning),
               "stopping": len(one.stopping)}
        for name, one in found.items()
    }  # fmt: skip
