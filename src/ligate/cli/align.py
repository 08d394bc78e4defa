"""`ligate align A B OUT`"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ligate.core.errors import RecipeError

from .analyse import analyse as tell_analysis
from .options import Json, Memory, Overwrite, Quiet, Threads
from .progress import watcher
from .show import say, say_json, table

if TYPE_CHECKING:
    from ligate.align.alignment import Line
    from ligate.verbs.align import Aligned, Checked, Groups

_SHOWN = 20
Found = TypeVar("Found", "Aligned", "Groups", "Checked")


def align(
    a: Annotated[str, typer.Argument(help="The model in whose coordinates the result is: a folder, a Hub id.")],
    b: Annotated[str | None, typer.Argument(help="The model that is brought there.")] = None,
    out: Annotated[Path | None, typer.Argument(help="The result's folder.")] = None,
    method: Annotated[str, typer.Option(help="weights, activations, or transport, which changes widths.")] = "weights",
    seed: Annotated[int, typer.Option(help="Of the orders in which groups are matched.")] = 0,
    starts: Annotated[int, typer.Option(metavar="N", help="The best of so many starts is taken.")] = 3,
    use: Annotated[Path | None, typer.Option(metavar="FILE", help="Apply this alignment, find none.")] = None,
    groups: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The groups of units, for what cannot be traced: YAML.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="Returns (torch.nn.Module, example inputs).")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Inputs for activations: .npz, .npy, or a text on each line.")
    ] = None,
    show: Annotated[bool, typer.Option("--print", help="Print the groups of A and what each lies on.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Move each group of A at random: does its function stay? Else exit code 1.")
    ] = False,
    analyse: Annotated[
        bool, typer.Option("--analyse", help="Say how alike A and B are on --data, layer by layer, unit by unit.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Draw what --analyse finds.")] = None,
    memory: Memory = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    all_groups: Annotated[bool, typer.Option("--all", help=f"List all groups, not only {_SHOWN}.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Bring B into the coordinates of A, so that models of different training runs can be merged."""
    from ligate.verbs.align import align_models, check_groups, movable

    if analyse:
        if out is not None:
            raise RecipeError("`--analyse` writes no model", where="align", hint="`ligate align --analyse A B`.")
        tell_analysis(a, b, data, model=model, plot=plot, seed=seed, quiet=quiet, json=json)
        return
    if show or check:
        _refuse_more(b, "--print" if show else "--check")
    if show:
        _tell(movable(a, groups=groups, model=model), _printed, all_groups, quiet, json)
    elif check:
        checked = check_groups(a, groups=groups, model=model, seed=seed)
        _tell(checked, _checked, all_groups, quiet, json)
        if checked.failed:
            raise typer.Exit(1)
    else:
        if b is None or out is None:
            raise RecipeError("two models and an output are needed", where="align", hint="`ligate align A B OUT`.")
        found = align_models(
            a,
            b,
            out,
            method=method,
            seed=seed,
            starts=starts,
            use=use,
            groups=groups,
            model=model,
            data=data,
            memory=memory,
            threads=threads,
            overwrite=overwrite,
            watch=watcher(quiet=quiet, json=json),
        )
        _tell(found, _report, all_groups, quiet, json)


def _refuse_more(b: str | None, option: str) -> None:
    if b is not None:
        raise RecipeError(f"`{option}` looks at one model", where="align", hint=f"`ligate align A {option}`.")


def _tell(found: Found, report: Callable[[Found, int], str], all_groups: bool, quiet: bool, json: bool) -> None:
    if json:
        say_json(found)
    elif not quiet:
        say(report(found, len(found.groups) if all_groups else _SHOWN))


def _report(found: Aligned, shown: int) -> str:
    rows = [(*_row(line), f"{line.moved:.1%}") for line in found.groups]
    lines = _listed(("group", "kind", "units", "copies", "places", "moved"), rows, shown)
    lines.append(f"cosine of the matrices: {_spoken(found.before)} before, {_spoken(found.after)} after")
    if found.same:
        lines.append("the two models are in the same coordinates already.")
    return "\n".join([*lines, f"{found.out}: {found.tensors} tensors, and alignment.safetensors"])


def _printed(found: Groups, shown: int) -> str:
    lines: list[str] = []
    for line, places in list(zip(found.groups, found.places, strict=True))[:shown]:
        copies = f", {line.copies} copies of them, each on its own" if line.copies > 1 else ""
        lines += [f"{line.name}: {line.units} units, {line.kind}{copies}", *(f"    {place}" for place in places)]
    lines += _hidden(len(found.groups), shown)
    lines += [f"note: {text}" for text in found.notes]
    more = f"; {len(found.fixed)} tensors have axes that must stay" if found.fixed else ""
    return "\n".join([*lines, f"{found.model}: {len(found.groups)} groups of units{more}"])


def _checked(found: Checked, shown: int) -> str:
    failed = [one for one in found.groups if not one.holds]
    rows = [
        (one.name, one.kind, one.units, one.copies, f"{one.difference:.1e}", "yes" if one.holds else "NO")
        for one in [*failed, *(one for one in found.groups if one.holds)]
    ]
    headings = ("group", "kind", "units", "copies", "outputs moved", "function kept")
    lines = _listed(headings, rows, max(shown, len(failed)))
    names = ", ".join(one.name for one in failed)
    lines.append(f"these groups do not keep the function: {names}" if failed else "every group keeps the function.")
    return "\n".join(lines)


def _row(line: Line) -> tuple[object, ...]:
    return (line.name, line.kind, line.units, line.copies, line.places)


def _listed(headings: Sequence[str], rows: Sequence[Sequence[object]], shown: int) -> list[str]:
    return [table(headings, rows[:shown], "  rrrr"), *_hidden(len(rows), shown)]


def _hidden(count: int, shown: int) -> list[str]:
    return [f"({count - shown} more groups are not shown: --all)"] if count > shown else []


def _spoken(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
