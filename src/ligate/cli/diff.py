"""`ligate diff A B`"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .progress import watcher
from .show import note, plain, say, say_json, shape, table

if TYPE_CHECKING:
    from ligate.verbs.diff import Difference, Distance

_SHOWN = 40


def diff(
    a: Annotated[str, typer.Argument(help="The checkpoint that distances are measured from.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw distance by layer: .html or .svg.")] = None,
    all_tensors: Annotated[bool, typer.Option("--all", help=f"List all tensors, not only {_SHOWN}.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how far two checkpoints are apart, tensor by tensor."""
    from ligate.verbs.diff import diff as verb

    found = verb(a, b, watch=watcher(quiet=False, json=json))
    if plot is not None:
        from ligate.verbs.plot import write_plot

        write_plot(found, plot)
        note(f"plot: {plot}")
    if json:
        say_json({**plain(found), "same": found.same})
    else:
        say(_report(found, len(found.tensors) if all_tensors else _SHOWN))


def _report(found: Difference, shown: int) -> str:
    rows = [_row(distance) for distance in found.tensors[:shown]]
    hidden = len(found.tensors) - len(rows)
    headings = ("tensor", "shape", "relative L2", "largest", "cosine", "equal")
    lines = [table(headings, [*rows, _row(found.total)], "  rrrr")] if rows else ["no tensor has one shape in both"]
    if hidden:
        lines.append(f"({hidden} nearer tensors are not shown: --all)")
    lines += [f"only in {found.a}: {name}" for name in found.only_a]
    lines += [f"only in {found.b}: {name}" for name in found.only_b]
    lines += [f"shapes differ: {n} is {shape(x)} in {found.a}, {shape(y)} in {found.b}" for n, x, y in found.reshaped]
    lines += [f"dtypes differ: {n} is {x} in {found.a}, {y} in {found.b}" for n, x, y in found.retyped]
    if found.same:
        lines.append(f"{found.a} and {found.b} hold the same numbers.")
    return "\n".join(lines)


def _row(d: Distance) -> tuple[str, ...]:
    undefined = "from zero" if math.isfinite(d.largest) else "not finite"
    relative = undefined if d.relative is None else f"{d.relative:.4g}"
    cosine = "-" if d.cosine is None else f"{d.cosine:.6f}"
    return (d.name, shape(d.shape), relative, f"{d.largest:.4g}", cosine, f"{d.equal:.2%}")
