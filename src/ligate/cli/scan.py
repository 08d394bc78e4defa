"""`ligate scan EXPERT... --base BASE`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Quiet
from .progress import watcher
from .show import say, say_json, table

if TYPE_CHECKING:
    from ligate.verbs.scan import Scanned

_SCREENS = {"length": "length", "turn": "direction", "lines": "single lines", "rank": "low rank"}


def scan(
    experts: Annotated[list[str], typer.Argument(metavar="EXPERT...", help="Models that are to be merged.")],
    base: Annotated[str, typer.Option(metavar="BASE", help="The model that they were trained from.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Before merging: is one expert unlike its peers, as one with a backdoor may be? Evidence, and no guarantee."""
    from ligate.verbs.scan import scan as scanned

    found = scanned(experts, base, watch=watcher(quiet=quiet, json=json))
    if json:
        told = [{**each.__dict__, "flagged": each.flagged} for each in found.experts]
        say_json({"experts": told, "skipped": found.skipped, "guarantee": False})
    else:
        _told(found)


def _told(found: Scanned) -> None:
    rows = [
        (each.name, *(_cell(each.findings, screen) for screen in _SCREENS), "suspicious" if each.flagged else "")
        for each in found.experts
    ]
    say(table(("expert", *_SCREENS.values(), ""), rows, " rrrr"))
    for each in found.experts:
        for one in each.findings:
            if one.flagged:
                where = f"{one.tensor}, {one.line}" if one.line else one.tensor
                say(f"{each.name}: {_SCREENS[one.screen]} {one.excess:.1f} spreads beyond its peers in {where}")
    for left in found.skipped:
        say(f"not scanned: {left.name}: {left.why}")
    say("Numbers are spreads beyond the peers. Weights prove nothing: an expert that is not suspicious may have a")
    say("backdoor, and one that is may have none.")
    if found.peers < 4:
        say(f"With {found.peers} experts the peers hardly say what is usual.")


def _cell(findings: object, screen: str) -> str:
    each = {one.screen: one for one in findings}  # type: ignore[attr-defined]
    return f"{each[screen].excess:.1f}{'*' if each[screen].flagged else ''}" if screen in each else "-"
