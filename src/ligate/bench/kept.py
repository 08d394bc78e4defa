"""What an earlier run trained or measured is used again, unless anything that decides it has changed.

A key is a digest of everything that decides a result: data, code, starting weights, seed. A folder of a model says in
`trained.json` which key it was made for; both kinds of results are whole before they get their names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.tasks.digests import STAMP, digest_of, folder_digest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("BENCH", "code_digest", "digest_of", "engine_digest", "folder_digest", "remembered", "remembered_values",
           "settle", "stamp", "write_whole")  # fmt: skip

BENCH = Path(__file__).parent
_PACKAGE = BENCH.parent
_ENGINE_ROOMS = ("core", "ops", "methods", "io", "engine", "recipe")


def code_digest(names: Iterable[str], root: Path = BENCH) -> str:
    """Of files of this room, named from here."""
    return digest_of(part for name in names for part in (name, (root / name).read_bytes()))


@cache
def engine_digest() -> str:
    """Of whatever besides recipe and inputs can change the weights that a merge gives."""
    files = sorted(path for room in _ENGINE_ROOMS for path in (_PACKAGE / room).rglob("*.[pch]*") if _is_code(path))
    return code_digest((path.relative_to(_PACKAGE).as_posix() for path in files), _PACKAGE)


def remembered(folder: Path, key: str, compute: Callable[[], Tensor]) -> Tensor:
    """A tensor computed before under this key, otherwise computed and written down."""
    import torch

    path = folder / f"{key}.json"
    if path.is_file():
        return torch.tensor(json.loads(path.read_text(encoding="utf-8")))
    value = compute()
    write_whole(path, json.dumps(value.tolist()))
    return value


def remembered_values(folder: Path, key: str, compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The same for tensors by name, in float64."""
    import torch

    path = folder / f"{key}.json"
    if not path.is_file():
        found = {name: value.double().tolist() for name, value in compute().items()}
        write_whole(path, json.dumps(found))
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in stored.items()}


def write_whole(path: Path, text: str) -> None:
    """A text file that is there with all of its text or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def stamp(folder: Path, key: str) -> Mapping[str, Any] | None:
    """What is written about a model folder, if it was made for this key."""
    try:
        told = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if told.get("key") == key else None


def settle(folder: Path, key: str, facts: Mapping[str, Any], save: Callable[[Path], None]) -> None:
    """Save a model folder and what is to be known of it, whole or not at all."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save(partial)
    (partial / STAMP).write_text(json.dumps({"key": key, **facts}), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _is_code(path: Path) -> bool:
    return path.suffix in (".py", ".c", ".h") and not path.name.endswith("_test.py")
