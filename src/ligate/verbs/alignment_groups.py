"""Groups of units that somebody wrote down, for networks that cannot be traced: a YAML or JSON file.

    groups:
      - name: hidden                    # else its first place
        places:
          - fc1.weight[0]               # tensor and axis
          - fc1.bias[0]
          - {place: "fc2.weight[1]", role: reads}
      - places: ["qkv.weight[0 as 3x4x8, 1]", "out.weight[1 as 4x8, 0]"]   # an axis of several factors, and which

`kind` (permutation), `copies` (1) of a group and `role` (writes), `over`, `scale` of a place are those of `align.maps`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, get_args

from ligate.align.maps import Group, Kind, Place, Role
from ligate.align.written import fault_of, place_of_text
from ligate.core.errors import RecipeError, raise_all
from ligate.core.suggest import nearest
from ligate.core.tensors import Header
from ligate.recipe.nodes import Item, Reading, read_all

GROUP = ("name", "kind", "copies", "places")
PLACE = ("place", "role", "over", "scale")

Headers = Mapping[str, Header]
Word = TypeVar("Word", Kind, Role)


def read_groups(path: Path, headers: Headers) -> list[Group]:
    """The groups in a file, for a model with these tensors.

    Raises:
        RecipeError, Problems: it cannot be read; all that is wrong with it, each by its line.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise RecipeError(f"cannot be read: {told}", where=str(path)) from None
    documents, problems = read_all(text, path.name)
    reading = Reading()
    items = reading.entries(reading.fields(documents[0], "a file of groups", ("groups",)).get("groups"), "`groups`")
    if not items and not reading.problems:
        reading.problem("`groups:` is missing or empty", documents[0].place, "list the groups of units under it")
    groups = [_group(reading, item, headers) for item in items]
    names = [group.name for group in groups if group]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        reading.problem(f"two groups are called `{name}`", documents[0].place, "give one of them a `name:`")
    raise_all([*problems, *reading.problems])
    return [group for group in groups if group]


def _group(reading: Reading, item: Item, headers: Headers) -> Group | None:
    before = len(reading.problems)
    fields = reading.fields(item, "a group", GROUP)
    kind = _chosen(reading, fields.get("kind"), "kind", get_args(Kind), "permutation")
    copies = reading.whole(fields.get("copies"), "`copies`", 1)
    listed = reading.entries(fields.get("places"), "`places`")
    places = [place for entry in listed if (place := _place(reading, entry, headers))]
    if not listed and len(reading.problems) == before:
        reading.problem("a group needs `places:`", item.place, "for example `- fc1.weight[0]`")
    if len(reading.problems) > before or not places:
        return None
    name = reading.text(fields.get("name"), "`name`") or str(places[0])
    group = Group(name, places[0].sizes[places[0].factor], tuple(places), kind, copies)
    if fault := fault_of(group):
        reading.problem(f"group `{name}`: {fault}", item.place)
        return None
    return group


def _place(reading: Reading, item: Item, headers: Headers) -> Place | None:
    fields: Mapping[str, Item] = {"place": item}
    if isinstance(item.value, Mapping):
        fields = reading.fields(item, "a place", PLACE)
    text = reading.text(fields.get("place"), "`place`") or ""
    found = place_of_text(text)
    if found is None:
        hint = "`fc1.weight[0]` or `qkv.weight[0 as 3x4x8, 1]`"
        reading.problem(f"`{text}` is no place", item.place, hint)
        return None
    name, dim, sizes, factor = found
    scale = reading.text(fields.get("scale"), "`scale`") or ""
    for tensor in filter(None, (name, scale)):
        if tensor not in headers:
            reading.problem(f"the model has no tensor `{tensor}`", item.place, nearest(tensor, headers))
            return None
    shape = headers[name].shape
    if dim >= len(shape) or (sizes is not None and math.prod(sizes) != shape[dim]):
        reading.problem(f"`{name}` has the shape {list(shape)}, which has no place `{text}`", item.place)
        return None
    role = _chosen(reading, fields.get("role"), "role", get_args(Role), "writes")
    over = _over(reading, fields.get("over"))
    return Place(name, dim, sizes or (shape[dim],), factor, role, over, scale)


def _over(reading: Reading, item: Item | None) -> tuple[tuple[int, int], ...]:
    """Pairs of axis and factor."""
    pairs = [reading.entries(entry, "a pair of `over`") for entry in reading.entries(item, "`over`")]
    found = [tuple(reading.whole(number, "a number of `over`", 0) for number in pair) for pair in pairs]
    if item is not None and any(len(pair) != 2 or min(pair) < 0 for pair in found):
        reading.problem("`over` must be a list of pairs: axis and factor", item.place, "for example `[[0, 1]]`")
        return ()
    return tuple((pair[0], pair[1]) for pair in found)


def _chosen(reading: Reading, item: Item | None, what: str, known: Sequence[Word], default: Word) -> Word:
    text = reading.text(item, f"`{what}`")
    if item is None or text is None:
        return default
    if text not in known:
        reading.problem(f"`{what}` must be one of {', '.join(known)}, not `{text}`", item.place)
        return default
    return known[known.index(text)]
