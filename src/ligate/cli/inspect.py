"""`ligate inspect MODEL`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .show import count, plain, say, say_json, shape, size, table

if TYPE_CHECKING:
    from ligate.verbs.inspect import Inspection, Numbers


def inspect(
    model: Annotated[str, typer.Argument(help="A checkpoint file or folder, a Hub id, or the output of a merge.")],
    stats: Annotated[bool, typer.Option("--stats", help="Also read the numbers: mean, spread, norm, NaN.")] = False,
    only: Annotated[str | None, typer.Option(metavar="GLOB", help="Only tensors with such names: '*.mlp.*'.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a checkpoint holds: names, shapes, dtypes, sizes, metadata."""
    from ligate.verbs.inspect import inspect as verb

    found = verb(model, only=only, stats=stats)
    if json:
        say_json(_as_data(found))
        return
    say(_tensors(found))
    say()
    say(_summary(found))


def _as_data(found: Inspection) -> dict[str, Any]:
    totals = {"parameters": found.parameters, "nbytes": found.nbytes, "files": found.files, "dtypes": found.dtypes}
    return {**plain(found), **totals}


def _tensors(found: Inspection) -> str:
    headings, right = ["tensor", "dtype", "shape", "size"], "   r"
    rows: list[list[object]] = [[t.name, t.dtype, shape(t.shape), size(t.nbytes)] for t in found.tensors]
    if any(tensor.numbers for tensor in found.tensors):
        headings += ["mean", "std", "min", "max", "norm", "zeros", "not finite"]
        right += "rrrrrrr"
        rows = [row + _numbers(tensor.numbers) for row, tensor in zip(rows, found.tensors, strict=True)]
    return table(headings, rows, right)


def _numbers(n: Numbers | None) -> list[object]:
    if n is None:
        return [""] * 7
    moments = ["" if value is None else f"{value:.4g}" for value in (n.mean, n.std, n.low, n.high)]
    return [*moments, f"{n.norm:.4g}", f"{n.zeros:.1%}", n.nonfinite or ""]


def _summary(found: Inspection) -> str:
    dtypes = ", ".join(f"{dtype} {tensors} ({size(nbytes)})" for dtype, (tensors, nbytes) in found.dtypes.items())
    lines = [
        f"{found.label}: {len(found.tensors)} tensors, {count(found.parameters)} parameters, {size(found.nbytes)}",
        f"files: {', '.join(found.files)}",
        f"dtypes: {dtypes}",
        *(f"metadata {key}: {value}" for key, value in found.metadata.items()),
    ]
    return "\n".join(lines)
