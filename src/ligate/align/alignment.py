"""An alignment as a value and as a file: what happens to each group of units, how that was found, how much it helped.

The file is a safetensors file. Its metadata says in JSON where the units of each group lie; its tensors are the maps:

    N.order          I64      unit k becomes what unit order[k] was; [copies, size] where copies differ
    N.write, N.read  floats   [new size, size]; with one more axis in front where copies differ
    N.scales.NAME    floats   [2, size], old and new weight of a norm that is folded

Nothing in it is trusted: whatever is read is checked before it is used, and nothing in it can run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.core.errors import InputError
from ligate.core.tensors import Header, Source, dtype_name
from ligate.io.checkpoint import SafetensorsFile
from ligate.io.ranges import cannot_write
from ligate.io.safetensors import build_header

from .maps import AxisMap
from .stored import Parts, read_tensor
from .written import described_by, map_shapes, text_of

if TYPE_CHECKING:
    from torch import Tensor

NAME = "alignment.safetensors"
_FORMAT = "ligate.alignment"
_KEY = "alignment"
_SAME = 1e-9  # a row of a matrix that is nearer to a row of the identity leaves its unit where it is


class Made(NamedTuple):
    """How an alignment was made.

    Args:
        method: `weights`, `by hand`, ...
        settings: of the method, such as seed and starts.
        a, b: `shape_digest` of the two models.
        before, after: cosine between the matrices of A and of B on which some group lies, as they are and aligned.
    """

    method: str
    settings: Mapping[str, Any] = {}
    a: str = ""
    b: str = ""
    before: float | None = None
    after: float | None = None


class Alignment(NamedTuple):
    """Maps that bring B into the coordinates of A, in the order in which they are applied.

    Args:
        joined: tensors on which groups lie and that a checkpoint stores in parts.
    """

    maps: tuple[AxisMap, ...]
    made: Made
    joined: Mapping[str, Parts] = {}

    @property
    def is_identity(self) -> bool:
        """Whether B stays as it is: it lies in the coordinates of A already."""
        return not any(moved(each) for each in self.maps)


class Line(NamedTuple):
    """A row of the table of groups. `moved` is the share of its units that are not where they were."""

    name: str
    kind: str
    units: int
    copies: int
    places: int
    moved: float


def lines(alignment: Alignment) -> list[Line]:
    return [
        Line(group.name, group.kind, group.size, group.copies, len(group.places), moved(each))
        for each in alignment.maps
        for group in [each.group]
    ]


def moved(each: AxisMap) -> float:
    """The share of units, over all copies, that another unit or a mixture of units replaces."""
    import torch

    by = each.write
    if not by.is_floating_point():
        return float((by != torch.arange(by.shape[-1])).double().mean()) if by.numel() else 0.0
    if by.shape[-1] != by.shape[-2]:
        return 1.0
    away = (by.double() - torch.eye(by.shape[-1], dtype=torch.float64)).abs().amax(dim=-1)
    return float((away > _SAME).double().mean()) if by.numel() else 0.0


def shape_digest(headers: Mapping[str, Header]) -> str:
    """Of the names and shapes of all tensors: two models with the same digest can be aligned in the same way."""
    told = sorted((name, list(header.shape)) for name, header in headers.items())
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()


def save(alignment: Alignment, path: Path) -> None:
    """Write the file in one step: a reader sees the old file or the new one.

    Raises:
        StorageError: the disk is full, or it must not be written there.
    """
    tensors = dict(_tensors(alignment.maps))
    text = text_of([each.group for each in alignment.maps], alignment.made._asdict(), alignment.joined)
    headers = {name: Header(dtype_name(value.dtype), tuple(value.shape)) for name, value in tensors.items()}
    head, _ = build_header(headers, {"format": _FORMAT, _KEY: text})
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.write(head)
            for value in tensors.values():
                file.write(value.detach().cpu().contiguous().numpy().tobytes())
        os.replace(fresh, path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise cannot_write(path, error) from None


def load(path: Path) -> Alignment:
    """The alignment in a file, or in a folder that `ligate align` wrote.

    Raises:
        InputError: there is none, or what stands there is no alignment; file and tensor are named.
    """
    place = path / NAME if path.is_dir() else path
    with closing(SafetensorsFile(place, place.name)) as source:
        try:
            return _read(source)
        except InputError as error:
            raise error.inside(file=place) from None


def _tensors(maps: Sequence[AxisMap]) -> Iterator[tuple[str, Tensor]]:
    for number, each in enumerate(maps):
        if not each.write.is_floating_point():
            yield f"{number}.order", each.write.long()
            continue
        for name, value in {"write": each.write, "read": each.read, **_scales(each)}.items():
            yield f"{number}.{name}", value.float() if value.dtype.itemsize < 4 else value


def _scales(each: AxisMap) -> dict[str, Tensor]:
    return {f"scales.{name}": value for name, value in each.scales.items()}


def _read(source: Source) -> Alignment:
    metadata, headers = source.metadata(), source.headers()
    if metadata.get("format") != _FORMAT or _KEY not in metadata:
        hint = f"`ligate align A B OUT` writes {NAME} into OUT."
        raise InputError("is a safetensors file, but no alignment", hint=hint)
    groups, made, joined = described_by(metadata[_KEY])
    expected = map_shapes(groups, headers)
    strangers = [name for name in headers if name not in expected]
    if strangers:
        raise InputError("belongs to no group of this alignment").inside(tensor=strangers[0])
    maps: list[AxisMap] = []
    for number, group in enumerate(groups):
        held = {name: read_tensor(source, name) for name in expected if name.startswith(f"{number}.")}
        if f"{number}.order" in held:
            order = _permutation(held[f"{number}.order"], f"{number}.order")
            maps.append(AxisMap(group, order, order))
            continue
        start = f"{number}.scales."
        scales = {name.removeprefix(start): _finite(held[name], name) for name in held if name.startswith(start)}
        write, read = (_finite(held[f"{number}.{part}"], f"{number}.{part}") for part in ("write", "read"))
        maps.append(AxisMap(group, write, read, scales))
    return Alignment(tuple(maps), Made(**made), joined)


def _permutation(order: Tensor, name: str) -> Tensor:
    import torch

    if not torch.equal(order.sort(dim=-1).values, torch.arange(order.shape[-1]).expand(order.shape)):
        raise InputError("is no permutation: every unit must come once").inside(tensor=name)
    return order


def _finite(value: Tensor, name: str) -> Tensor:
    if not bool(value.isfinite().all()):
        raise InputError("holds NaN or infinity").inside(tensor=name)
    return value
