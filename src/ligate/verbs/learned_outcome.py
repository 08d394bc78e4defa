"""What learned numbers come to in an ordinary rule: weights of task vectors; factors where weights say too little."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.errors import InputError
from ligate.recipe.schema import MeasuredSpec, Recipe, Setting, SourceSpec

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.learn.gradient import Learned
    from ligate.learn.parametrisations import Parametrisation

    from .lesson import Lesson

WEIGHTED, SCALED = "merge/task_arithmetic", "merge/scaled"
_BY_FACTORS = {WEIGHTED: SCALED, "merge/tsv_m": "merge/tsv_scaled"}  # where weights of a rule say too little
_FACTOR = "factor"
_UNASKED = ""  # stands for tensors that were not learned

Made = Callable[[str], "Tensor"]
"""Parameter of the network -> factors of its shape."""


@dataclass(frozen=True)
class Outcome:
    """Args:
    weights: tensor of the result -> a weight for each model; `rest`: those of all others.
    factors: model -> name of the file with its factors; empty where weights say all.
    method: whose weights they are, or, with factors, whose factors.
    """

    weights: Mapping[str, Sequence[float]]
    rest: Sequence[float]
    factors: Mapping[str, str]
    method: str = WEIGHTED

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Outcome:
        return cls(data["weights"], data["rest"], data["factors"], data["method"])


def outcome(taken: Lesson, found: Learned) -> tuple[Outcome, dict[str, Made]]:
    """What was learned, exactly, and what is to be written: file name -> factors by parameter.

    Raises:
        InputError: the merge that was learned is no sum of scaled task vectors.
    """
    models = taken.chosen.models
    start = taken.chosen.preset.parametrisation.start({_UNASKED: (1,)}, len(models))
    rest = _at_start(taken, start)
    if mask := _mask(found):
        coefficients, made = mask
        return Outcome(_weights(taken, coefficients), rest, dict.fromkeys(models, _file()), SCALED), {_file(): made}
    told = {name: _uniform(found.by, name, shape, found.numbers, len(models)) for name, shape in _shapes(taken).items()}
    rule = taken.chosen.preset.rule
    if (taken.chosen.preset.experts is None or rule != WEIGHTED) and None not in told.values():
        return Outcome(_weights(taken, lambda name: told[name] or ()), rest, {}, rule), {}
    files = {model: _file(model) for model in models}
    ones = (1.0,) * len(models)
    made = {files[model]: _factors(taken, found, index) for index, model in enumerate(models)}
    weights = dict.fromkeys(taken.places.values(), ones)
    return Outcome(weights, rest if taken.left else ones, files, _BY_FACTORS[rule]), made


def ordinary(recipe: Recipe, found: Outcome, folder: Path, account: dict[str, Any]) -> Recipe:
    """The recipe that a learned merge comes to."""
    step = recipe.steps[0]
    each = [
        Setting("weight", value, model, glob.escape(place))
        for place, values in found.weights.items()
        if list(values) != list(found.rest)
        for model, value in zip(step.models, values, strict=True)
    ]
    rest = [Setting("weight", value, model) for model, value in zip(step.models, found.rest, strict=True)]
    settings = (*each, *rest)
    if not found.factors:
        step = replace(step, method=found.method, settings=(Setting("scale", 1.0), *settings))
        return replace(recipe, steps=(step,), data=None, learned=account)
    labels = {file: f"{'merge' if len(set(found.factors.values())) == 1 else model}+{_FACTOR}"
              for model, file in found.factors.items()}  # fmt: skip
    sources = {label: SourceSpec(label, str(folder / file)) for file, label in labels.items()}
    measured = tuple(MeasuredSpec(_FACTOR, labels[file], model) for model, file in found.factors.items())
    step = replace(step, method=found.method, settings=settings, measured=measured)
    return replace(recipe, steps=(step,), sources={**recipe.sources, **sources}, data=None, learned=account)


def _file(model: str = "") -> str:
    return f"factors{'-' if model else ''}{model}.safetensors"


def _shapes(taken: Lesson) -> dict[str, tuple[int, ...]]:
    return {name: tuple(one.shape) for name, one in taken.network.module.named_parameters()}


def _weights(taken: Lesson, of: Callable[[str], Sequence[float]]) -> dict[str, Sequence[float]]:
    return {place: list(of(name)) for name, place in taken.places.items()}


def _at_start(taken: Lesson, numbers: Mapping[str, Tensor]) -> list[float]:
    """The coefficients of a tensor of one number before anything is learned."""
    found = taken.chosen.preset.parametrisation
    return [float(one) for one in _multipliers(found, _UNASKED, (1,), numbers, len(taken.chosen.models))]


def _multipliers(
    by: Parametrisation, name: str, shape: Sequence[int], numbers: Mapping[str, Tensor], models: int
) -> list[Tensor]:
    """For each model what its delta is multiplied with: the merge of a delta of ones and of others of zeros."""
    import torch

    base = torch.zeros(tuple(shape))
    found: list[Tensor] = []
    for index in range(models):
        deltas = torch.zeros(models, *shape)
        deltas[index] = 1.0
        with torch.no_grad():
            found.append(by.merged(name, base, deltas, numbers))
    return found


def _uniform(
    by: Parametrisation, name: str, shape: Sequence[int], numbers: Mapping[str, Tensor], models: int
) -> list[float] | None:
    """One coefficient for each model, if the whole tensor has it."""
    found = _multipliers(by, name, shape, numbers, models)
    if any(one.numel() and bool((one != one.flatten()[0]).any()) for one in found):
        return None
    return [float(one.flatten()[0]) if one.numel() else 0.0 for one in found]


def _mask(found: Learned) -> tuple[Callable[[str], Sequence[float]], Made] | None:
    """Coefficients, and the mask over its mean, of a merge whose experts share a mask."""
    from ligate.learn.masks import Held, Masked

    held = found.by.held if isinstance(found.by, Held) else {}
    by = found.by.by if isinstance(found.by, Held) else found.by
    if not isinstance(by, Masked):
        return None
    numbers = {**held, **found.numbers}
    inner = by.coefficients

    def coefficients(name: str) -> list[float]:
        told = inner.coefficients(numbers["" if inner.per == "task" else name])
        return [float(one) for one in told.reshape(len(told), -1)[:, 0]]

    def made(name: str) -> Tensor:
        mask = by.mask(name, numbers, None)
        return mask / mask.mean()

    return coefficients, made


def _factors(taken: Lesson, found: Learned, index: int) -> Made:
    """Of one model: its multipliers, and zero where its task vector was cleared before anything was learned."""
    from ligate.learn.processed import elected, orthogonal

    preset, (base, *experts) = taken.chosen.preset, taken.models
    if preset.experts not in (None, elected, orthogonal):
        text = f"what `{taken.chosen.method}` makes of the experts is no sum of scaled task vectors"
        raise InputError(text, where="learn", hint="learn in Python, and save the network.")
    cleared = preset.merged(base, experts)[index] if preset.experts is elected else None

    def made(name: str) -> Tensor:
        shape = tuple(base[name].shape)
        told = _multipliers(found.by, name, shape, found.numbers, len(experts))[index]
        return told if cleared is None else told * (cleared[name] != base[name].float())

    return made
