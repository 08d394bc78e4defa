"""`ligate extend OUT MODEL ... -o NEW`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .merge import parameters_of, told
from .options import Drop, Json, Memory, Overwrite, Quiet, StripPrefix, Threads
from .progress import watcher
from .show import say, say_json


def extend(
    out: Annotated[Path, typer.Argument(help="The output folder of an OPCM or a learned merge.")],
    models: Annotated[list[str], typer.Argument(help="Models to merge into it, in this order.")],
    new: Annotated[Path, typer.Option("--out", "-o", metavar="NEW", help="Where the result goes.")],
    base: Annotated[str | None, typer.Option(help="Where the base lies now. Default: where it lay.")] = None,
    method: Annotated[
        str | None, typer.Option(metavar="learn/ID", help="Learn coefficients by this preset. Default: OUT's own.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML with the `data:` to learn from; tasks named as models.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Of what is learned: steps=200. Repeatable.")
    ] = None,
    drop: Drop = None,
    strip_prefix: StripPrefix = None,
    memory: Memory = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Merge further models into an earlier result, without those that are in it: by OPCM, or by what is learned."""
    from ligate.verbs.extend import extend as verb

    watch = watcher(quiet=quiet, json=json)
    merged = verb(
        out,
        models,
        new,
        base=base,
        method=method,
        data=data,
        settings=parameters_of(settings or ()),
        drop=drop or (),
        strip_prefix=strip_prefix or (),
        memory=memory,
        threads=threads,
        overwrite=overwrite,
        watch=watch,
    )
    if json:
        say_json(merged)
    elif not quiet:
        say(told(merged))
