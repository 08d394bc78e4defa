"""Groups as text: the JSON in an alignment's file, and places as people write them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from ligate.core.errors import InputError
from ligate.core.tensors import Header
from ligate.io.documents import parse

from .maps import Group, Kind, Place, Role
from .stored import Parts

_FLOATS = ("F32", "F64")
_AGAIN = "the file is damaged or was changed by hand: make the alignment again."
_MADE = {
    "method": str,
    "settings": dict,
    "a": str,
    "b": str,
    "before": (float, type(None)),
    "after": (float, type(None)),
}
_PLACE = re.compile(r"(?P<tensor>.+)\[(?P<dim>\d+)(?: as (?P<sizes>\d+(?:x\d+)*), (?P<factor>\d+))?\]")


def text_of(groups: Sequence[Group], made: Mapping[str, Any], joined: Mapping[str, Parts]) -> str:
    """The groups, how their maps were made, and what is stored in parts, as JSON."""
    listed = [{**group._asdict(), "places": [place._asdict() for place in group.places]} for group in groups]
    parts = {name: one._asdict() for name, one in joined.items()}
    return json.dumps({"made": dict(made), "groups": listed, "joined": parts}, ensure_ascii=False, allow_nan=False)


def described_by(text: str) -> tuple[tuple[Group, ...], dict[str, Any], dict[str, Parts]]:
    """The reverse.

    Raises:
        InputError: it is something else; the group that is wrong is named.
    """
    try:
        data = parse(text.encode(), dict)
    except ValueError as error:
        raise _faulty(f"its description is no valid JSON: {error}") from None
    made, groups = data.get("made"), data.get("groups")
    if not isinstance(made, dict) or set(made) != set(_MADE):
        raise _faulty("its description does not say how it was made")
    for key, kind in _MADE.items():
        if not isinstance(made[key], kind):
            raise _faulty(f"`{key}` of its description is {made[key]!r}")
    if not isinstance(groups, list):
        raise _faulty("its description lists no groups")
    found = tuple(_group(value) for value in groups)
    names = [group.name for group in found]
    if len(set(names)) != len(names):
        raise _faulty("two of its groups have the same name")
    return found, made, _joined(data.get("joined", {}))


def place_of_text(text: str) -> tuple[str, int, tuple[int, ...] | None, int] | None:
    """`fc.weight[0]`, `qkv.weight[0 as 3x4x8, 1]`: tensor, axis, sizes (None: all of the axis) and factor."""
    found = _PLACE.fullmatch(text.strip())
    if found is None:
        return None
    sizes = tuple(map(int, found["sizes"].split("x"))) if found["sizes"] else None
    return found["tensor"], int(found["dim"]), sizes, int(found["factor"] or 0)


def fault_of(group: Group) -> str:
    """What is wrong with a group as such, or nothing."""
    for place in group.places:
        count, spot = len(place.sizes), (place.dim, place.factor)
        beside = [factor for dim, factor in place.over if dim == place.dim]
        if not all(factor < count for factor in (place.factor, *beside)):
            return f"{place} has {count} factors, numbered from 0"
        if len({spot, *place.over}) != 1 + len(place.over):
            return f"{place} names a factor twice"
        if place.sizes[place.factor] != group.size:
            return f"{place} has {place.sizes[place.factor]} units, the group {group.size}"
        if len(beside) == len(place.over) and math.prod(place.sizes[one] for one in beside) != group.copies:
            return f"{place} does not have the {group.copies} copies of the group"
    spots = [(place.tensor, place.dim, place.factor) for place in group.places]
    return "" if len(set(spots)) == len(spots) else "it names a place twice"


def map_shapes(groups: Sequence[Group], headers: Mapping[str, Header]) -> set[str]:
    """The names of all tensors that the maps of these groups consist of, checked by their headers."""
    expected: set[str] = set()
    for number, group in enumerate(groups):
        front = ((), (group.copies,)) if group.copies > 1 else ((),)
        if f"{number}.order" in headers:
            _require(headers, f"{number}.order", ("I64",), [(*one, group.size) for one in front])
            expected.add(f"{number}.order")
            continue
        for part in ("write", "read"):
            name = f"{number}.{part}"
            if name not in headers:
                raise _faulty(f"no map is stored for the group {group.name!r}").inside(tensor=name)
            new = headers[name].shape[-2:-1]
            _require(headers, name, _FLOATS, [(*one, *new, group.size) for one in front])
            expected.add(name)
        if headers[f"{number}.write"].shape != headers[f"{number}.read"].shape:
            raise _faulty("has another shape than the map of what writes the units").inside(tensor=f"{number}.read")
        expected |= _scales(number, group, headers)
    return expected


def _scales(number: int, group: Group, headers: Mapping[str, Header]) -> set[str]:
    start = f"{number}.scales."
    known = {place.scale for place in group.places} | {p.tensor for p in group.places if p.role == "scales"}
    found = {name for name in headers if name.startswith(start)}
    for name in found:
        if name.removeprefix(start) not in known:
            raise _faulty(f"no place of the group {group.name!r} is scaled so").inside(tensor=name)
        _require(headers, name, _FLOATS, [(2, headers[name].shape[-1] if headers[name].shape else 0)])
    return found


def _require(
    headers: Mapping[str, Header], name: str, dtypes: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> None:
    header = headers[name]
    if header.dtype not in dtypes or header.shape not in shapes:
        told = " or ".join(f"{dtypes[0]} {list(shape)}" for shape in shapes)
        raise _faulty(f"is {header.dtype} {list(header.shape)}; {told} is expected").inside(tensor=name)


def _group(value: Any) -> Group:
    data = _fields(value, Group, "a group")
    name, size, copies = data["name"], data["size"], data.get("copies", 1)
    if (
        not isinstance(name, str)
        or not _is_count(size)
        or not _is_count(copies)
        or not isinstance(data["places"], list)
    ):
        raise _faulty(f"the group {name!r} is not described as one")
    if data.get("kind", "permutation") not in get_args(Kind):
        raise _faulty(f"the group {name!r} is of the kind {data['kind']!r}, which this version does not know")
    places = tuple(_place(one, name) for one in data["places"])
    group = Group(name, size, places, data.get("kind", "permutation"), copies)
    if fault := fault_of(group):
        raise _faulty(f"the group {name!r}: {fault}")
    return group


def _place(value: Any, group: str) -> Place:
    data = _fields(value, Place, f"a place of {group!r}")
    sizes, over = data["sizes"], data.get("over", [])
    whole = isinstance(sizes, list) and sizes and all(map(_is_count, sizes))
    named = isinstance(data["tensor"], str) and isinstance(data.get("scale", ""), str)
    pairs = isinstance(over, list) and all(isinstance(one, list) and len(one) == 2 for one in over)
    counted = pairs and all(map(_is_index, (data["dim"], data["factor"], *(each for one in over for each in one))))
    if not (whole and named and counted) or data.get("role", "writes") not in get_args(Role):
        raise _faulty(f"a place of the group {group!r} is not described as one: {str(value)[:200]}")
    role, beside = data.get("role", "writes"), tuple((dim, factor) for dim, factor in over)
    return Place(data["tensor"], data["dim"], tuple(sizes), data["factor"], role, beside, data.get("scale", ""))


def _fields(value: Any, kind: Any, what: str) -> dict[str, Any]:
    """The fields of a named tuple; those without a default must be there, and no others."""
    needed = set(kind._fields) - set(kind._field_defaults)
    if not isinstance(value, dict) or not needed <= set(value) <= set(kind._fields):
        raise _faulty(f"{what} needs {', '.join(sorted(needed))}: {str(value)[:200]}")
    return value


def _joined(value: Any) -> dict[str, Parts]:
    if not isinstance(value, dict):
        raise _faulty("what it says of parts is no table")
    found: dict[str, Parts] = {}
    for name, one in value.items():
        data = _fields(one, Parts, f"what is stored in parts ({name!r})")
        shape, names = data["shape"], data["names"]
        listed = isinstance(shape, list) and isinstance(names, list) and names
        if not listed or not all(map(_is_count, shape)) or not all(isinstance(each, str) for each in names):
            raise _faulty(f"the parts of {name!r} are not described as such")
        found[name] = Parts(tuple(shape), tuple(names))
    return found


def _is_index(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _faulty(text: str) -> InputError:
    return InputError(text, hint=_AGAIN)
