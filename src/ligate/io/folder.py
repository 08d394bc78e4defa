"""Which files of a model folder hold its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, NamedTuple

_STEMS = ("model", "diffusion_pytorch_model")


class Weights(NamedTuple):
    """The weight files of a model, in order; `extra` are files that say which."""

    kind: Literal["safetensors", "pickle"]
    folder: Path | None
    paths: tuple[Path, ...]
    extra: tuple[Path, ...] = ()


def find_weights(place: Path) -> Weights:
    """The weight files of a model folder, or the file itself."""
    if not place.is_dir():
        return Weights("safetensors", None, (place,))
    index = place / "model.safetensors.index.json"
    if index.exists():
        table = json.loads(index.read_text())["weight_map"]
        return Weights("safetensors", place, tuple(place / name for name in sorted(set(table.values()))), (index,))
    return Weights("safetensors", place, (place / "model.safetensors",))
