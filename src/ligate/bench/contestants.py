"""Who takes part in a contest: references, merges by any method of the catalogue, and networks that vote."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import yaml

from ligate.bench.suite import JOINT, PRETRAINED, Group, How, Use, World
from ligate.core.errors import RecipeError
from ligate.core.method import Card
from ligate.core.suggest import nearest
from ligate.learn.presets import PRESETS
from ligate.learn.settings import with_settings, with_shares
from ligate.methods import _catalogue

AVERAGE = "average"
SCALE = "scale"  # in every rule that has it, a factor of what is added to the base
_SUMS = ("task_arithmetic", "dare_linear", "breadcrumbs", "della_linear", "magmax")  # of N task vectors: small scales
LEARN = "learn/"
_WRITTEN = re.compile(r"([\w/]+)\s*(?:\((.*)\))?$")


class Search(NamedTuple):
    """A positive `scale` is looked for between two values, by ratios."""

    low: float
    high: float

    def next(self, tried: Mapping[float, float], budget: int) -> float | None:
        """What to try next: first an even grid with most of the budget, then beside the best value so far.

        `tried` maps values to what they are worth, more being better; of equals the smallest value counts as the best.
        None when the budget is spent, or when the values beside the best have its first three digits.
        """
        grid = self.grid(budget)
        if len(tried) < len(grid):
            return grid[len(tried)]
        if len(tried) >= budget:
            return None
        values = sorted(tried)
        at = values.index(best(tried))
        gaps = [(values[i], values[i + 1]) for i in (at - 1, at) if 0 <= i < len(values) - 1]
        low, high = max(gaps, key=lambda gap: gap[1] / gap[0])
        between = _rounded(math.sqrt(low * high))
        return None if between in tried else between

    def grid(self, budget: int) -> list[float]:
        count = max(2, math.ceil(0.6 * budget))
        step = (self.high / self.low) ** (1 / (count - 1))
        return [_rounded(self.low * step**i) for i in range(count)]


class Stored(NamedTuple):
    """A network of the world as it is."""

    label: str


class Own(NamedTuple):
    """Each task asks the expert that was trained for it."""


class BestSingle(NamedTuple):
    """The expert with the best average on the validation paper."""


class Vote(NamedTuple):
    how: How
    by_size: bool = False


class Taught(NamedTuple):
    """A merge of all experts whose numbers are learned from inputs of the validation part."""

    preset: str
    settings: Mapping[str, float | str | bool] = {}
    per_class: int | None = None  # examples of each class, at most
    batch: int = 12
    by_size: bool = False  # a gate begins at the experts' training examples


class Rule(NamedTuple):
    """A merge of all experts."""

    method: str  # full id
    fixed: Mapping[str, float | str | bool] = {}
    search: Search | None = None
    by_size: bool = False  # experts weigh as many training examples as they saw


@dataclass(frozen=True)
class Contestant:
    id: str
    title: str
    group: Group
    uses: Sequence[Use]
    kind: Stored | Own | BestSingle | Vote | Rule | Taught
    note: str = ""
    coefficient: str = field(init=False, default="")

    def __post_init__(self) -> None:
        search = self.kind.search if isinstance(self.kind, Rule) else None
        object.__setattr__(self, "coefficient", SCALE if search else "")


def best(tried: Mapping[float, float]) -> float:
    """The value that is worth most; of equals the smallest."""
    return min(tried, key=lambda value: (-tried[value], value))


def contestants(world: World, methods: Sequence[str]) -> list[Contestant]:
    """The references and votes that a world has, and the merges: the average first, then those asked for."""
    sized = len({one.size for one in world.experts}) > 1
    rules = [averaged(), *([averaged(by_size=True)] if sized else [])]
    rules += [one for one in map(merged, methods) if one.id != AVERAGE]
    return [*_references(world), *rules, *_votes(sized)]


def averaged(by_size: bool = False) -> Contestant:
    if by_size:
        rule = Rule("merge/linear", by_size=True)
        return Contestant("average-sized", "average by size", "merge", ("nothing",), rule, "weights: training examples")
    return Contestant(AVERAGE, "average", "merge", ("nothing",), Rule("merge/linear"))


def merged(written: str) -> Contestant:
    """A method as a user writes it: `ties`, `merge/tsv_m`, `ties(density=0.1)`, `tsv_m(scale=1.0)`.

    A method that has a `scale` which the text does not set gets it from a search on the validation paper.

    Raises:
        RecipeError: no such method or parameter, or it does not take several models.
    """
    fits = _WRITTEN.match(written.strip())
    if fits is None:
        raise RecipeError(f"'{written}' is not the name of a method", hint="write `ties` or `ties(density=0.1)`.")
    if fits[1] == AVERAGE:
        return averaged()
    if fits[1].startswith(LEARN):
        return _taught(fits[1].removeprefix(LEARN), fits[2] or "", written)
    card = _catalogue.load(fits[1])
    fixed = {name: _value(card, name, text) for name, text in _pairs(fits[2] or "", written)}
    fewest, most = card.models
    if (most is not None and most < 3) or fewest > 2:
        raise RecipeError("takes one model beside the base" if most == 1 else f"takes {most} models", where=card.id)
    short = card.id.rpartition("/")[2]
    search = search_of(short) if SCALE in card.params and SCALE not in fixed else None
    uses: tuple[Use, ...] = ("validation labels",) if search else ("nothing",)
    name = short + (f"({fits[2].replace(' ', '')})" if fits[2] else "")
    title = card.title + (f" ({fits[2]})" if fits[2] else "")
    return Contestant(name, title, "merge", uses, Rule(card.id, fixed, search))


def _taught(name: str, text: str, written: str) -> Contestant:
    """A preset of learned merging, as `learn/adamerging(steps=100)`."""
    if name not in PRESETS:
        raise RecipeError(f"there is no preset '{name}' of learned merging", hint=nearest(name, PRESETS))
    settings = {key: yaml.safe_load(value) for key, value in _pairs(text, written)}
    per_class, batch = settings.pop("per_class", None), settings.pop("batch", Taught("").batch)
    for key, value in (("per_class", per_class), ("batch", batch)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise RecipeError(f"`{key}` is {value!r}, and counts examples", where=written)
    by_size = settings.pop("by_size", False)
    if not isinstance(by_size, bool):
        raise RecipeError(f"`by_size` is {by_size!r}, and may be true or false", where=written)
    preset = with_settings(PRESETS[name], settings, written)
    if by_size:
        with_shares(preset, [1.0], written)  # which tells presets without a gate
    uses: tuple[Use, ...] = ("validation labels",) if "labels" in preset.objective.needs else ("unlabelled inputs",)
    kind = Taught(name, settings, per_class, batch, by_size)
    title = name.replace("_", " ") + (f" ({text})" if text else "")
    return Contestant(written.replace(" ", ""), title, "merge", uses, kind, f"learned; {preset.source}")


def search_of(short: str) -> Search:
    return Search(0.05, 2.0) if short in _SUMS else Search(0.2, 5.0)


def recipe_text(
    rule: Rule, world: World, value: float | None, paths: Mapping[str, str], dtype: str | None = None
) -> str:
    """The merge as a recipe, with the coefficient set. Without `dtype` the result is stored as the models are."""
    card = _catalogue.load(rule.method)
    labels = [one.label for one in world.experts]
    with_base = card.base != "unused" and PRETRAINED in paths
    merge: dict[str, object] = {"method": rule.method}
    if with_base:
        merge["base"] = PRETRAINED
    merge["models"] = labels
    parameters: dict[str, object] = dict(rule.fixed)
    if rule.search is not None and value is not None:
        parameters[SCALE] = value
    if rule.by_size:
        parameters["weight"] = {one.label: float(one.size) for one in world.experts}
    if parameters:
        merge["parameters"] = parameters
    sources = {label: paths[label] for label in ([PRETRAINED] if with_base else []) + labels}
    output = {"output": {"dtype": dtype}} if dtype else {}
    return yaml.safe_dump({"sources": sources, "merge": merge, **output, "seed": world.seed}, sort_keys=False)


def _references(world: World) -> list[Contestant]:
    there = {one.label for one in world.others}
    found: list[Contestant] = []
    if PRETRAINED in there:
        found.append(Contestant(PRETRAINED, "pretrained", "reference", ("nothing",), Stored(PRETRAINED)))
    uses: tuple[Use, ...] = ("validation labels",)
    found.append(Contestant("best-single", "best single model", "reference", uses, BestSingle()))
    if any(task.expert for task in world.tasks):
        uses = ("router", "extra storage")
        note = "each task asks its own expert"
        found.append(Contestant("individual", "individual experts", "reference", uses, Own(), note))
    if JOINT in there:
        note = "trained on everything together"
        found.append(Contestant(JOINT, "joint training", "reference", ("training data",), Stored(JOINT), note))
    return found


def _votes(sized: bool) -> list[Contestant]:
    hows: tuple[How, ...] = ("logits", "probabilities")
    kinds = [Vote(how) for how in hows] + ([Vote(how, by_size=True) for how in hows] if sized else [])
    return [_vote(kind) for kind in kinds]


def _vote(kind: Vote) -> Contestant:
    name = f"ensemble-{kind.how}" + ("-sized" if kind.by_size else "")
    title = f"ensemble, mean {kind.how}" + (" by size" if kind.by_size else "")
    return Contestant(name, title, "ensemble", ("extra storage",), kind)


def _pairs(text: str, written: str) -> list[tuple[str, str]]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if any(not sign for _, sign, _ in pairs):
        raise RecipeError(f"'{written}': a parameter is set like `density=0.1`", where="--methods")
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _value(card: Card, name: str, text: str) -> float | str | bool:
    if name not in card.params:
        raise RecipeError(f"has no parameter '{name}'; it has {', '.join(card.params)}", where=card.id)
    value = yaml.safe_load(text)
    if not isinstance(value, (int, float, str, bool)):
        raise RecipeError(f"'{text}' is no value for `{name}`", where=card.id)
    return value


def _rounded(value: float) -> float:
    """Three digits: a coefficient that a person can type."""
    return float(f"{value:.3g}")
