"""`ligate resume OUT`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .merge import told
from .options import Json, Memory, Quiet, Threads
from .progress import watcher
from .show import say, say_json


def resume(
    out: Annotated[Path, typer.Argument(help="The output folder of the interrupted merge.")],
    memory: Memory = None,
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Go on with an interrupted merge; the bytes come out as if nothing had happened."""
    from ligate.verbs.merge import resume as verb

    merged = verb(out, memory=memory, threads=threads, watch=watcher(quiet=quiet, json=json))
    if json:
        say_json(merged)
    elif not quiet:
        say(told(merged))
