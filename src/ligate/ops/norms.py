"""How much of the L1 norm of task vectors is left after entries were set to zero."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ligate.core import kernels
from ligate.core.direct import Stored
from ligate.core.method import Scope, Site, Stat

from .before import Before
from .rows import deltas

if TYPE_CHECKING:
    from torch import Tensor

_VANISHED = 1e-7  # a norm below this is not restored

_Norms = tuple[Sequence[float], Sequence[float]]  # per model: before, after


def l1_gain(scope: Scope, before: Before, group: Hashable = ()) -> Stat:
    """Per model, the factor that gives what is left of a task vector the L1 norm of the whole."""

    def observe(state: _Norms, base: Tensor, tuned: Tensor, *, site: Site, **earlier: Any) -> _Norms:
        kept = before.of(base, tuned, site=site, **earlier)
        return _added(state, (_lengths(base, tuned), _lengths(base, kept)))

    def direct(state: _Norms, stored: Stored, *, site: Site, **earlier: Any) -> _Norms:
        whole = stored.lengths()
        if before.stored:
            before.stored(stored, **earlier)
        return _added(state, (whole, stored.lengths()))

    return Stat(
        name="gain",
        scope=scope,
        init=lambda models: ([0.0] * models, [0.0] * models),
        observe=observe,
        merge=_added,
        finish=lambda norms: tuple(_ratio(whole, left) for whole, left in zip(*norms, strict=True)),
        report=_told,
        group=group,
        direct=direct if before.stored else None,
    )


def _lengths(base: Tensor, models: Tensor) -> Sequence[float]:
    return [kernels.length(row.reshape(-1)) for row in deltas(base.detach(), models.detach())]


def _added(a: _Norms, b: _Norms) -> _Norms:
    return [x + y for x, y in zip(a[0], b[0], strict=True)], [x + y for x, y in zip(a[1], b[1], strict=True)]


def _ratio(before: float, after: float) -> float:
    return before / after if min(before, after) >= _VANISHED else 1.0


def _told(gains: Sequence[float]) -> Mapping[str, Any]:
    return {"gain": list(gains)}
