"""What was learned for an output: `OUT.learned`, a sibling of it.

OUT.learned/state-KEY.pt          how far an unfinished learning is
OUT.learned/numbers.safetensors   the numbers that were learned, under the names of the parametrisation
OUT.learned/curve.json            how they came about, and the key of all that decided them
OUT.learned/recipe.yaml           the ordinary recipe that they come to
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.align.stored import read_tensor
from ligate.core.errors import LigateError
from ligate.core.tensors import Header, dtype_name
from ligate.io.checkpoint import SafetensorsFile
from ligate.io.ranges import cannot_write
from ligate.io.safetensors import build_header
from ligate.recipe.schema import Recipe, Setting

from .canonical import Located, Lookup, as_yaml, canonical
from .sources import absolute
from .workplace import beside, write_text

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.learn.parametrisations import Parametrisation

    from .lesson import Lesson

_HEAD = "# What was learned, as an ordinary recipe: merge by it as it is, or change it by hand.\n"
_FOR_ALL = "all"  # numbers that belong to no tensor have no name of their own
_UNASKED = ""  # a tensor that is not learned

Numbers = Mapping[str, "Tensor"]


class Place:
    """The folder of what was learned; `key` is of everything that decides it."""

    def __init__(self, out: Path, key: str) -> None:
        self.folder, self.key = beside(out, ".learned"), key
        self.state = self.folder / f"state-{key}.pt"
        self._numbers, self._curve = self.folder / "numbers.safetensors", self.folder / "curve.json"

    def read(self) -> tuple[Numbers, dict[str, Any]] | None:
        """Numbers and account of a learning with this key that was finished before."""
        try:
            told = json.loads(self._curve.read_text("utf-8"))
            if told["key"] != self.key:
                return None
            with closing(SafetensorsFile(self._numbers, self._numbers.name)) as source:
                numbers = {_spoken(name): read_tensor(source, name) for name in source.headers()}
        except (OSError, ValueError, KeyError, TypeError, LigateError):
            return None  # whatever is broken there is learned anew
        return numbers, told["learned"]

    def keep(self, numbers: Numbers, account: dict[str, Any]) -> tuple[Numbers, dict[str, Any]]:
        """Write a finished learning; the curve, which has the key, at last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_numbers({name or _FOR_ALL: one for name, one in numbers.items()}, self._numbers)
        write_text(self._curve, json.dumps({"key": self.key, "learned": account}, indent=1) + "\n")
        for state in self.folder.glob("state-*.pt*"):
            state.unlink(missing_ok=True)
        return numbers, account

    def write_recipe(self, recipe: Recipe, lookup: Lookup) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "recipe.yaml", _HEAD + as_yaml(canonical(recipe, lookup, _absolute)))


def settings_of(taken: Lesson, numbers: Numbers) -> tuple[Setting, ...]:
    """A weight for each model and tensor, exactly as learned; for tensors that were not learned, as learning starts.

    Raises:
        InputError: the merge that was learned is no sum of weighted task vectors.
    """
    by, models = taken.chosen.preset.parametrisation, taken.chosen.models
    whole = {**by.start({_UNASKED: (1,)}, len(models)), **numbers}
    each = {place: weights(by, name, whole, len(models)) for name, place in taken.places.items()}
    rest = weights(by, _UNASKED, whole, len(models))
    found = [
        Setting("weight", value, model, glob.escape(place))
        for place, values in each.items()
        if values != rest
        for model, value in zip(models, values, strict=True)
    ]
    return (*found, *(Setting("weight", value, model) for model, value in zip(models, rest, strict=True)))


def weights(by: Parametrisation, name: str, numbers: Numbers, models: int) -> list[float]:
    """[K] the float32 coefficients of the task vectors in a tensor, read off the merge of K unit vectors."""
    import torch

    units = torch.eye(models)
    return [float(one) for one in by.merged(name, torch.zeros(models), units, numbers)]


def _spoken(name: str) -> str:
    return "" if name == _FOR_ALL else name


def _absolute(spec: Located, label: str) -> str:
    return absolute(spec.path)


def _write_numbers(numbers: Numbers, path: Path) -> None:
    headers = {name: Header(dtype_name(one.dtype), tuple(one.shape)) for name, one in numbers.items()}
    head, _ = build_header(headers, {"format": "pt"})
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.write(head)
            for one in numbers.values():
                file.write(one.detach().cpu().contiguous().numpy().tobytes())
        os.replace(fresh, path)
    except OSError as error:
        raise cannot_write(path, error) from None
