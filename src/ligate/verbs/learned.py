"""What was learned for an output: `OUT.learned`, a sibling of it.

OUT.learned/state-KEY.pt          how far an unfinished learning is
OUT.learned/numbers.safetensors   the numbers that were learned, under the names of the parametrisation
OUT.learned/curve.json            how they came about, and the key of all that decided them
OUT.learned/factors*.safetensors  what they multiply task vectors with, where that is more than a number per tensor
OUT.learned/recipe.yaml           the ordinary recipe that they come to
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.io.saving import save_tensors
from ligate.recipe.schema import Recipe

from .canonical import Located, Lookup, as_yaml, canonical
from .learned_outcome import Outcome
from .sources import absolute
from .workplace import beside, write_text

if TYPE_CHECKING:
    from torch import Tensor

_HEAD = "# What was learned, as an ordinary recipe: merge by it as it is, or change it by hand.\n"
_FOR_ALL = "all"  # numbers that belong to no tensor have no name of their own

Numbers = Mapping[str, "Tensor"]


class Made(Mapping[str, "Tensor"]):
    """Tensors that are made whenever they are asked for: by name, whatever makes one."""

    def __init__(self, makers: Mapping[str, Callable[[], Tensor]]) -> None:
        self._makers = makers

    def __getitem__(self, name: str) -> Tensor:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class Place:
    """The folder of what was learned; `key` is of everything that decides it."""

    def __init__(self, out: Path, key: str) -> None:
        self.folder, self.key = beside(out, ".learned"), key
        self.state = self.folder / f"state-{key}.pt"
        self._curve = self.folder / "curve.json"

    def read(self) -> tuple[Outcome, dict[str, Any]] | None:
        """What a learning with this key came to, and its account, if it was finished before."""
        try:
            told = json.loads(self._curve.read_text("utf-8"))
            found = Outcome.read(told["outcome"])
            whole = told["key"] == self.key and all((self.folder / file).is_file() for file in found.factors.values())
        except (OSError, ValueError, KeyError, TypeError):
            return None  # whatever is broken there is learned anew
        return (found, told["learned"]) if whole else None

    def keep(self, numbers: Numbers, found: Outcome, made: Mapping[str, Numbers], account: Mapping[str, Any]) -> None:
        """Write a finished learning; the curve, which has the key, at last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_tensors({name or _FOR_ALL: one for name, one in numbers.items()}, self.folder / "numbers.safetensors")
        for file, factors in made.items():
            save_tensors(factors, self.folder / file)
        told = {"key": self.key, "learned": account, "outcome": asdict(found)}
        write_text(self._curve, json.dumps(told, indent=1) + "\n")
        for state in self.folder.glob("state-*.pt*"):
            state.unlink(missing_ok=True)

    def write_recipe(self, recipe: Recipe, lookup: Lookup) -> None:
        write_text(self.folder / "recipe.yaml", _HEAD + as_yaml(canonical(recipe, lookup, _absolute)))


def _absolute(spec: Located, label: str) -> str:
    return absolute(spec.path)
