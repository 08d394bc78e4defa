"""How much of the L1 norm of task vectors is left after entries were set to zero."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ligate.core.method import Scope, Site, Stat

if TYPE_CHECKING:
    from torch import Tensor

_VANISHED = 1e-7  # a norm below this is not restored

_Norms = tuple[Sequence[float], Sequence[float]]  # per model: before, after


def l1_gain(
    scope: Scope,
    full: Callable[..., Iterable[Tensor]],
    kept: Callable[..., Iterable[Tensor]],
    group: Hashable = (),
) -> Stat:
    """Per model, the factor that gives what is left of a task vector the L1 norm of the whole.

    Both callables take (base, tuned, site=, **earlier) and give one row per model.
    """

    def observe(state: _Norms, base: Tensor, tuned: Tensor, *, site: Site, **earlier: Any) -> _Norms:
        before = [_l1(row) for row in full(base, tuned, site=site, **earlier)]
        after = [_l1(row) for row in kept(base, tuned, site=site, **earlier)]
        return _added(state, (before, after))

    return Stat(
        name="gain",
        scope=scope,
        init=lambda models: ([0.0] * models, [0.0] * models),
        observe=observe,
        merge=_added,
        finish=lambda norms: tuple(_ratio(before, after) for before, after in zip(*norms, strict=True)),
        report=_told,
        group=group,
    )


def _l1(row: Tensor) -> float:
    return float(row.abs().sum(dtype=torch.float64))


def _added(a: _Norms, b: _Norms) -> _Norms:
    return [x + y for x, y in zip(a[0], b[0], strict=True)], [x + y for x, y in zip(a[1], b[1], strict=True)]


def _ratio(before: float, after: float) -> float:
    return before / after if min(before, after) >= _VANISHED else 1.0


def _told(gains: Sequence[float]) -> Mapping[str, Any]:
    return {"gain": list(gains)}
