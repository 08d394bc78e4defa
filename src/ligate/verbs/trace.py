"""Who descends from whom: a folder of checkpoints, or one child and the parents that it may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ligate.core.errors import InputError, LigateError
from ligate.core.tensors import Source
from ligate.io.folder import INDEX, looks_like_model, model_weights
from ligate.io.views import prefix_between, stripped

from .claims import findings
from .opening import Skipped, labels_of, open_readable
from .watch import Nobody, Watch

if TYPE_CHECKING:
    from ligate.trace.lineage import Descent, Lineage

Place = str | PathLike[str]

_DEEP = 4  # folders below the one that is given
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class Link:
    """A model that another was made from. `weight` in a linear merge; `base` is what a merge was seen from."""

    name: str
    role: Literal["parent", "base"]
    weight: float | None
    confidence: float


@dataclass(frozen=True)
class Member:
    """One model of a folder and where it came from.

    Args:
        kind: root, alone (related to nobody here), tuned, low rank, copied, rounded, quantised, pruned, locked,
            merged (a weighted sum), selected (element by element, as TIES and DARE do), singular (in singular
            vectors, as Iso-C, TSV-Merge and KnOTS do).
        rank, equal, changed, foreign: of the change from the only parent: its rank, and in how many tensors nothing,
        numbers or coordinates changed.
        absent: its children look like its siblings: their common parent may not be here.
        record: what its ligate.json claims and the weights do not bear out.
    """

    name: str
    path: str
    kind: str
    parents: tuple[Link, ...]
    family: int
    rank: int | None = None
    equal: int | None = None
    changed: int | None = None
    foreign: int | None = None
    reordered: bool = False
    absent: bool = False
    record: tuple[str, ...] = ()


@dataclass(frozen=True)
class Traced:
    members: tuple[Member, ...]
    skipped: tuple[Skipped, ...]

    def member(self, name: str) -> Member:
        return next(each for each in self.members if each.name == name)

    @property
    def families(self) -> tuple[tuple[Member, ...], ...]:
        """Models that are related, the largest families first."""
        known: dict[int, list[Member]] = {}
        for each in self.members:
            known.setdefault(each.family, []).append(each)
        return tuple(tuple(each) for each in sorted(known.values(), key=lambda family: (-len(family), family[0].name)))


def trace_tree(folder: Place, *, watch: Watch | None = None) -> Traced:
    """Trace all models below a folder. What cannot be read is listed, and all others are traced.

    Raises:
        InputError: the folder is not there, or holds fewer than two models that can be read.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(
            "is no folder", where=str(folder), hint="for single models: `ligate trace CHILD --parents A B`."
        )
    places = {path.relative_to(root).as_posix(): str(path) for path in _models(root, _DEEP)}
    return _traced(places, watch or Nobody(), youngest=None, where=str(folder))


def trace_child(child: Place, parents: Sequence[Place], *, watch: Watch | None = None) -> Traced:
    """Which of these models one came from, if from any; the first member is the child.

    Raises:
        InputError: the child, or all of the others, cannot be read.
    """
    paths = [str(child), *(str(parent) for parent in parents)]
    places = dict(zip(labels_of(paths), paths, strict=True))
    found = _traced(places, watch or Nobody(), youngest=next(iter(places)), where=str(child))
    if found.members[0].path != str(child):
        raise InputError(found.skipped[0].why, where=str(child))
    return found


def _models(folder: Path, deep: int) -> Iterator[Path]:
    """Folders and single files that hold one model each, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if _holds_model(path):
                yield path
            elif deep:
                yield from _models(path, deep - 1)
        elif path.name.endswith(INDEX) or (path.suffix in _WEIGHTS and not _is_shard(path)):
            yield path


def _holds_model(folder: Path) -> bool:
    """One that cannot be read counts too: it is told why."""
    try:
        return looks_like_model(folder) or bool(model_weights(folder))
    except LigateError:
        return True
    except OSError:
        return False


def _is_shard(path: Path) -> bool:
    return any(path.parent.glob(f"*{INDEX}"))


def _traced(places: Mapping[str, str], watch: Watch, *, youngest: str | None, where: str) -> Traced:
    from ligate.trace.lineage import lineage

    skipped: list[Skipped] = []
    with ExitStack() as stack:
        sources = _agreeing(open_readable(places, skipped, stack))
        if len(sources) < 2 or (youngest and youngest not in sources):
            raise InputError(
                "there are no two models that can be read"
                + "".join(f"\n  {each.name}: {each.why}" for each in skipped),
                where=where,
            )
        names = list(sources)
        total = sum(header.nbytes for source in sources.values() for header in source.headers().values())
        watch.begin("tracing", total)
        try:
            found = lineage(list(sources.values()), watch.advance, youngest=names.index(youngest) if youngest else None)
        finally:
            watch.end()
        members = tuple(_member(each, names, places, found) for each in found.descents)
        claimed = findings({name: Path(places[name]) for name in names}, members, sources)
    skipped += [
        Skipped(f"{names[each.model]}{f': {each.tensor}' if each.tensor else ''}", each.why) for each in found.lost
    ]
    return Traced(tuple(replace(each, record=claimed.get(each.name, ())) for each in members), tuple(skipped))


def _agreeing(sources: dict[str, Source]) -> dict[str, Source]:
    """Without what some classes put in front of all names: as the model with the shortest names calls them."""
    if not sources:
        return sources
    shortest = min(sources.values(), key=lambda source: sum(map(len, source.headers())) / max(1, len(source.headers())))
    plain = tuple(shortest.headers())
    found: dict[str, Source] = {}
    for name, source in sources.items():
        prefix = None if source is shortest else prefix_between(tuple(source.headers()), plain)
        found[name] = stripped(source, prefix) if prefix else source
    return found


def _member(each: Descent, names: Sequence[str], places: Mapping[str, str], found: Lineage) -> Member:
    links = tuple(Link(names[one.model], one.role, one.weight, round(one.confidence, 4)) for one in each.origins)
    family = next(number for number, family in enumerate(found.families) if each.model in family)
    name, how = names[each.model], each.making
    moved = each.model in found.reordered
    member = Member(name, places[name], each.kind, links, family, reordered=moved, absent=each.absent)
    return replace(member, **how._asdict()) if how else member
