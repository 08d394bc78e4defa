"""`ligate demo`: fine-tune three experts of a real network, merge them, score, explain and prove the result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

FOLDER = "ligate-demo"


def run(
    workdir: str | Path = FOLDER, *, model: str | None = None, seed: int = 0, console: Console | None = None
) -> int:
    """Run the demo in a folder of its own; what an earlier run has finished there is used again.

    `model` is a local folder with another pretrained encoder. Returns the exit code: 0, or that of a failed
    verification when a promise did not hold.

    Raises:
        InputError: the pretrained network or a library whose texts are read is not installed.
        StorageError: the folder cannot be written.
    """
    # Both are read when torch and transformers are first imported, so the rest of the demo comes after.
    os.environ["HF_HUB_OFFLINE"] = "1"  # it never fetches anything
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin are ten times slower on a busy machine
    from rich.console import Console

    from ligate.bench.demo.stages import play

    return play(Path(workdir), model, seed, console or Console())
