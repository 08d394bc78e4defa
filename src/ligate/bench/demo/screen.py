"""The demo's results in the terminal: tables by rich."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ligate.bench.demo.proof import Proof, Shown
from ligate.bench.demo.results import AVERAGE, Results
from ligate.bench.demo.study import Row
from ligate.bench.demo.tasks import TASKS
from ligate.bench.words import megabytes, percent, points, seconds


def scores(results: Results) -> Table:
    """Accuracy of every network per task and on average, with the paired difference to the plain average."""
    table = _table("Accuracy on the test split, %")
    table.add_column("network", no_wrap=True)
    for heading in (*(task.name for task in TASKS), "mean", "vs average ± SE"):
        table.add_column(heading, justify="right", no_wrap=True)
    group = results.rows[0].group
    for row in results.rows:
        if row.group != group:
            table.add_section()
            group = row.group
        table.add_row(*_cells(row, results), style="bold" if row is results.best else "")
    return table


def costs(results: Results) -> Table:
    """What was chosen for each merge, and what the merge took."""
    table = _table("Merging: coefficient, time, peak memory")
    for heading in ("method", "chosen", "time", "peak"):
        table.add_column(heading, justify="right" if heading in ("time", "peak") else "left", no_wrap=True)
    for row in results.merges:
        if row.merged:
            table.add_row(row.title, row.coefficient, seconds(row.merged.seconds), megabytes(row.merged.peak_bytes))
    return table


def differences(results: Results) -> Table:
    """Every merge against every other."""
    titles = [row.title for row in results.merges]
    table = _table("Row minus column, points of mean accuracy ± paired SE")
    table.add_column("")
    for title in titles[:-1]:
        table.add_column(title, justify="right", no_wrap=True)
    for index, one in enumerate(titles[1:], 1):
        table.add_row(one, *(_told(results, one, other) for other in titles[:index]))
    return table


def proof(console: Console, shown: Proof) -> None:
    """The commands and what they answered."""
    _command(console, shown.verified)
    _command(console, shown.replayed)
    console.print(f"  {shown.same_files} of {shown.files} files are the same, byte for byte.\n")
    console.print("One bit of a copy flipped:")
    _command(console, shown.damaged)
    console.print("A recipe with mistakes:")
    _command(console, shown.refused)


def _command(console: Console, shown: Shown) -> None:
    console.print(f"[bold]$ {escape(shown.command)}[/bold]", soft_wrap=True)
    for line in shown.output.splitlines():
        console.print(f"  {escape(line)}", soft_wrap=True, highlight=False)
    console.print(f"  [dim]exit code {shown.code}[/dim]\n")


def _cells(row: Row, results: Results) -> Sequence[str]:
    title = f"{row.title} ({row.note})" if row.group == "merged" and row.note else row.title
    values = (*map(percent, row.scores), percent(row.mean))
    against = "" if row.title == AVERAGE else points(results.difference(row.title, AVERAGE))
    return (title, *values, against)


def _told(results: Results, one: str, other: str) -> str:
    difference = results.difference(one, other)
    return points(difference) if difference.resolved else f"[dim]{points(difference)}\nnot resolved[/dim]"


def _table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
