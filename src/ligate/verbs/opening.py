"""What a user may hand over as a model: a path or a Hub id with or without `+adapter`, a state dict, a module."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias

from ligate.core.errors import InputError, LigateError
from ligate.core.tensors import Source
from ligate.io.memory import MemorySource

from .sources import open_spec, source_spec

if TYPE_CHECKING:
    from torch import nn

Model: TypeAlias = "str | PathLike[str] | Mapping[str, Any] | nn.Module"


@contextmanager
def opened(model: Model, *, unnamed: str = "model") -> Generator[Source]:
    """The model as a source, closed at the end. One that has no path is called `unnamed`."""
    source = open_model(model, label=label_of(str(model)) if isinstance(model, (str, PathLike)) else unnamed)
    try:
        yield source
    finally:
        source.close()


def open_model(model: Model, *, label: str) -> Source:
    """A source over whatever was handed in; nothing is copied or changed."""
    if isinstance(model, (str, PathLike)):
        return open_spec(source_spec(label, str(model), ""))
    return MemorySource(label, state_of(model))


@dataclass(frozen=True)
class Skipped:
    """A model, or one tensor of it, that was left out, and why."""

    name: str
    why: str


def open_readable(places: Mapping[str, str], skipped: list[Skipped], stack: ExitStack) -> dict[str, Source]:
    """The models that can be opened, by name, until `stack` closes them; `skipped` takes the others."""
    found: dict[str, Source] = {}
    for name, path in places.items():
        try:
            found[name] = open_model(path, label=name)
            stack.callback(found[name].close)
        except LigateError as error:
            skipped.append(Skipped(name, str(error)))
    return found


def state_of(model: Mapping[str, Any] | nn.Module) -> Mapping[str, Any]:
    """The state dict of a module, or the mapping itself."""
    if isinstance(model, Mapping):
        return model
    if hasattr(model, "state_dict"):
        return model.state_dict()
    raise InputError(f"a {type(model).__name__} is no model", hint="hand in a path, a state dict or a torch.nn.Module.")


def label_of(path: str) -> str:
    """How messages and records call a model: the last part of its path, of plain characters only."""
    parts = [part for part in PurePath(path.partition("@")[0].rstrip("/")).parts if part not in ("/", ".", "..")]
    name = PurePath(parts[-1]).stem if parts and parts[-1].endswith((".safetensors", ".bin", ".pt", ".pth")) else ""
    return re.sub(r"[^\w.-]+", "-", name or (parts[-1] if parts else "model")).strip("-.") or "model"


def labels_of(paths: Sequence[str]) -> tuple[str, ...]:
    """A label for each path, all different: `a`, `b`, `a-2`."""
    labels: list[str] = []
    for path in paths:
        wanted = label_of(path)
        label, number = wanted, 2
        while label in labels:
            label, number = f"{wanted}-{number}", number + 1
        labels.append(label)
    return tuple(labels)
