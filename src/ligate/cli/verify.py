"""`ligate verify OUT`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Quiet, Threads
from .progress import watcher
from .show import say, say_json


def verify(
    out: Annotated[Path, typer.Argument(help="The output folder of a merge.")],
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Check every tensor and file of a result against its ligate.json."""
    from ligate.verbs.verify import verify as verb

    found = verb(out, threads=threads, watch=watcher(quiet=quiet, json=json))
    if json:
        say_json(found)
    elif not quiet and found.hashed:
        say(f"{found.out}: {found.tensors} tensors and {found.files} files are as recorded; digest {found.digest}")
    elif not quiet:
        say(f"{found.out}: {found.files} files, names and shapes are as recorded; merged without digests of tensors")
