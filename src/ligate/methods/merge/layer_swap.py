"""Layer swapping: every block of the result is taken whole from the model to which it matters most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import torch

from ligate.core import kernels
from ligate.core.errors import RecipeError
from ligate.core.layers import blocks
from ligate.core.method import Site, Stat, method
from ligate.core.params import PerModel, Range
from ligate.ops.fitting import with_base
from ligate.ops.notebook import complete
from ligate.ops.rows import per_model

if TYPE_CHECKING:
    from torch import Tensor


class Wishes(NamedTuple):
    """What was asked for. Tensors of one layer for which it differs are blocks of their own."""

    compare: str
    preference: tuple[float, ...]
    margin: float
    least: float


class Seen(NamedTuple):
    """Of one tensor, or of all tensors of a block: sums of squares."""

    wishes: Wishes
    base: float
    changes: tuple[float, ...]  # per model, of the task vector


class Choice(NamedTuple):
    """The models of which a block is made; none stands for the base."""

    models: tuple[int, ...]
    changes: tuple[float, ...]  # per model, the length of the block's task vector over that of the base


def _stats(params: Mapping[str, Any]) -> Sequence[Stat]:
    def observe(seen: dict[str, Seen], base: Tensor, tuned: Tensor, *, site: Site) -> dict[str, Seen]:
        wishes, start = _wishes(params, len(tuned)), base.double()
        changes = tuple(_square(model.double() - start) for model in tuned)
        return _merged(seen, {site.name: Seen(wishes, _square(start), changes)})

    return (
        Stat(
            name="choice",
            scope="model",
            init=lambda models: {},
            observe=observe,
            merge=_merged,
            finish=_choices,
            report=_told,
            pick=lambda choices, name: choices[name],
        ),
    )


def _wishes(params: Mapping[str, Any], models: int) -> Wishes:
    preference = per_model(params["preference"], models, name="preference")
    return Wishes(params["compare"], preference, params["margin"], params["least"])


def _square(numbers: Tensor) -> float:
    return float(torch.dot(numbers.reshape(-1), numbers.reshape(-1)))


def _merged(one: dict[str, Seen], other: Mapping[str, Seen]) -> dict[str, Seen]:
    """By tensor; the first is taken over."""
    for name, seen in other.items():
        one[name] = _added(one[name], seen) if name in one else seen
    return one


def _added(one: Seen, other: Seen) -> Seen:
    changes = tuple(a + b for a, b in zip(one.changes, other.changes, strict=True))
    return Seen(one.wishes, one.base + other.base, changes)


def _choices(seen: Mapping[str, Seen]) -> Mapping[str, Choice]:
    """The choice for each tensor, made for its block as a whole."""
    block_of = blocks(seen)
    found: dict[tuple[str, Wishes], Seen] = {}
    for name, own in seen.items():
        key = block_of[name], own.wishes
        found[key] = _added(found[key], own) if key in found else own
    totals = reduce(_added, seen.values()).changes
    chosen = {key: _choice(own, totals) for key, own in found.items()}
    return {name: chosen[block_of[name], own.wishes] for name, own in seen.items()}


def _choice(block: Seen, totals: Sequence[float]) -> Choice:
    wishes = block.wishes
    changes = tuple(_ratio(change, block.base) for change in block.changes)
    wanted = [k for k, preference in enumerate(wishes.preference) if preference > 0]
    if max(changes[k] for k in wanted) < wishes.least:
        return Choice((), changes)
    against = totals if wishes.compare == "share" else [1.0] * len(totals)
    scores = {k: wishes.preference[k] * _ratio(block.changes[k], against[k]) for k in wanted}
    best = max(scores.values())
    return Choice(tuple(k for k in wanted if scores[k] * (1 + wishes.margin) >= best), changes)


def _ratio(square: float, of: float) -> float:
    """Of two lengths, from their squares; nothing is 0 of nothing, and more than that is infinitely much."""
    if not square:
        return 0.0
    return math.sqrt(square / of) if of else math.inf


def _told(choice: Choice) -> Mapping[str, Any]:
    changes = [change if math.isfinite(change) else None for change in choice.changes]
    return {"taken_from": list(choice.models), "changes": changes}


def _check(params: Mapping[str, Any]) -> None:
    preference = params["preference"]
    if not any([preference] if isinstance(preference, (int, float)) else preference):
        raise RecipeError("the preference of every model is 0", hint="give one of them a preference above 0.")


@method(
    title="Layer swapping",
    source="arXiv:2410.01335",
    base="required",
    symmetric=True,
    stats=_stats,
    stat_names=("choice",),
    check=_check,
)
def layer_swap(
    base: Tensor,
    tuned: Tensor,
    *,
    site: Site | None = None,
    choice: Choice | None = None,
    compare: Literal["share", "length"] = "share",
    preference: Annotated[float | Sequence[float], Range(0), PerModel()] = 1.0,
    margin: Annotated[float, Range(0)] = 0.0,
    least: Annotated[float, Range(0)] = 0.0,
) -> Tensor:
    r"""Take each block whole from the model whose task vector has the largest part of its length there.

    .. math::
        \theta_b = \frac{1}{|W_b|} \sum_{k \in W_b} \theta_{k,b}, \quad
        W_b = \{k : (1 + m)\, s_{kb} \ge \max_j s_{jb}\}, \quad
        s_{kb} = p_k \frac{\lVert \tau_{k,b} \rVert}{\lVert \tau_k \rVert}, \quad \tau_k = \theta_k - \theta_0

    A block b is a layer; outside the layers it is a module (embeddings, final norm, head), with all its tensors. With
    m = ``margin`` = 0 one model gets the block, or, of exactly equal scores, all of them, averaged; a larger margin
    averages models that are nearly as strong. ``compare: length`` leaves out the division by the length of the whole
    task vector, so that a model which changed more wins everywhere. In a notebook one tensor is the whole model, in
    which all shares are 1. :math:`p_k` = ``preference``: a model with 0 does
    not get the block; giving all others 0, for layers by name pattern, chooses by hand. A block that no model with a
    preference has changed by ``least`` times the length of the base stays the base's. Where these parameters differ
    within a layer, its tensors with equal ones are a block.

    Shapes: ``base`` [*S]; ``tuned`` [K, *S] for K models, float; returns [*S]. Dtypes are the engine's.
    Source: arXiv:2410.01335, which swaps the bottom and top layers of a model tuned for a task with those of a model
        tuned for a language, with weighted averages in the layers between.
    Differs: the paper chooses the layers by hand, after looking at where fine-tuning changed each model most; the
        scores that choose here are ours. By hand it is ``preference`` by pattern, and for averaged layers (with equal
        weights) a ``margin`` as large as 1e9. The authors' code was not compared.

    Raises:
        InputError: there is no base, or ``tuned[0]`` and ``base`` differ in shape.
        RecipeError: no model has a preference above 0.

    >>> import torch
    >>> layer_swap(torch.zeros(2), torch.tensor([[1.0, 2.0], [3.0, 0.0]]), compare="length")
    tensor([3., 0.])
    """
    with_base(base, tuned, where="merge/layer_swap")
    params = {"compare": compare, "preference": preference, "margin": margin, "least": least}
    _check(params)
    known: Choice = complete(_stats(params), base, tuned, site, {"choice": choice})["choice"]
    if len(known.models) < 2:
        return (tuned[known.models[0]] if known.models else base).clone()
    rows = tuned[list(known.models)].reshape(len(known.models), -1)
    return kernels.add_weighted(base.reshape(-1), rows, [1.0] * len(rows), 1 / len(rows), models=True).view(base.shape)
