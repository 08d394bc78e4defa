"""How a recipe is run for its scores: in memory while a coefficient is chosen, on disk in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ligate.core.errors import LigateError
from ligate.io.memory import MemorySource
from ligate.methods import _catalogue
from ligate.recipe.parse import parse_text
from ligate.verbs.rebuilding import rebuilt

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]


class Merged(NamedTuple):
    """A merge in a process of its own: seconds of merging alone, peak memory of the whole process."""

    digest: str
    seconds: float
    peak_bytes: int | None  # None where the system does not tell


def in_memory(text: str, states: Mapping[str, State]) -> dict[str, Tensor]:
    """Run a recipe on state dicts named by its source labels, with the planner and engine that serve the disk."""
    recipe = parse_text(text)
    sources = {label: MemorySource(label, states[label]) for label in recipe.sources}
    return rebuilt(recipe, recipe.steps[-1], sources, _catalogue.load)


def on_disk(recipe: Path, out: Path, folder: Path) -> Merged:
    """Merge in a fresh process that works in `folder`, as a person would, and say what it cost."""
    ran = subprocess.run(
        [sys.executable, "-m", "ligate.bench.measured", str(recipe), str(out)],
        cwd=folder,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise LigateError(f"the merge failed: {ran.stderr.strip()}", where=str(recipe))
    told = json.loads(ran.stdout)
    return Merged(told["digest"], told["seconds"], told["peak_bytes"])


def child_environment() -> dict[str, str]:
    """For processes in other folders: this very package is found, installed or not, and nothing is fetched."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
