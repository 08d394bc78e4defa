"""Look at experts before they are merged: is one of them unlike its peers, as one with a backdoor may be?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ligate.core.errors import InputError

from .opening import Skipped, labels_of, open_model, open_readable
from .watch import Nobody, Watch

if TYPE_CHECKING:
    from os import PathLike

    from ligate.trace.screens import Excess

LIMITS: Mapping[str, float] = {"length": 8.0, "turn": 8.0, "lines": 8.0, "rank": 8.0}
"""Excesses from which on an expert is flagged. docs/backdoors.md says how they were found, and how often they err."""


@dataclass(frozen=True)
class Finding:
    """One screen of one expert: how far it is beyond its peers, in their spreads, and in which tensor (and line of
    it) that is. `flagged`: it is beyond the limit."""

    screen: str
    excess: float
    limit: float
    flagged: bool
    tensor: str
    line: str = ""


@dataclass(frozen=True)
class Expert:
    name: str
    path: str
    findings: tuple[Finding, ...]

    @property
    def flagged(self) -> bool:
        return any(each.flagged for each in self.findings)


@dataclass(frozen=True)
class Scanned:
    """Experts in the order given. What was not flagged is not thereby harmless."""

    experts: tuple[Expert, ...]
    skipped: tuple[Skipped, ...]
    peers: int


def scan(experts: Sequence[str | PathLike[str]], base: str | PathLike[str], *, watch: Watch | None = None) -> Scanned:
    """Compare the task vectors of experts of one base, tensor by tensor. What cannot be read is listed.

    Raises:
        InputError: the base, or all but one of the experts, cannot be read or compared.
    """
    from ligate.trace.screens import screened

    watch = watch or Nobody()
    paths = [str(expert) for expert in experts]
    names = labels_of(paths)
    skipped: list[Skipped] = []
    with ExitStack() as stack:
        origin = open_model(str(base), label="base")
        stack.callback(origin.close)
        opened = open_readable(dict(zip(names, paths, strict=True)), skipped, stack)
        if len(opened) < 2:
            reasons = "".join(f"\n  {each.name}: {each.why}" for each in skipped)
            raise InputError(f"fewer than two experts can be read{reasons}", where="scan",
                             hint="experts are seen against their peers: give two, better four or more.")  # fmt: skip
        total = (1 + len(opened)) * sum(header.nbytes for header in origin.headers().values())
        watch.begin("scanning", total)
        try:
            found = screened(origin, list(opened.values()), watch.advance)
        finally:
            watch.end()
    known = list(opened)
    skipped += [Skipped(f"{known[each.model]}{f': {each.tensor}' if each.tensor else ''}", each.why)
                for each in found.lost]  # fmt: skip
    gone = {each.model for each in found.lost if not each.tensor}
    told = tuple(
        Expert(name, paths[names.index(name)], tuple(_finding(each) for each in found.worst if each.expert == number))
        for number, name in enumerate(known)
        if number not in gone
    )
    return Scanned(told, tuple(skipped), len(told))


def _finding(each: Excess) -> Finding:
    limit = LIMITS[each.screen]
    line = "" if each.line is None else f"{('row', 'column')[each.axis or 0]} {each.line}"
    return Finding(each.screen, round(each.value, 2), limit, each.value >= limit, each.tensor, line)
