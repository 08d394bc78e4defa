"""The user's questions: read from files or a data set, checked, split and drawn by hash, the same in every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ligate.bench.suites.own.config import PARTS, Config, Part, TaskSpec
from ligate.core.errors import InputError
from ligate.tasks import questions
from ligate.tasks.digests import digest_of
from ligate.tasks.questions import Asked, ordered, share_of
from ligate.tasks.tables import Table, read_dataset, read_file, require_columns

FEWEST = 10  # questions of a task on a paper: fewer tell nothing


@dataclass(frozen=True)
class TaskData:
    """All questions of a task by part, in the order in which a tier takes them."""

    name: str
    labels: Sequence[str]  # of the classes, in the order of their numbers
    phrases: Sequence[str]
    questions: Mapping[Part, Sequence[Asked]]
    dropped: int  # validation questions whose source is on the test paper too

    @property
    def digest(self) -> str:
        told = [repr([(one.all_of_it, one.source, one.answer) for one in self.questions[part]]) for part in PARTS]
        return digest_of([self.name, repr(self.labels), *told])


def load(config: Config, spec: TaskSpec, labels: Sequence[str] | None = None) -> TaskData:
    """`labels` are those that the model of the task knows, where the file names none.

    Raises:
        InputError, Problems: the data cannot be read, or are not what the task needs.
    """
    tables = {part: _table(config, spec, part) for part in PARTS if part in spec.files}
    drafts = {part: [questions.draft(spec, table, row) for row in table.rows] for part, table in tables.items()}
    if spec.share is not None:
        drafts = _divided(drafts["test"], spec.share)
    found = [label for part in PARTS for _, label in drafts[part]]
    classes = questions.classes_of(spec, labels, next(iter(tables.values())).names, found)
    numbers = questions.numbers_of(classes, next(iter(tables.values())).names, found) if classes else {}
    asked = {
        part: ordered(one._replace(answer=questions.number_of(one, label, numbers, classes)) for one, label in each)
        for part, each in drafts.items()
    }
    scored = {one.source for one in asked["test"]}
    apart = [one for one in asked["validation"] if one.source not in scored]
    dropped = len(asked["validation"]) - len(apart)
    asked_apart: dict[Part, Sequence[Asked]] = {"validation": apart, "test": asked["test"]}
    _enough(spec, asked_apart, dropped)
    return TaskData(spec.name, list(classes), list(classes.values()), asked_apart, dropped)


def _divided(drafts: Sequence[tuple[Asked, str]], share: float) -> dict[Part, list[tuple[Asked, str]]]:
    """By the hash of the source, which is the text where the data name no other."""
    found: dict[Part, list[tuple[Asked, str]]] = {"validation": [], "test": []}
    for one, label in drafts:
        found["validation" if share_of(one.source) < share else "test"].append((one, label))
    return found


def _enough(spec: TaskSpec, questions: Mapping[Part, Sequence[Asked]], dropped: int) -> None:
    for part in PARTS:
        count = len(questions[part])
        if count < FEWEST:
            also = f" ({dropped} more are on the test paper too)" if dropped and part == "validation" else ""
            raise InputError(
                f"task `{spec.name}` has {count} different {part} questions{also}, and needs {FEWEST} or more",
                where=str(spec.place),
                hint="give it more data, or another `split:`." if spec.share is not None else "give it more data.",
            )
        answers = {one.answer for one in questions[part]}
        if part == "test" and len(answers) < 2 and "label" in spec.columns:
            raise InputError(f"all test questions of task `{spec.name}` have the same answer", where=str(spec.place))


def _table(config: Config, spec: TaskSpec, part: Part) -> Table:
    written = spec.files[part]
    if spec.dataset:
        table = read_dataset(spec.dataset, spec.config, written, spec.columns, spec.place)
    else:
        table = read_file(written, config.folder, spec.place)
    require_columns(table, spec.columns, written, spec.columns_at)
    return table
