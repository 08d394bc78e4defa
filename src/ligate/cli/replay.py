"""`ligate replay OUT NEW`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ligate.core.errors import RecipeError

from .options import Json, Memory, Overwrite, Plugin, Quiet, Threads
from .progress import watcher
from .show import say, say_json


def replay(
    out: Annotated[Path, typer.Argument(help="The output folder of a merge.")],
    new: Annotated[Path, typer.Argument(help="Where the same bytes are to be made again.")],
    source: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=PATH", help="Where a source lies now. Repeatable.")
    ] = None,
    memory: Memory = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    plugin: Plugin = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Merge again from the record of a result, and compare every digest."""
    from ligate.verbs.replay import replay as verb

    found = verb(
        out,
        new,
        sources=dict(map(_labelled, source or ())),
        memory=memory,
        threads=threads,
        overwrite=overwrite,
        plugins=plugin or (),
        watch=watcher(quiet=quiet, json=json),
    )
    if json:
        say_json(found)
    elif not quiet:
        say(f"{found.new}: {found.tensors} tensors, the same bytes as {found.out}; digest {found.digest}")


def _labelled(text: str) -> tuple[str, str]:
    label, equals, path = text.partition("=")
    if not equals:
        raise RecipeError(f"'{text}' is no LABEL=PATH", where="--source", hint="for example `--source base=./base`.")
    return label, path
