"""`ligate check RECIPE [OUT]`, `ligate check OUT --load`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Drop, Dtype, Json, Memory, Overwrite, Plugin, ShardSize, StripPrefix, Threads, Tokenizer
from .show import count, duration, note, say, say_json, shape, size, table

if TYPE_CHECKING:
    from ligate.verbs.check import Checked


def check(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe; with --load a model folder.")],
    out: Annotated[Path | None, typer.Argument(help="Also look at the place where the output would go.")] = None,
    load: Annotated[bool, typer.Option("--load", help="Load a result with transformers and run it once.")] = False,
    dtype: Dtype = None,
    shard_size: ShardSize = None,
    drop: Drop = None,
    strip_prefix: StripPrefix = None,
    tokenizer: Tokenizer = None,
    memory: Memory = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    plugin: Plugin = None,
    json: Json = False,
) -> None:
    """Find every problem of a recipe before it runs, and forecast what it costs."""
    if load:
        _load(recipe, json)
        return
    from ligate.verbs.check import check as verb

    found = verb(
        recipe,
        out,
        dtype=dtype,
        shard_size=shard_size,
        drop=drop or (),
        strip_prefix=strip_prefix or (),
        tokenizer=tokenizer,
        memory=memory,
        threads=threads,
        overwrite=overwrite,
        plugins=plugin or (),
    )
    for text in found.notes:
        note(f"note: {text}")
    say_json(found) if json else say(_report(recipe, found))


def _report(recipe: str, found: Checked) -> str:
    rows = [(s.name or "result", s.method, s.tensors, s.passes, size(s.read), size(s.written)) for s in found.steps]
    lines = [
        f"{recipe}: no problems found",
        "",
        table(("step", "method", "tensors", "passes", "read", "write"), rows, "  rrrr"),
        "",
        f"memory: about {size(found.peak_memory)} with {found.threads} thread{'s' if found.threads != 1 else ''}",
    ]
    if found.learning is not None:
        halves = ", ".join(f"{name} {learn} + {stop}" for name, (learn, stop) in found.learning.tasks.items())
        lines.append(
            f"learning: {count(found.learning.scalars)} numbers in at most {count(found.learning.steps)} steps, from "
            f"examples of {halves} (to learn from + to decide when to stop)"
        )
    if found.seconds is not None and found.bytes_per_second is not None:
        speed = f"at {size(found.bytes_per_second)}/s"
        lines.append(f"time: about {duration(found.seconds)} for reading and writing alone, {speed}")
    if found.room is not None:
        lines.append(f"disk: {size(found.room.needed)} needed, {size(found.room.free)} free")
    return "\n".join(lines)


def _load(folder: str, json: bool) -> None:
    from ligate.verbs.load import load as verb

    found = verb(folder)
    if json:
        say_json(found)
        return
    say(
        f"{folder}: {found.architecture}, {count(found.parameters)} parameters, loaded and run once; all numbers finite"
    )
    say(table(("output", "shape"), [(name, shape(dims)) for name, dims in found.outputs.items()]))
