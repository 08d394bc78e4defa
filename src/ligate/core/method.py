"""`@method` pins a card on an ordinary function and returns the same function; the engine reads the card.

A rule is called once per block of a tensor: `rule(base, tuned, *, site, **stats, **params) -> block`.
    base    [B] or None; tuned [K, B]; float32 for 16-bit checkpoints, float64 for 32- and 64-bit ones
    site    where the block lies; None in a notebook; left out for a rule that does not take it
    stats   values measured in earlier passes over the whole tensor or model; a rule computes a missing one itself
    measured    tensors that a recipe's `measured:` names, which somebody measured or learned from data before. Reach
        block and row: [K, B], cut as the models are; of the whole step: [B]. Reach tensor: K whole tensors of any
        shape; of the whole step: one. None where the measured sources have no tensor of this name
It returns [B] in the dtype it was given. Only the sink rounds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from .direct import Rule
from .params import Param, read_params

if TYPE_CHECKING:
    from torch import Tensor

Scope = Literal["tensor", "model"]
Reach = Literal["block", "row", "tensor"]
Given = Literal["model", "step"]
"""Whether each model has a measured tensor of its own, or all models of a step share one."""


class Site(NamedTuple):
    """All a rule may know besides numbers."""

    name: str  # of the output tensor
    shape: tuple[int, ...]  # of the whole tensor
    start: int  # index of the block's first element in the flattened tensor
    noise: Callable[[int, int], Tensor]  # (model, step) -> uniform [B]; the same numbers in every pass


class Again(NamedTuple):
    """Returned by `finish` to ask for one more pass that starts from `state`."""

    state: Any


class Stat(NamedTuple):
    """One measurement over a tensor (or the whole model) that a rule needs before it can be applied.

    Each segment of a tensor starts from an `init(K)` of its own, and the segments' states are merged in order. A pass
    ends with `finish(state)`: the value, or `Again(state)`: then every segment starts from that state (which must be
    neutral under merge apart from its settings, and must not be written to). In scope "model" the states of all tensors
    are merged in the order of the plan. `sample` limits a first look to about so many elements of each tensor, at
    places fixed by the shape alone.
    """

    name: str  # the keyword under which later stats and the rule receive the value
    scope: Scope
    init: Callable[[int], Any]
    observe: Callable[..., Any]  # observe(state, base, tuned, *, site, **earlier, **measured) -> state
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Any]
    report: Callable[[Any], Mapping[str, Any]] | None = None  # value -> plain data for the record
    sample: Callable[[Any], int | None] = lambda state: None  # state at the start of a pass -> elements, or all
    group: Hashable = ()  # scope "model": only tensors with equal groups are measured together, each by its own observe
    pick: Callable[[Any, str], Any] | None = None  # scope "model": (value, tensor name) -> what the tensor gets of it
    direct: Callable[..., Any] | None = None  # direct(state, stored, **earlier) -> state, as observe, without torch


Direct = Callable[[Mapping[str, Any], int], Rule]
"""(params and statistics, models) -> what the rule comes to, for stored numbers that compiled loops merge directly."""

Scratch = Callable[[Mapping[str, Any], tuple[int, ...], int], int]
"""(params, shape, models) -> bytes that one call of the rule needs besides its operands and its result."""


@dataclass(frozen=True)
class Card:
    """What recipes, the command line, the docs and the engine know of a method. `id` is its path below methods/."""

    id: str
    title: str
    source: str
    function: Callable[..., Any]
    params: Mapping[str, Param]
    base: Literal["required", "optional", "unused"]
    models: tuple[int, int | None]  # fewest and most models besides the base
    symmetric: bool  # the order of the models is irrelevant
    reach: Reach  # what one call must see at once
    stats: Callable[[Mapping[str, Any]], Sequence[Stat]]
    check: Callable[[Mapping[str, Any]], None]  # raises RecipeError for values that do not go together
    direct: Direct | None = None
    scratch: Scratch | None = None  # a few copies of the block where it is not declared
    measured: Mapping[str, Given] = field(default_factory=dict)  # keyword -> whose tensors the rule takes under it

    @property
    def foreign(self) -> bool:
        """Whether somebody else wrote the rule."""
        return not self.function.__module__.startswith("ligate.")

    @cached_property
    def takes_site(self) -> bool:
        """Whether the rule wants to know where its block lies; most rules of users do not."""
        params = inspect.signature(self.function).parameters.values()
        return any(param.name == "site" or param.kind is param.VAR_KEYWORD for param in params)

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


def method(
    *,
    title: str,
    source: str,
    base: Literal["required", "optional", "unused"],
    models: tuple[int, int | None] = (1, None),
    symmetric: bool = False,
    reach: Reach = "block",
    stats: Callable[[Mapping[str, Any]], Sequence[Stat]] = lambda params: (),
    stat_names: Sequence[str] = (),
    check: Callable[[Mapping[str, Any]], None] = lambda params: None,
    direct: Direct | None = None,
    scratch: Scratch | None = None,
    measured: Mapping[str, Given] = MappingProxyType({}),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Pin a `Card` on a function as `function.card`. `stat_names` are keywords that the engine fills, not recipes."""
    for what, given, known in (("reach", (reach,), Reach), ("measured", measured.values(), Given)):
        for word in given:
            if word not in get_args(known):
                raise TypeError(f"{what} '{word}' is none of {', '.join(get_args(known))}")

    def pin(function: Callable[..., Any]) -> Callable[..., Any]:
        params = read_params(function, skip=("site", *stat_names, *measured))
        name = ".".join(function.__module__.split(".")[-2:-1] + [function.__name__])
        function.card = Card(  # type: ignore[attr-defined]
            name.replace(".", "/"),
            title,
            source,
            function,
            params,
            base,
            models,
            symmetric,
            reach,
            stats,
            check,
            direct,
            scratch,
            measured,
        )
        return function

    return pin
