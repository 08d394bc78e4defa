"""`ligate search RECIPE OUT`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ligate.core.errors import RecipeError
from ligate.core.space import SAMPLERS, Sampler
from ligate.core.suggest import nearest

from .merge import told
from .options import Json, Memory, Overwrite, Plugin, Quiet, Threads
from .progress import watcher
from .show import say, say_json, spoken

if TYPE_CHECKING:
    from ligate.verbs.search import Searched


def search(
    recipe: Annotated[str, typer.Argument(help="A recipe with `search:` and `data:`.")],
    out: Annotated[Path, typer.Argument(help="The output folder; what was tried lies in OUT.search.")],
    sampler: Annotated[
        str | None, typer.Option(metavar="|".join(SAMPLERS), help="How points are proposed. Default: the recipe's.")
    ] = None,
    budget: Annotated[int | None, typer.Option(min=1, metavar="N", help="Trials. Default: the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the sampler. Default: the recipe's.")] = None,
    front: Annotated[
        bool | None, typer.Option("--front/--mean", help="Each task is a goal of its own, or their mean is the goal.")
    ] = None,
    memory: Memory = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    plugin: Plugin = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Search for the parameters of a merge that do best on your tasks, then merge by them.

    A search that was stopped goes on when the same command is given again; `--overwrite` begins it anew.
    """
    from ligate.verbs.search import Overruled
    from ligate.verbs.search import search as verb

    found = verb(
        recipe,
        out,
        overruled=Overruled(_sampler(sampler), budget, seed, front),
        memory=memory,
        threads=threads,
        overwrite=overwrite,
        plugins=plugin or (),
        watch=watcher(quiet=quiet, json=json),
    )
    if json:
        say_json(found)
    elif not quiet:
        say(_report(found))


def _sampler(written: str | None) -> Sampler | None:
    if written is not None and written not in SAMPLERS:
        raise RecipeError(f"there is no sampler '{written}'", where="--sampler", hint=nearest(written, SAMPLERS))
    return written


def _report(found: Searched) -> str:
    failed = f", {found.failed} of them failed" if found.failed else ""
    lines = [f"{name}: {_value(value)}" for name, value in found.parameters.items()]
    lines.append(f"best of {found.trials} trials{failed}: {_values(found.values)}")
    if found.checked:
        lines.append(f"on examples that chose nothing: {_values(found.checked)}")
    if found.front > 1:
        lines.append(f"{found.front} points that no other beats: {found.folder}/front.svg, a recipe of each in front/")
    return "\n".join([*lines, told(found.merged)])


def _values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{label} {_value(each)}" for label, each in value.items())
    return spoken(value)
