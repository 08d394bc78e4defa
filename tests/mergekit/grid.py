"""Random configs over all methods and parameters (grid.jsonl), and a few numbers that tell one result from another.

`write_grid.py` draws the configs, lets mergekit run them and stores its numbers. The models are float64, in which
mergekit computes as we do, so that nothing hides in rounding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from tiny_llama import Tensors, random_tensors, write_model

FILE = Path(__file__).with_name("grid.jsonl")
LABELS = ("base", "a", "b", "c")


class GridCase(NamedTuple):
    name: str
    config: Mapping[str, Any]  # of the examples: none here, their text stands in examples.py
    numbers: Mapping[str, float]  # of mergekit's result

    @property
    def text(self) -> str:
        return yaml.safe_dump(dict(self.config), sort_keys=False)

    @property
    def method(self) -> str:
        return self.config["merge_method"]


def cases() -> list[GridCase]:
    return [case for case in _stored() if case.config]


def of_examples() -> Mapping[str, Mapping[str, float]]:
    """mergekit's numbers by the names of the examples."""
    return {case.name: case.numbers for case in _stored() if not case.config}


def _stored() -> list[GridCase]:
    return [GridCase(**json.loads(line)) for line in FILE.read_text().splitlines()]


def write_models(room: Path) -> None:
    """models/base, and models/a, b, c: changes of it that resemble each other but are of unlike lengths."""
    base, common = (_wide(random_tensors(seed)) for seed in (21, 22))
    write_model(room / "models" / "base", base)
    for seed, label in enumerate(LABELS[1:], 1):
        own = _wide(random_tensors(22 + seed))
        changed = {name: base[name] + 0.1 * seed * (common[name] + own[name]) for name in base}
        write_model(room / "models" / label, changed)


def _wide(tensors: Tensors) -> Tensors:
    return {name: tensor.astype(np.float64) for name, tensor in tensors.items()}


def fingerprint(tensors: Tensors) -> dict[str, float]:
    """For each layer and each tensor outside the layers the sum of its numbers, each times a number of its place."""
    found: dict[str, float] = {}
    for name, tensor in sorted(tensors.items()):
        group = ".".join(name.split(".")[1:3]) if ".layers." in name else name
        places = np.cos(1 + 0.7 * np.arange(tensor.size) + len(name))
        found[group] = found.get(group, 0.0) + float(tensor.astype(np.float64).ravel() @ places)
    return found
