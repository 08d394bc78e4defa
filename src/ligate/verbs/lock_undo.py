"""How strong is a lock? What somebody who has the model it was made of gets back of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ligate.align.alignment import Alignment, Made
from ligate.align.architecture import given_architecture
from ligate.align.finding import Network, found_alignment
from ligate.align.maps import AxisMap, mapped
from ligate.align.view import in_coordinates
from ligate.core.errors import InputError, RecipeError
from ligate.core.suggest import nearest
from ligate.trace.heads import in_heads
from ligate.trace.undoing import undone

from .alignments import network
from .given import Size, given_bytes
from .lock import alignment_of
from .lock_signs import own_weights, weights_beside
from .opening import label_of, opened
from .parallel import one_processor
from .sources import source_spec
from .transformed import Telling, write_transformed
from .undertaking import How
from .watch import Nobody, Watch
from .workplace import put_back

if TYPE_CHECKING:
    from torch import Tensor

Path_ = str | PathLike[str]
Maps = tuple[AxisMap, ...]

_UNDONE = "A lock was undone with the help of the model that it was made of, as far as that goes."


@dataclass(frozen=True)
class Attack:
    """What one way of attack gets back. Distances are shares of the norm of the reference.

    Args:
        distance: of the result from the reference, over the matrices on which any group of units lies.
        cosine: of the recovered task vector with the true one; None without the original.
        error: of the recovered weights, as a share of the norm of the true task vector; None without the original.
    """

    by: str
    distance: float
    cosine: float | None
    error: float | None


@dataclass(frozen=True)
class Undone:
    """`locked` is the distance before, `original` that of the model as it was before it was locked, if it is known."""

    out: str | None
    reference: str
    locked: float
    original: float | None
    attacks: tuple[Attack, ...]  # the last one is written to `out`
    notes: tuple[str, ...]


def by_heads(locked: Network, base: Network) -> Maps:
    """The gauge of each head by least squares (`trace.undoing`)."""
    return undone(own_weights(locked.source), weights_beside(locked, base), in_heads(locked.groups))


def by_alignment(locked: Network, base: Network) -> Maps:
    """All units of the network matched with the base's (`ligate align`): orders and streams come back, too."""
    with one_processor():
        return found_alignment(base, locked, "weights", starts=1).maps


def by_both(locked: Network, base: Network) -> Maps:
    first = by_alignment(locked, base)
    aligned = locked._replace(source=in_coordinates(locked.source, Alignment(first, Made("align"))))
    return (*first, *by_heads(aligned, base))


ATTACKS: Mapping[str, Callable[[Network, Network], Maps]] = {
    "heads": by_heads,
    "align": by_alignment,
    "both": by_both,
}
"""By the name that `--by` uses."""


def undo_lock(
    model: Path_,
    reference: Path_,
    out: Path_ | None = None,
    *,
    by: Sequence[str] = ("heads",),
    original: Path_ | None = None,
    groups: Path_ | None = None,
    architecture: str | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> Undone:
    """Bring a locked model back to the coordinates of `reference`, the model it was made of or a relative of that.

    Whatever is found keeps the function of the model. With the `original`, the model before it was locked, what is
    found is also compared with the truth. With `out`, the result of the last attack is written there.

    Raises:
        RecipeError, InputError: an option is wrong, a model cannot be read or traced, or they do not fit together.
        StorageError: the output is taken or cannot be written.
    """
    unknown = [one for one in by if one not in ATTACKS]
    if unknown or not by:
        word = unknown[0] if unknown else ""
        raise RecipeError(f"there is no attack `{word}`", where="--by", hint=nearest(word, ATTACKS))
    watch = watch or Nobody()
    if out is not None and (note := put_back(Path(out))):
        watch.note(note)
    build = None if architecture is None else lambda: given_architecture(architecture)
    by_hand = None if groups is None else str(groups)
    with opened(model) as stored, opened(reference) as other, opened(original or model) as true:
        locked, base = (network(one, by_hand, build) for one in (stored, other))
        if not in_heads(locked.groups):
            raise InputError("it has no heads of attention that could be locked", where=f"model {stored.label}")
        truth = network(true, by_hand, build) if original is not None else None
        attacks, maps = list[Attack](), Maps()
        for one in by:
            maps = ATTACKS[one](locked, base)
            attacks.append(_measured(one, maps, locked, base, truth))
        before = _measured("", (), locked, base, None).distance
        there = None if truth is None else _measured("", (), truth, base, None).distance
        notes = _written(
            stored.label, model, locked, maps, out, How(threads, _bytes(memory), overwrite=overwrite), watch
        )
        told = None if out is None else str(out)
        return Undone(told, other.label, before, there, tuple(attacks), notes)


def _written(
    label: str, model: Path_, locked: Network, maps: Maps, out: Path_ | None, how: How, watch: Watch
) -> tuple[str, ...]:
    if out is None:
        return ()
    spec = source_spec(label_of(str(model)), str(model), "")
    alignment = alignment_of(locked, maps, Made("undo"))
    return write_transformed(spec, alignment, Path(out), Telling("unlocked", _UNDONE, {}), how, watch).notes


def _measured(by: str, maps: Maps, locked: Network, base: Network, truth: Network | None) -> Attack:
    """Tensor by tensor, so that only one of each model is in memory."""
    own, origin = own_weights(locked.source), weights_beside(locked, base)
    true = None if truth is None else weights_beside(locked, truth)
    sums = _Sums()
    for name in sorted({place.tensor for group in locked.groups for place in group.places}):
        if locked.source.headers()[name].shape[1:]:
            start = origin[name].double()
            found = mapped(name, own[name].double(), maps) - start
            sums.add(start, found, None if true is None else true[name].double() - start)
    return Attack(by, sums.distance, *sums.agreement)


class _Sums:
    """Squares and products of task vectors, added up over tensors."""

    def __init__(self) -> None:
        self._base = self._found = 0.0
        self._true = self._both = math.nan

    def add(self, base: Tensor, found: Tensor, true: Tensor | None) -> None:
        self._base += float(base.square().sum())
        self._found += float(found.square().sum())
        if true is not None:
            first = math.isnan(self._true)
            self._true = (0.0 if first else self._true) + float(true.square().sum())
            self._both = (0.0 if first else self._both) + float((found * true).sum())

    @property
    def distance(self) -> float:
        return math.sqrt(self._found / self._base) if self._base else math.nan

    @property
    def agreement(self) -> tuple[float | None, float | None]:
        """Cosine, and the distance of both as a share of the true one; None where there is no true one."""
        if not self._true > 0 or not self._found > 0:
            return None, None
        lost = max(self._found + self._true - 2 * self._both, 0.0)
        return self._both / math.sqrt(self._found * self._true), math.sqrt(lost / self._true)


def _bytes(memory: Size | None) -> int | None:
    return None if memory is None else given_bytes(memory)
