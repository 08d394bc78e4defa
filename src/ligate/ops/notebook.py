"""What the engine does for a rule, done at once for a rule that is called by hand on whole tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ligate.core.draw import uniform
from ligate.core.errors import InputError, RecipeError
from ligate.core.method import Again, Site, Stat

if TYPE_CHECKING:
    from torch import Tensor


def site(name: str, shape: Sequence[int], models: Sequence[str], *, seed: int = 0) -> Site:
    """Where a whole tensor lies; its noise is that of a merge with this seed, these labels and this tensor name."""
    numel = math.prod(shape)

    def noise(model: int, step: int = 0) -> Tensor:
        return torch.from_numpy(uniform(seed, name, models[model], step, 0, numel)).view(tuple(shape))

    return Site(name, tuple(shape), 0, noise)


def complete(
    stats: Sequence[Stat], base: Tensor | None, tuned: Tensor, place: Site | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The statistics a rule was given, and those it was not, measured on these tensors; None where none is needed."""
    known = dict(given)
    earlier: dict[str, Any] = {}
    for stat in stats:
        if known.get(stat.name) is None:
            with torch.no_grad():
                known[stat.name] = _measured(stat, base, tuned, place, earlier)
        earlier[stat.name] = known[stat.name]
    return known


def _measured(stat: Stat, base: Tensor | None, tuned: Tensor, place: Site | None, earlier: Mapping[str, Any]) -> Any:
    if tuned.dtype not in (torch.float32, torch.float64):
        raise InputError(f"measures `{stat.name}` in float32 or float64, not in {tuned.dtype}", hint="call .float().")
    flat = tuned.detach().reshape(len(tuned), -1)
    flat_base = None if base is None else base.detach().reshape(-1)
    outcome: Any = Again(stat.init(len(tuned)))
    while isinstance(outcome, Again):
        step = _stride(stat.sample(outcome.state), flat.shape[1])
        here = _thinned(place, tuple(tuned.shape[1:]), step)
        part = None if flat_base is None else flat_base[::step]
        outcome = stat.finish(stat.observe(outcome.state, part, flat[:, ::step], site=here, **earlier))
    return stat.pick(outcome, place.name if place else "") if stat.pick else outcome


def _stride(sample: int | None, numel: int) -> int:
    return 1 if sample is None else max(1, numel // sample)


def _thinned(place: Site | None, shape: tuple[int, ...], step: int) -> Site:
    def noise(model: int, draw: int = 0) -> Tensor:
        if place is None:
            raise no_noise()
        return place.noise(model, draw).reshape(-1)[::step]

    return Site(place.name if place else "", shape, 0, noise)


def no_noise() -> RecipeError:
    return RecipeError("a random rule needs to know where it is", hint="pass site=ligate.ops.notebook.site(...).")
