"""The user's data as rows: CSV, lines of JSON, Parquet, or a split of a data set that lies on this disk."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ligate.core.errors import InputError, LigateError
from ligate.core.suggest import nearest

STATE = ""  # beside the columns of a data set with images: a mark of what is in it
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


def require_columns(table: Table, columns: Mapping[str, str], name: str, place: object) -> None:
    """Raises InputError for a column that the data in `name` do not have; `place` is where the columns are named."""
    for what, column in columns.items():
        if column not in table.columns:
            raise InputError(
                f"there is no column '{column}' in {name}",
                where=str(place),
                hint=f"{nearest(column, table.columns)} `columns: {{{what}: NAME}}` says which column is the {what}.",
            )


def read_file(written: str, folder: Path, place: object) -> Table:
    """A file of rows; `written` is its path as the user wrote it at `place`, from `folder` on.

    Raises:
        InputError: there is none, it is of no known kind, broken, or empty.
    """
    path = folder / Path(written).expanduser()
    if not path.is_file():
        beside = sorted(one.name for one in path.parent.glob("*")) if path.parent.is_dir() else []
        hint = nearest(path.name, beside) if beside else f"paths start at {folder.absolute()}."
        raise InputError(f"there is no data file '{written}'", where=str(place), hint=hint)
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        hint = f"known: {', '.join(sorted(readers))}"
        raise InputError(f"'{written}' is no kind of file that can be read", where=str(place), hint=hint)
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


def read_dataset(dataset: str, config: str, split: str, columns: Mapping[str, str], place: object) -> Table:
    """A split of a data set that the library `datasets` finds on this disk. Its code is never run."""
    if find_spec("datasets") is None:
        hint = "`pip install datasets`, or give a file with `data:`."
        raise InputError("to read a data set by its id takes the library datasets", where=str(place), hint=hint)
    os.environ["HF_DATASETS_TRUST_REMOTE_CODE"] = "0"  # read at import; older versions would ask, and run what they get
    import datasets  # pyright: ignore[reportMissingImports]

    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(dataset, config or None, split=split)
    except Exception as error:  # the library's errors differ between its versions
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"the data set {dataset} (split {split}) cannot be had: {reason}",
            where=str(place),
            hint="nothing is fetched during a run; `hf download --repo-type dataset` and one "
            "`datasets.load_dataset(...)` beforehand put it into the cache.",
        ) from error
    names = getattr(found.features.get(columns.get("label", "")), "names", ())
    return Table(_records(found, f"{dataset}/{split}", columns), found.column_names, list(names or ()))


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


def _records(found: Any, name: str, columns: Mapping[str, str]) -> Iterator[Row]:
    """Images stay where they are until they are asked for."""
    image = columns.get("image")
    light = found.remove_columns([image]) if image else found
    state = getattr(found, "_fingerprint", "")
    for number, values in enumerate(light):
        told: dict[str, Any] = {}
        if image:
            told = {image: lambda number=number: found[number][image].convert("RGB"), STATE: state}
        yield Row(f"{name}, row {number}", {**values, **told})
