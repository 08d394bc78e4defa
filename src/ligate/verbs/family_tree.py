"""A trace as text, as data and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ligate.core.errors import RecipeError

from .trace import Link, Member, Traced

_HOW = {
    "root": "root",
    "alone": "related to none of them",
    "tuned": "tuned",
    "copied": "the same numbers",
    "rounded": "rounded to 16 bits",
    "quantised": "rounded to integer levels",
    "pruned": "pruned",
    "locked": "the same in other coordinates",
    "merged": "merged",
    "selected": "merged element by element",
    "singular": "merged in the space of singular vectors",
}
_UNSURE = 0.7
_COLUMN, _ROW, _MARGIN = 230, 34, 24
_STYLE = """text{font:12px sans-serif;dominant-baseline:middle}.model{fill:#f4f6fa;stroke:#56708f}.root{fill:#dcebd9}
.alone{fill:#eeeeee}.merge{fill:#fdeccf}.link{fill:none;stroke:#56708f;stroke-width:1.4}.base{stroke-dasharray:2 4}
.unsure{stroke:#c8a24a;stroke-dasharray:6 4}"""


def text(traced: Traced) -> str:
    """Every family as a tree; a merge stands under its first parent and names all."""
    lines: list[str] = []
    for family in traced.families:
        known = {each.name: each for each in family}
        below = _below(family)
        for member in family:
            if _under(member, known) is None:
                lines += _branch(member, below, "", "")
    lines += [f"skipped {each.name}: {each.why}" for each in traced.skipped]
    return "\n".join(lines)


def data(traced: Traced) -> dict[str, Any]:
    """For JSON: every model with its parents, then what was skipped."""
    members = [
        {
            "name": each.name,
            "path": each.path,
            "kind": each.kind,
            "family": each.family,
            "parents": [vars(link) for link in each.parents],
            "reordered": each.reordered,
            "absent": each.absent,
            "change": {"rank": each.rank, "equal": each.equal, "changed": each.changed, "foreign": each.foreign},
            "record": list(each.record),
        }
        for each in traced.members
    ]
    return {"models": members, "skipped": [vars(each) for each in traced.skipped]}


def write_picture(traced: Traced, path: Path) -> None:
    """Generations from left to right, as SVG.

    Raises:
        RecipeError: the file is called otherwise.
    """
    if path.suffix != ".svg":
        raise RecipeError(f"'{path.name}' must end in .svg", where="--plot", hint="for example `--plot tree.svg`.")
    path.write_text(picture(traced), "utf-8")


def picture(traced: Traced) -> str:
    spots = _spots(traced)
    width = _MARGIN * 2 + _COLUMN * (1 + max(x for x, _ in spots.values()))
    height = _MARGIN * 2 + _ROW * len(spots)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    parts += [_line(spots[link.name], spots[each.name], link) for each in traced.members for link in each.parents]
    parts += [_box(spots[each.name], each) for each in traced.members]
    return "\n".join((*parts, "</svg>", ""))


def told(member: Member) -> str:
    """How a model was made, and how sure that is."""
    notes = ["; a common parent of it and its children may be missing"] if member.absent else []
    notes += [f"; {line}" for line in member.record]
    moved = ", its units in another order" if member.reordered else ""
    moved += f", {member.foreign} tensors in other coordinates" if member.foreign else ""
    if not member.parents:
        return _HOW[member.kind] + moved + "".join(notes)
    if member.kind == "merged":
        how = "= " + " ".join(_term(link, first=number == 0) for number, link in enumerate(member.parents))
    elif member.kind in ("selected", "singular"):
        parents = " and ".join(link.name for link in member.parents if link.role == "parent")
        base = "".join(f" over {link.name}" for link in member.parents if link.role == "base")
        how = f"{_HOW[member.kind]} from {parents}{base}"
    else:
        how = f"rank {member.rank} added" if member.kind == "low rank" else _HOW[member.kind]
    sure = min(link.confidence for link in member.parents)
    return f"{how}{moved} ({sure:.2f}{', unsure' if sure < _UNSURE else ''}){''.join(notes)}"


def _term(link: Link, *, first: bool) -> str:
    weight = link.weight or 0.0
    sign = "-" if weight < 0 else "" if first else "+"
    return f"{sign} {abs(weight):.3g} {link.name}".strip() if sign else f"{weight:.3g} {link.name}"


def _under(member: Member, known: Mapping[str, Member]) -> str | None:
    """The parent under which it stands: the heaviest, the surest, the first."""
    parents = [link for link in member.parents if link.role == "parent" and link.name in known]
    return max(parents, key=lambda link: (link.weight or 0.0, link.confidence)).name if parents else None


def _below(family: Sequence[Member]) -> dict[str, list[Member]]:
    known = {each.name: each for each in family}
    found: dict[str, list[Member]] = {}
    for member in family:
        parent = _under(member, known)
        if parent is not None:
            found.setdefault(parent, []).append(member)
    return found


def _branch(member: Member, below: Mapping[str, list[Member]], first: str, rest: str) -> Iterator[str]:
    yield f"{first}{member.name}  {told(member)}"
    children = below.get(member.name, [])
    for number, child in enumerate(children):
        last = number == len(children) - 1
        yield from _branch(child, below, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _spots(traced: Traced) -> dict[str, tuple[int, int]]:
    """Model -> (generation, row), in the order of the text."""
    found: dict[str, tuple[int, int]] = {}
    for family in traced.families:
        known, below = {each.name: each for each in family}, _below(family)
        waiting = [each for each in reversed(family) if _under(each, known) is None]
        while waiting:
            member = waiting.pop()
            found[member.name] = (_generation(member, known), len(found))
            waiting += reversed(below.get(member.name, []))
    return found


def _generation(member: Member, known: Mapping[str, Member]) -> int:
    above = [known[link.name] for link in member.parents if link.name in known]
    return 1 + max(_generation(each, known) for each in above) if above else 0


def _place(spot: tuple[int, int]) -> tuple[float, float]:
    return _MARGIN + _COLUMN * spot[0], _MARGIN + _ROW * (spot[1] + 0.5)


def _box(spot: tuple[int, int], member: Member) -> str:
    x, y = _place(spot)
    kind = {"merged": "merge", "selected": "merge", "singular": "merge"}.get(member.kind, member.kind)
    name = member.name if len(member.name) <= 24 else f"…{member.name[-23:]}"
    return (
        f"<g><title>{escape(f'{member.name}: {told(member)}')}</title>"
        f'<rect class="model {kind}" x="{x:.0f}" y="{y - 11:.0f}" width="170" height="22" rx="4"/>'
        f'<text x="{x + 7:.0f}" y="{y:.0f}">{escape(name)}</text></g>'
    )


def _line(start: tuple[int, int], end: tuple[int, int], link: Link) -> str:
    (x1, y1), (x2, y2) = _place(start), _place(end)
    x1 += 170
    kind = "base" if link.role == "base" else "unsure" if link.confidence < _UNSURE else ""
    bend = (x1 + x2) / 2
    weight = f" {link.weight:.2f}" if link.weight is not None else ""
    return (
        f'<path class="link {kind}" d="M{x1:.0f} {y1:.0f} C{bend:.0f} {y1:.0f} {bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}">'
        f"<title>{escape(link.name)}{weight} ({link.confidence:.2f})</title></path>"
    )
