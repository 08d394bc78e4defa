"""What happens to models before they are measured or merged: at some places they become their base again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ligate.core.direct import After, Stored
from ligate.core.method import Direct

if TYPE_CHECKING:
    from torch import Tensor


class Before(NamedTuple):
    """The same on tensors and on stored numbers, `earlier` are values measured before."""

    tensors: Callable[..., Tensor]  # (base, tuned, site=, **earlier) -> models [K, *S]
    stored: Callable[..., None] | None = None  # (stored, **earlier), in place; None where there is no loop for it

    def of(self, base: Tensor, tuned: Tensor, **known: Any) -> Tensor:
        return self.tensors(base, tuned, **known)


def straight(before: Callable[[Mapping[str, Any]], Before], rule: Callable[..., Any]) -> Direct:
    """For a card: the rule on stored numbers, after what `before` makes of parameters and statistics."""

    def direct(known: Mapping[str, Any], models: int) -> After:
        change = before(known).stored
        return After(lambda rows: change(rows, **known) if change else None, rule(known, models))

    return direct


def nothing(base: Tensor, tuned: Tensor, **_: Any) -> Tensor:
    return tuned


UNCHANGED = Before(nothing, lambda stored, **_: None)


def cut(base: Tensor, tuned: Tensor, low: list[float], high: list[float]) -> Tensor:
    """Each model with the base where it differs from it by less than its `low` or by more than its `high`."""
    return torch.stack(list(_middles(base, tuned, low, high)))


def _middles(base: Tensor, tuned: Tensor, low: list[float], high: list[float]) -> Iterator[Tensor]:
    for model, least, most in zip(tuned, low, high, strict=True):
        if least <= 0 and most == float("inf"):
            yield model
            continue
        size = (model.detach() - base.detach()).abs()
        yield torch.where((size < size.new_tensor(least)) | (size > size.new_tensor(most)), base, model)


def cut_stored(stored: Stored, low: list[float], high: list[float]) -> None:
    for row, (least, most) in enumerate(zip(low, high, strict=True)):
        if least > 0 or most < float("inf"):
            stored.cut(row, least, most)
