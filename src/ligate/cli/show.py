"""Plain text for people: tables whose lines never wrap (they can be piped and searched), sizes, durations, JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def say(text: str = "") -> None:
    """One result line, to standard output."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Something beside the result, to standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def say_json(value: Any) -> None:
    say(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Dataclasses, named tuples and mappings as JSON knows them; NaN and infinity, which it lacks, as words."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and (names := getattr(value, "_fields", None)):
        return plain(dict(zip(names, value, strict=True)))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], right: str = "") -> str:
    """Aligned columns, two blanks apart. `right` has an `r` at the place of each column of numbers."""
    cells = [list(headings), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    sides = right.ljust(len(headings))

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join((line(cells[0]), line(["-" * width for width in widths]), *map(line, cells[1:])))


def size(nbytes: float) -> str:
    """`1.3 GB`, in powers of a thousand."""
    unit = 0
    while nbytes >= 999.5 and unit < len(_UNITS) - 1:
        nbytes, unit = nbytes / 1000, unit + 1
    return f"{nbytes:.0f} {_UNITS[unit]}" if unit == 0 or nbytes >= 99.5 else f"{nbytes:.1f} {_UNITS[unit]}"


def count(number: int) -> str:
    """`1,234,567 (1.2 M)`."""
    for step, unit in ((1e9, "B"), (1e6, "M")):
        if number >= step:
            return f"{number:,} ({number / step:.1f} {unit})"
    return f"{number:,}"


def shape(dims: Sequence[int]) -> str:
    return " x ".join(map(str, dims)) if dims else "scalar"


def spoken(value: object) -> str:
    """A parameter's value as a recipe writes it."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(spoken, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def duration(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
