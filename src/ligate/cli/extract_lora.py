"""`ligate extract-lora FINETUNED BASE OUT`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Memory, Overwrite, Quiet, Threads
from .progress import watcher
from .show import count, say, say_json, shape, table

if TYPE_CHECKING:
    from ligate.verbs.extract_lora import Approximation, Extracted

_SHOWN = 20


def extract_lora(
    finetuned: Annotated[str, typer.Argument(help="The trained or merged model: a folder, a file, a Hub id.")],
    base: Annotated[str, typer.Argument(help="The model that it came from.")],
    out: Annotated[Path, typer.Argument(help="The adapter's folder.")],
    rank: Annotated[int | None, typer.Option(metavar="N", help="Directions per weight.")] = None,
    energy: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="As many directions as keep this share of the squared change: 0.9."),
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only these tensors: '*.self_attn.*'. Repeatable.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Not these tensors. Repeatable.")] = None,
    whole: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Store these as they are if they changed: '*norm*'. Repeatable."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of the factors: float32, bfloat16 or float16.")] = "float32",
    memory: Memory = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    all_tensors: Annotated[bool, typer.Option("--all", help=f"List all tensors, not only {_SHOWN}.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write what a model learned since BASE as a LoRA adapter for PEFT, with the error of each tensor."""
    from ligate.verbs.extract_lora import extract_lora as verb

    found = verb(
        finetuned,
        base,
        out,
        rank=rank,
        energy=energy,
        include=include or (),
        exclude=exclude or (),
        whole=whole or (),
        dtype=dtype,
        memory=memory,
        threads=threads,
        overwrite=overwrite,
        watch=watcher(quiet=quiet, json=json),
    )
    if json:
        say_json(found)
    elif not quiet:
        say(_report(found, len(found.tensors) if all_tensors else _SHOWN))


def _report(found: Extracted, shown: int) -> str:
    worst = sorted(found.tensors, key=lambda one: (-one.error * one.change, one.name))
    headings = ("tensor", "shape", "rank", "of", "change", "error", "energy kept")
    lines = [table(headings, [_row(one) for one in worst[:shown]], "  rrrrr")] if worst else []
    if len(worst) > shown:
        lines.append(f"({len(worst) - shown} tensors with smaller errors are not shown: --all)")
    if found.whole:
        lines.append(f"stored as they are: {len(found.whole)} tensors")
    changed = f"{len(found.tensors)} weights at low rank, {count(found.parameters)} numbers in {found.dtype}"
    lines.append(
        f"{found.out}: {changed}, {found.unchanged} tensors unchanged; it lacks {found.error:.2%} of the change"
    )
    return "\n".join(lines)


def _row(one: Approximation) -> tuple[object, ...]:
    kept = f"{one.kept:.2%}"
    return (one.name, shape(one.shape), one.rank, one.full_rank, f"{one.change:.4g}", f"{one.error:.4g}", kept)
