"""The user's questions: read from files or a data set, checked, split and drawn by hash, the same in every run."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2s
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ligate.bench.kept import digest_of
from ligate.bench.suites.own.config import PARTS, Config, Part, TaskSpec
from ligate.core.errors import InputError, LigateError
from ligate.core.suggest import nearest

FEWEST = 10  # questions of a task on a paper: fewer tell nothing
_WHOLE = re.compile(r"[0-9]+")
_STATE = ""  # beside the columns of a data set with images: a mark of what is in it
_UNNAMED = re.compile(r"LABEL_[0-9]+")
_LONGEST_FIELD = 1 << 24  # characters of a field of a CSV file


class Row(NamedTuple):
    """A record of the data and where it stands."""

    where: str
    values: Mapping[str, Any]


class Table(NamedTuple):
    """Rows with their columns. `names` are those of the classes, where the data tell them."""

    rows: Iterable[Row]
    columns: Sequence[str]
    names: Sequence[str] = ()
    start: Path = Path()  # where paths in the rows start


class Picture(NamedTuple):
    """An image that is opened when it is needed. `name` tells it from others, `mark` from what it was before."""

    name: str
    mark: str
    open: Callable[[], Any]


Content = tuple[str, ...] | Picture


class Asked(NamedTuple):
    """A question: one text, a pair of texts, or an image; where it comes from; the number of the right class."""

    content: Content
    source: str
    answer: int
    where: str = ""

    @property
    def key(self) -> str:
        return self.content.name if isinstance(self.content, Picture) else "\n".join(self.content)

    @property
    def all_of_it(self) -> str:
        """What a network sees, for digests."""
        return self.content.mark if isinstance(self.content, Picture) else repr(self.content)


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
    drafts = {part: [_draft(config, spec, table, row) for row in table.rows] for part, table in tables.items()}
    if spec.share is not None:
        drafts = _divided(drafts["test"], spec.share)
    found = [label for part in PARTS for _, label in drafts[part]]
    classes = _classes(config, spec, labels, next(iter(tables.values())).names, found)
    numbers = _numbers(spec, classes, next(iter(tables.values())).names, found) if classes else {}
    asked = {
        part: _ordered([one._replace(answer=_number(one, label, numbers, classes)) for one, label in drafts[part]])
        for part in PARTS
    }
    scored = {one.source for one in asked["test"]}
    apart = [one for one in asked["validation"] if one.source not in scored]
    dropped = len(asked["validation"]) - len(apart)
    questions: dict[Part, Sequence[Asked]] = {"validation": apart, "test": asked["test"]}
    _enough(spec, questions, dropped)
    return TaskData(spec.name, list(classes), list(classes.values()), questions, dropped)


def share_of(text: str) -> float:
    """Between 0 and 1, the same for the same text everywhere."""
    return int.from_bytes(blake2s(text.encode(), digest_size=8).digest(), "big") / 2**64


def _draft(config: Config, spec: TaskSpec, table: Table, row: Row) -> tuple[Asked, str]:
    """The question of a row without its answer, and the label as it stands there."""
    content = _content(spec, table, row)
    label = "" if config.kind == "causal-lm" else _said(row.values.get(spec.columns["label"]))
    if label == "" and config.kind != "causal-lm":
        raise InputError("has no label", where=row.where, hint="label it or remove it.")
    own = content.name if isinstance(content, Picture) else "\n".join(content)
    source = _said(row.values[spec.columns["source"]]) if "source" in spec.columns else own
    return Asked(content, source, 0, row.where), label


def _content(spec: TaskSpec, table: Table, row: Row) -> Content:
    if "image" in spec.columns:
        return _picture(row, row.values.get(spec.columns["image"]), table.start)
    texts = tuple(_said(row.values.get(spec.columns[what])) for what in ("text", "pair") if what in spec.columns)
    if not all(text.strip() for text in texts):
        raise InputError("has no text", where=row.where, hint="write one or remove the row.")
    return texts


def _picture(row: Row, value: Any, start: Path) -> Picture:
    if callable(value):
        return Picture(row.where, f"{row.where} {row.values.get(_STATE, '')}", value)
    if not isinstance(value, str):
        raise InputError("has no path of an image", where=row.where, hint="files name images by path.")
    path = start / value
    if not path.is_file():
        raise InputError(f"there is no image '{value}'", where=row.where, hint=f"paths start at {start}.")
    return Picture(value, digest_of([path.read_bytes()]), lambda: _opened(path))


def _opened(path: Path) -> Any:
    from PIL import Image  # pyright: ignore[reportMissingImports] - asked for before

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise InputError(f"is no image: {error}", where=str(path)) from error


def _said(value: Any) -> str:
    """As a CSV file would have it: 3.0 of a column that once had holes is the label 3."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _divided(drafts: Sequence[tuple[Asked, str]], share: float) -> dict[Part, list[tuple[Asked, str]]]:
    """By the hash of the source, which is the text where the data name no other."""
    found: dict[Part, list[tuple[Asked, str]]] = {"validation": [], "test": []}
    for one, label in drafts:
        found["validation" if share_of(one.source) < share else "test"].append((one, label))
    return found


def _ordered(asked: Iterable[Asked]) -> list[Asked]:
    """Each question once, in an order that has nothing to do with that of the file."""
    once = {(one.key, one.answer): one for one in asked}
    return sorted(once.values(), key=lambda one: (share_of(f"draw/{one.key}"), one.key, one.answer))


def _classes(
    config: Config, spec: TaskSpec, labels: Sequence[str] | None, names: Sequence[str], found: Sequence[str]
) -> Mapping[str, str]:
    if config.kind == "causal-lm":
        return {}
    if spec.classes is not None:
        return spec.classes
    classes = {label: label.replace("_", " ") for label in labels or names or sorted(set(found))}
    if len(set(found)) < 2:
        raise InputError(
            f"task `{spec.name}` has one class: there is nothing to tell apart",
            where=str(spec.columns_at),
            hint=f"the column '{spec.columns['label']}' says '{found[0] if found else ''}' in every row.",
        )
    return classes


def _numbers(
    spec: TaskSpec, classes: Mapping[str, str], names: Sequence[str], found: Sequence[str]
) -> Mapping[str, int]:
    """What the labels of the data mean: names of classes, or numbers from 0 on."""
    by_name = {label: number for number, label in enumerate(classes)}
    by_place = {str(number): number for number in range(len(classes))}
    written = set(found)
    if not written <= by_name.keys():
        if names and all(name in by_name for name in names):  # numbers of the data set, names in the YAML
            return {str(place): by_name[name] for place, name in enumerate(names)}
        if all(_WHOLE.fullmatch(label) for label in written) and not any(_WHOLE.fullmatch(one) for one in by_name):
            return by_place
    return by_name


def _number(one: Asked, label: str, numbers: Mapping[str, int], classes: Mapping[str, str]) -> int:
    if not classes:
        return 0
    if label not in numbers:
        known = nearest(label, numbers)
        if all(_UNNAMED.fullmatch(name) for name in classes):
            known = "the model does not name its classes: list them as `classes:`, in the order of its head."
        raise InputError(f"the label '{label}' is not among the {len(classes)} classes", where=one.where, hint=known)
    return numbers[label]


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


# Files and data sets


def _table(config: Config, spec: TaskSpec, part: Part) -> Table:
    table = _of_dataset(spec, part) if spec.dataset else _of_file(config, spec, part)
    missing = {what: name for what, name in spec.columns.items() if name not in table.columns}
    for what, name in missing.items():
        raise InputError(
            f"there is no column '{name}' in {spec.files[part]}",
            where=str(spec.columns_at),
            hint=f"{nearest(name, table.columns)} `columns: {{{what}: NAME}}` says which column is the {what}.",
        )
    return table


def _of_file(config: Config, spec: TaskSpec, part: Part) -> Table:
    written = spec.files[part]
    path = config.folder / Path(written).expanduser()
    if not path.is_file():
        beside = sorted(one.name for one in path.parent.glob("*")) if path.parent.is_dir() else []
        hint = nearest(path.name, beside) if beside else f"paths start at {config.folder.absolute()}."
        raise InputError(f"there is no data file '{written}'", where=str(spec.place), hint=hint)
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        hint = f"known: {', '.join(sorted(readers))}"
        raise InputError(f"'{written}' is no kind of file that can be read", where=str(spec.place), hint=hint)
    try:
        rows = list(reader(path))
    except UnicodeDecodeError:
        raise InputError("is no text in UTF-8", where=str(path), hint="save it as UTF-8.") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    if not rows:
        raise InputError("has no rows", where=str(path))
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    return Table(rows, columns, start=path.parent)


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            for values in reader:
                where = f"{path.name}:{reader.line_num}"
                if None in values or None in values.values():
                    hint = "a text with the separator, a quote or a line break in it stands in quotes."
                    raise InputError("has not as many fields as the first line", where=where, hint=hint)
                yield Row(where, values)
        except csv.Error as error:
            raise InputError(f"is no CSV: {error}", where=str(path)) from None
        finally:
            csv.field_size_limit(before)


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path.name}:{number}"
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"is no JSON: {error}", where=where, hint="each line is one object.") from None
            if not isinstance(values, dict):
                raise InputError("is no object (`{...}`)", where=where, hint="each line is one object.")
            yield Row(where, values)


def _parquet(path: Path) -> Iterator[Row]:
    """By pyarrow or by pandas, whichever is there."""
    try:
        if find_spec("pyarrow"):
            from pyarrow import parquet  # pyright: ignore[reportMissingImports]

            records: Sequence[Mapping[str, Any]] = parquet.read_table(path).to_pylist()
        elif find_spec("pandas"):
            import pandas as pd  # pyright: ignore[reportMissingImports]

            records = pd.read_parquet(path).to_dict("records")
        else:
            raise InputError("to read Parquet takes pyarrow", where=str(path), hint="`pip install pyarrow`, or a CSV.")
    except LigateError:
        raise
    except Exception as error:  # the readers' own errors have no common ancestor
        raise InputError(f"is no Parquet file: {error}", where=str(path)) from None
    for number, values in enumerate(records, 1):
        yield Row(f"{path.name}, row {number}", values)


def _of_dataset(spec: TaskSpec, part: Part) -> Table:
    """A split of a data set that the library `datasets` finds on this disk. Its code is never run."""
    if find_spec("datasets") is None:
        hint = "`pip install datasets`, or give a file with `data:`."
        raise InputError("to read a data set by its id takes the library datasets", where=str(spec.place), hint=hint)
    os.environ["HF_DATASETS_TRUST_REMOTE_CODE"] = "0"  # read at import; older versions would ask, and run what they get
    import datasets  # pyright: ignore[reportMissingImports]

    datasets.disable_progress_bars()
    split = spec.files[part]
    try:
        found = datasets.load_dataset(spec.dataset, spec.config or None, split=split)
    except Exception as error:  # the library's errors differ between its versions
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"the data set {spec.dataset} (split {split}) cannot be had: {reason}",
            where=str(spec.place),
            hint="nothing is fetched during a run; `hf download --repo-type dataset` and one "
            "`datasets.load_dataset(...)` beforehand put it into the cache.",
        ) from error
    names = getattr(found.features.get(spec.columns.get("label", "")), "names", ())
    return Table(_records(found, f"{spec.dataset}/{split}", spec.columns), found.column_names, list(names or ()))


def _records(found: Any, name: str, columns: Mapping[str, str]) -> Iterator[Row]:
    """Images stay where they are until they are asked for."""
    image = columns.get("image")
    light = found.remove_columns([image]) if image else found
    state = getattr(found, "_fingerprint", "")
    for number, values in enumerate(light):
        told: dict[str, Any] = {}
        if image:
            told = {image: lambda number=number: found[number][image].convert("RGB"), _STATE: state}
        yield Row(f"{name}, row {number}", {**values, **told})
