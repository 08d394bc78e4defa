"""`ligate extend OUT MODEL ... -o NEW`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .merge import told
from .options import Json, Memory, Overwrite, Quiet, Threads
from .progress import watcher
from .show import say, say_json


def extend(
    out: Annotated[Path, typer.Argument(help="The output folder of an OPCM merge.")],
    models: Annotated[list[str], typer.Argument(help="Models to merge into it, in this order.")],
    new: Annotated[Path, typer.Option("--out", "-o", metavar="NEW", help="Where the result goes.")],
    base: Annotated[str | None, typer.Option(help="Where the base lies now. Default: where it lay.")] = None,
    memory: Memory = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Merge further models into an earlier OPCM result, without those that are in it."""
    from ligate.verbs.extend import extend as verb

    watch = watcher(quiet=quiet, json=json)
    merged = verb(out, models, new, base=base, memory=memory, threads=threads, overwrite=overwrite, watch=watch)
    if json:
        say_json(merged)
    elif not quiet:
        say(told(merged))
