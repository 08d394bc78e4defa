"""`ligate bench run`, `compare`, `report`, `suites` and `example`"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Quiet
from .show import note, say, say_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from ligate.bench.suite import Teller

bench = typer.Typer(
    name="bench", no_args_is_help=True, help="Compare methods on real tasks with real networks, offline.",
    rich_markup_mode=None,
)  # fmt: skip


@bench.command()
def run(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A name of `ligate bench suites`, or a YAML file.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the results go.")],
    tier: Annotated[str, typer.Option(help="smoke (seconds), standard (minutes) or full.")] = "standard",
    methods: Annotated[
        str | None,
        typer.Option(metavar="ID;ID;...", help="Merges to compare: 'ties;tsv_m;ties(density=0.1)'."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="How many seeds.")] = None,
    budget: Annotated[
        int | None, typer.Option(metavar="N", help="Coefficients that every method may try, per seed.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="PATH", help="Another pretrained network, a folder.")] = None,
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Keeps data, networks and answers.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the merged models in DIR/merged.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train (or find) the experts of a suite, merge them by every method, score and compare."""
    from ligate.bench.run import run as play

    teller = _teller(quiet=quiet or json)
    results = play(
        suite,
        out,
        tier=tier,
        methods=_listed(methods),
        seeds=seeds,
        budget=budget,
        model=model,
        store=cache,
        keep=keep,
        tell=teller,
    )
    from ligate.bench import plain, screen
    from ligate.bench.summary import summarise

    if json:
        say_json(plain.summary(summarise(results)))
    elif not quiet:
        _print(screen.tables(results))
        say(f"Report   {out / 'report.html'}")
        say(f"Numbers  {out / 'results.csv'}, {out / 'results.json'}")


@bench.command()
def compare(
    one: Annotated[Path, typer.Argument(metavar="DIR", help="Results of one run.")],
    other: Annotated[Path, typer.Argument(metavar="DIR", help="Results of another.")],
    json: Json = False,
) -> None:
    """What changed between two runs: rows, averages with intervals, settings."""
    from ligate.bench import plain, screen
    from ligate.bench.compare import compare as compared
    from ligate.bench.results import load

    found = compared(load(one), load(other))
    if json:
        say_json(plain.comparison(found))
    else:
        _print(screen.compared(found))


@bench.command()
def report(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Results of a run.")]) -> None:
    """Write report.html and results.csv anew from the results in DIR."""
    from ligate.bench.results import load
    from ligate.bench.run import write

    write(load(folder), folder)
    say(f"Report   {folder / 'report.html'}")


@bench.command()
def suites() -> None:
    """The suites, and what their tiers run."""
    from ligate.bench.suites import SUITES, module_of

    for name, entry in SUITES.items():
        say(f"{name:14}{entry.says}")
        for tier, scale in module_of(name).SCALES.items():
            say(f"{'':14}  {tier}: seeds {len(scale.seeds)}, budget {scale.budget}")


@bench.command()
def example(
    name: Annotated[str, typer.Argument(metavar="NAME", help="text.yaml or clip8.yaml.")] = "text.yaml",
) -> None:
    """Print a commented YAML file about your own models and data, to start from."""
    from ligate.bench.suites.own import configs

    say(configs.text(name).rstrip("\n"))


def _listed(methods: str | None) -> list[str] | None:
    """Between semicolons, or between commas where no parameter is set."""
    if methods is None:
        return None
    parts = methods.split(";") if ";" in methods or "(" in methods else methods.split(",")
    return [part.strip() for part in parts if part.strip()]


def _teller(*, quiet: bool) -> Teller:
    from ligate.bench.suite import Teller

    if quiet:
        return Teller()
    told: dict[str, float] = {}

    def counts(what: str, done: int, total: int) -> None:
        """A line now and then, so that a log of a long run stays readable."""
        now = time.monotonic()
        if now - told.get(what, -60.0) >= 15 or done == total:
            told[what] = now
            note(f"{what}: {done} of {total}")

    return Teller(note, counts)


def _print(parts: Iterable[RenderableType]) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout)
    for part in parts:
        console.print(part)
