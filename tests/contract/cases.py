"""How the contract suite calls any method: parameters as a recipe gives them, whole tensors or the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ligate.core.method import Card, Site
from ligate.core.tensors import Header, dtype_name
from ligate.engine.plan import Operand, Out, Plan
from ligate.engine.run import run
from ligate.io.memory import MemorySink, MemorySource
from ligate.methods import _catalogue
from ligate.ops import notebook

CARDS = [_catalogue.load(name) for name in _catalogue.ids()]
CARDS += [replace(card, id=f"{card.id} with a base", base="required") for card in CARDS if card.base == "optional"]
WITH_BASE = [card for card in CARDS if card.base == "required"]

NEUTRAL: Mapping[str, Any] = {
    "above": 1e9,
    "density": 1.0,
    "fence": -1e9,
    "epsilon": 0.0,
    "flatten": 0.0,
    "multiplier": 1e-20,
    "near": 1.0,
    "negative_cosine": "extrapolate",
    "no_angle": "straight",
    "normalize": True,
    "outliers": 0.0,
    "scale": 1.0,
    "share": 1.0,
    "start": "mean",
    "steps": 0,
    "t": 1.0,
    "trim": 1.0,
    "weight": 1.0,
}
"""Values at which a parameter neither drops, scales nor favours anything. A new parameter may need a line here."""

EFFORT: Mapping[str, Any] = {"steps": 20}
"""What takes the place of defaults that do nothing but cost time."""

KEEPS_NO_ROW = {"merge/slerp": "an arc changes the length of everything on it"}
"""Methods with a base that may change entries in which no model differs from it, and why."""


def models_of(card: Card, wanted: int = 3) -> int:
    fewest, most = card.models
    return max(fewest, min(wanted, most or wanted))


def resolved(card: Card, models: int, **given: Any) -> dict[str, Any]:
    """Every parameter, defaults filled in, one value per model where the card says so."""
    values = {name: given.get(name, EFFORT.get(name, param.default)) for name, param in card.params.items()}
    return {
        name: (value,) * models if card.params[name].per_model and not isinstance(value, tuple) else value
        for name, value in values.items()
    }


def neutral(card: Card, models: int) -> dict[str, Any]:
    return resolved(card, models, **{name: value for name, value in NEUTRAL.items() if name in card.params})


def variants(card: Card, models: int) -> Iterator[dict[str, Any]]:
    """The defaults; each word and switch once; the ends and the inside of every closed range."""
    yield resolved(card, models)
    for param in card.params.values():
        values: Sequence[Any] = param.choices or ((True, False) if param.kind is bool else ())
        if param.limit and 0 <= param.limit.low < param.limit.high <= 1:
            values = (param.limit.low, 0.3, param.limit.high)
        for value in values:
            if value != param.default:
                yield resolved(card, models, **{param.name: value})
    if "weight" in card.params:
        yield resolved(card, models, weight=tuple(0.2 + 0.3 * k for k in range(models)))
        yield resolved(card, models, weight=tuple(1.0 if k else -0.4 for k in range(models)))


def draw(card: Card, shape: Sequence[int], *, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Any, Tensor]:
    """A base (None where the card uses none) and models near it, as fine-tuning makes them."""
    g = torch.Generator().manual_seed(seed)
    base = torch.randn(tuple(shape), generator=g, dtype=torch.float64) * 0.02
    tuned = base + torch.randn((models_of(card), *shape), generator=g, dtype=torch.float64) * 0.002
    return (base.to(dtype) if card.base == "required" else None), tuned.to(dtype)


def labels(models: int) -> list[str]:
    return [f"m{k}" for k in range(models)]


def place(tuned: Tensor, *, seed: int = 0) -> Site:
    return notebook.site("w", tuned.shape[1:], labels(len(tuned)), seed=seed)


def call(card: Card, base: Tensor | None, tuned: Tensor, params: Mapping[str, Any], *, seed: int = 0) -> Tensor:
    """The rule on whole tensors, as in a notebook."""
    return card.function(base, tuned, site=place(tuned, seed=seed), **params)


def merge(
    card: Card,
    base: Tensor | None,
    tuned: Tensor,
    params: Mapping[str, Any],
    *,
    seed: int = 0,
    names: Sequence[str] | None = None,
    threads: int = 1,
) -> Tensor:
    """The same through plan and engine, in the inputs' own dtype."""
    names = names or labels(len(tuned))
    sources = [MemorySource(name, {"w": model}) for name, model in zip(names, tuned, strict=True)]
    operands = tuple(Operand(k, "w") for k in range(len(tuned)))
    origin = None
    if base is not None:
        sources.append(MemorySource("base", {"w": base}))
        origin = Operand(len(tuned), "w")
    out = Out("w", dtype_name(tuned.dtype), tuple(tuned.shape[1:]), card.id, operands, origin, params)
    sink = MemorySink({"w": Header(out.dtype, out.shape)})
    plan = Plan(tuple(source.label for source in sources), (out,), seed=seed)
    run(plan, sources, lambda name: replace(card, id=name), sink, threads=threads)
    return sink.state_dict()["w"]
