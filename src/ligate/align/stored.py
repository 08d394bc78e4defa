"""How a checkpoint stores the weights of a model: under which names, and in how many parts.

A library may store weights otherwise than its model holds them: under older names, or the experts of a mixture one by
one where the model has them in one tensor. What a trace says of a tensor of the model is then said here of what is
stored: names are replaced, and parts are shown as the one tensor that they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.core.errors import InputError
from ligate.core.tensors import Header, Source, itemsize, torch_dtype
from ligate.io.views import View, prefix_between

from .maps import Group

if TYPE_CHECKING:
    from torch import Tensor, nn


class Parts(NamedTuple):
    """A tensor of the model that is stored in parts: `names` of the tensors whose elements follow one another."""

    shape: tuple[int, ...]
    names: tuple[str, ...]


class Names(NamedTuple):
    """Where the tensors of a model are stored.

    Args:
        stored: tensor of the model -> stored tensor.
        joined: tensor of the model -> the parts in which it is stored.
        doubles: tensor of the model that is not stored -> the tied one that is.
    """

    stored: Mapping[str, str]
    joined: Mapping[str, Parts] = {}
    doubles: Mapping[str, str] = {}

    def place(self, name: str) -> str | None:
        """Where a tensor of the model is found in the checkpoint, its parts joined; None where it is not."""
        known = self.doubles.get(name, name)
        return known if known in self.joined else self.stored.get(known)


class Joined(View):
    """The checkpoint with one tensor in place of each set of parts."""

    def __init__(self, inner: Source, joined: Mapping[str, Parts]) -> None:
        super().__init__(inner)
        stored = inner.headers()
        for name, parts in joined.items():
            _require_parts(name, parts, stored, inner.label)
        self._joined = dict(joined)
        self._starts = {name: _starts(parts, stored) for name, parts in joined.items()}
        inside = {part for parts in joined.values() for part in parts.names}
        whole = {name: Header(stored[parts.names[0]].dtype, parts.shape) for name, parts in joined.items()}
        self._headers = {**{name: header for name, header in stored.items() if name not in inside}, **whole}

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        if name not in self._joined:
            self._inner.read_into(name, start, out)
            return
        size = itemsize(self._headers[name].dtype)
        stop = start + len(out) // size
        for part, first, last in zip(
            self._joined[name].names, self._starts[name], self._starts[name][1:], strict=False
        ):
            low, high = max(start, first), min(stop, last)
            if low < high:
                self._inner.read_into(part, low - first, out[(low - start) * size : (high - start) * size])

    def prefetch(self, name: str, start: int, stop: int) -> None:
        if name not in self._joined:
            self._inner.prefetch(name, start, stop)

    def place(self, name: str) -> str:
        return self._inner.place(self._joined[name].names[0] if name in self._joined else name)


class Apart(View):
    """The reverse: the tensors of `stored`, some of which lie in the joined ones of the inner source."""

    def __init__(self, inner: Source, stored: Mapping[str, Header], joined: Mapping[str, Parts]) -> None:
        super().__init__(inner)
        self._within: dict[str, tuple[str, int]] = {}
        for name, parts in joined.items():
            if inner.headers()[name].shape != parts.shape:
                text = "is stored in parts, whose shapes would change"
                raise InputError(text, hint="only orders can be applied to it.").inside(tensor=name, model=inner.label)
            self._within |= {
                part: (name, start) for part, start in zip(parts.names, _starts(parts, stored), strict=False)
            }
        shown = inner.headers()
        self._headers = {
            name: shown[self._within[name][0]]._replace(shape=header.shape) if name in self._within else shown[name]
            for name, header in stored.items()
        }

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        whole, first = self._within.get(name, (name, 0))
        self._inner.read_into(whole, first + start, out)

    def prefetch(self, name: str, start: int, stop: int) -> None:
        if name not in self._within:
            self._inner.prefetch(name, start, stop)

    def place(self, name: str) -> str:
        return self._inner.place(self._within.get(name, (name, 0))[0])


class Weights(Mapping[str, "Tensor"]):
    """Tensors of a source, each read when it is asked for; `names` says which of them is called what."""

    def __init__(self, source: Source, names: Mapping[str, str]) -> None:
        self._source = source
        self._names = names

    def __getitem__(self, name: str) -> Tensor:
        return read_tensor(self._source, self._names[name])

    def header(self, name: str) -> Header:
        """What is known of it without reading it."""
        return self._source.headers()[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_tensor(source: Source, name: str) -> Tensor:
    """All of one tensor, in its stored dtype."""
    import torch

    header = source.headers()[name]
    value = torch.empty(header.shape, dtype=torch_dtype(header.dtype))
    if header.numel:
        source.read_into(name, 0, value.view(-1).view(torch.uint8).numpy().data)
    return value


def names_of(model: nn.Module, stored: Mapping[str, Header]) -> Names:
    """Where each tensor of the model is stored, as far as it is."""
    state = model.state_dict(keep_vars=True)
    found: dict[str, str] = {}
    joined: dict[str, Parts] = {}
    parts = _parts_of(model)
    outer = _outer(tuple(state), tuple(stored))
    for name, value in state.items():
        pieces = parts.get(name, (name,))
        ways = [(name,), pieces, (outer(name),), tuple(map(outer, pieces))]
        held = next((way for way in ways if all(piece in stored for piece in way)), ())
        if len(held) == 1:
            found[name] = held[0]
        elif held:
            joined[name] = Parts(tuple(value.shape), held)
    first = {id(state[name]): name for name in reversed([*found, *joined])}
    known = {**found, **joined}
    doubles = {name: first[id(value)] for name, value in state.items() if name not in known and id(value) in first}
    return Names(found, joined, doubles)


def renamed(groups: Sequence[Group], names: Names) -> tuple[list[Group], list[tuple[Group, str]]]:
    """The groups on stored tensors; and those that cannot be moved, each with a tensor that is not stored."""
    kept: list[Group] = []
    left: list[tuple[Group, str]] = []
    for group in groups:
        places = [place for place in group.places if place.tensor not in names.doubles]
        needed = [name for place in places for name in (place.tensor, place.scale) if name]
        strangers = [name for name in needed if names.place(name) is None]
        if strangers:
            left.append((group, strangers[0]))
            continue
        placed = (one._replace(tensor=names.place(one.tensor), scale=names.place(one.scale) or "") for one in places)
        kept.append(group._replace(places=tuple(placed)))
    return kept, left


def _outer(inner: Sequence[str], stored: Sequence[str]) -> Any:
    """From a name in the model to the name with or without what the checkpoint's names begin with."""
    if more := prefix_between(stored, inner):
        return lambda name: more + name if more + name in stored else name
    if less := prefix_between(inner, stored):
        return lambda name: name.removeprefix(less)
    return lambda name: name


def _parts_of(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Tensor of the model -> the tensors in which its library stores it, where that is something else.

    The library is asked to store numbers that count, so that every element says where it comes from. Sizes of last
    axes do not matter and are left out.
    """
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # no transformers, or one that stores what it holds
        return {}
    try:
        state = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        return _sorted_parts(state, lambda counted: revert_weight_conversion(model, counted))  # pyright: ignore[reportArgumentType]
    except Exception:  # not one of its models, or a conversion that cannot be undone: names stay what they are
        return {}


def _sorted_parts(state: Mapping[str, tuple[int, ...]], store: Any) -> dict[str, tuple[str, ...]]:
    import torch

    counted: dict[str, Tensor] = {}
    owners: list[tuple[int, str]] = []
    total = 0
    for name, shape in state.items():
        seen = (*shape[:-1], 1) if len(shape) > 1 else shape
        counted[name] = torch.arange(total, total + math.prod(seen)).reshape(seen)
        owners.append((total, name))
        total += math.prod(seen)
    starts = torch.tensor([start for start, _ in owners])
    found: dict[str, list[tuple[int, str]]] = {}
    for outer, value in store(dict(counted)).items():
        flat = value.reshape(-1)
        if not len(flat) or not torch.equal(flat, torch.arange(int(flat[0]), int(flat[0]) + len(flat))):
            continue  # its elements come in another order
        name = owners[int(torch.searchsorted(starts, flat[0], right=True)) - 1][1]
        found.setdefault(name, []).append((int(flat[0]), outer))
    return {name: tuple(outer for _, outer in sorted(pieces)) for name, pieces in found.items()}


def _starts(parts: Parts, stored: Mapping[str, Header]) -> list[int]:
    """The first element of each part in the whole, and the number of all."""
    starts = [0]
    for name in parts.names:
        starts.append(starts[-1] + stored[name].numel)
    return starts


def _require_parts(name: str, parts: Parts, stored: Mapping[str, Header], label: str) -> None:
    lacking = [part for part in parts.names if part not in stored]
    if lacking:
        text = f"the alignment speaks of {lacking[0]!r}, which the model lacks"
        raise InputError(text, where=f"model {label}", hint="was it made for another model?")
    if len({stored[part].dtype for part in parts.names}) != 1 or _starts(parts, stored)[-1] != math.prod(parts.shape):
        text = f"its parts ({parts.names[0]} ...) do not make up {list(parts.shape)} of one dtype"
        raise InputError(text, hint="was the alignment made for another model?").inside(tensor=name, model=label)
