"""A mixture of experts as a config describes it: which dense models, and which prompts each of them is there for.

The config is mergekit-moe's, read with the care of our own recipes: an unknown key is an error with its line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ligate.core.errors import LigateError, RecipeError
from ligate.core.suggest import nearest
from ligate.core.tensors import spoken_dtype

from .dialects.mergekit_models import labels, source
from .dialects.mergekit_syntax import Reference, reference
from .nodes import Item, Reading, read_all
from .schema import Place, SourceSpec

RANDOM = frozenset({"random", "uniform_random"})
HIDDEN = frozenset({"hidden", "hidden_avg", "hidden_last"})
GATE_MODES = (*sorted(HIDDEN), "cheap_embed", *sorted(RANDOM))

_TOP = ("base_model", "gate_mode", "dtype", "experts_per_token", "experts", "shared_experts", "architecture")
_EXPERT = ("source_model", "positive_prompts", "negative_prompts", "noise_scale", "residual_scale")
_HOMES = {
    **dict.fromkeys(_TOP, "at the top of the config"),
    **dict.fromkeys(_EXPERT, "to an entry of `experts:`"),
    "model": "under the name `source_model:`",
    "merge_method": "to a merge: `ligate merge` runs it, `ligate moe` builds mixtures",
}


@dataclass(frozen=True)
class Expert:
    """A dense model whose feed-forward layers become an expert of each layer."""

    model: str  # label
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    noise: float = 0.0  # standard deviation of what is added to its weights
    residual: float = 1.0  # factor of its last projection
    place: Place = Place()


@dataclass(frozen=True)
class Mixture:
    """What a config asks for. `base` gives attention, embeddings and norms; problems keep it from being built."""

    base: str
    sources: Mapping[str, SourceSpec]
    experts: tuple[Expert, ...]
    shared: tuple[Expert, ...]
    gate_mode: str
    chosen: int  # experts per token
    dtype: str | None
    architecture: str | None
    place: Place
    problems: tuple[LigateError, ...]


def read_mixture(path: str | Path) -> Mixture:
    """The config in a file.

    Raises:
        RecipeError: it cannot be read, or is no YAML.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise RecipeError("no such config", where=str(path), hint="see docs/moe.md for one to start from.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot be read: {error}", where=str(path)) from None
    return mixture_text(text, path.name)


def mixture_text(text: str, name: str = "config") -> Mixture:
    """As `read_mixture`, for a text; `name` stands in messages."""
    (first, *others), problems = read_all(text, name)
    reading = Reading()
    for other in others[:1]:
        reading.problem("a second document", other.place, "a config describes one mixture.")
    return _mixture(reading, first, problems)


def _mixture(reading: Reading, item: Item, problems: Sequence[LigateError]) -> Mixture:
    fields = reading.fields(item, "the config of a mixture", _TOP, _HOMES)
    base = _model(reading, fields, "base_model", item)
    routed = [_expert(reading, entry) for entry in reading.entries(fields.get("experts"), "`experts`")]
    shared = [_expert(reading, entry) for entry in reading.entries(fields.get("shared_experts"), "`shared_experts`")]
    if not routed and not reading.misspelt(item, "experts"):
        reading.problem("`experts:` is missing or empty", (fields.get("experts") or item).place, "list two or more.")
    known = labels([base, *(one for one, _ in (*routed, *shared))], ())
    places = {one: expert.place for one, expert in (*routed, *shared)} | {base: item.place}
    mode = _gate_mode(reading, fields)
    chosen = reading.whole(fields.get("experts_per_token"), "`experts_per_token`", min(2, max(len(routed), 1)))
    found = Mixture(
        base=known[base],
        sources={label: source(one, label, places[one]) for one, label in known.items() if one.path},
        experts=tuple(replace(expert, model=known[one]) for one, expert in routed),
        shared=tuple(replace(expert, model=known[one]) for one, expert in shared),
        gate_mode=mode,
        chosen=chosen,
        dtype=_dtype(reading, fields),
        architecture=reading.text(fields.get("architecture"), "`architecture`"),
        place=item.place,
        problems=(),
    )
    _check_chosen(reading, found, fields.get("experts_per_token") or item)
    if mode not in RANDOM:
        _check_prompts(reading, found)
    return replace(found, problems=(*problems, *reading.problems))


def _model(reading: Reading, fields: Mapping[str, Item], key: str, around: Item) -> Reference:
    item = fields.get(key)
    found = reference(reading, item, [])
    if found is None and (item is None or item.value is None) and not reading.misspelt(around, key):
        reading.problem(f"`{key}:` is missing", around.place, "a folder, or org/name on the Hub.")
    return found or Reference("")


def _expert(reading: Reading, item: Item) -> tuple[Reference, Expert]:
    fields = reading.fields(item, "an expert", _EXPERT, _HOMES)
    expert = Expert(
        "",
        _prompts(reading, fields.get("positive_prompts"), "`positive_prompts`"),
        _prompts(reading, fields.get("negative_prompts"), "`negative_prompts`"),
        noise=_number(reading, fields.get("noise_scale"), "`noise_scale`", 0.0, least=0.0),
        residual=_number(reading, fields.get("residual_scale"), "`residual_scale`", 1.0),
        place=item.place,
    )
    return _model(reading, fields, "source_model", item), expert


def _prompts(reading: Reading, item: Item | None, what: str) -> tuple[str, ...]:
    found = [reading.text(entry, f"an entry of {what}") for entry in reading.entries(item, what)]
    return tuple(text for text in found if text is not None)


def _number(reading: Reading, item: Item | None, what: str, default: float, least: float = -math.inf) -> float:
    if item is None or item.value is None:
        return default
    value = float(reading.number(item, what, default))
    if not math.isfinite(value) or value < least:
        reading.problem(f"{what} must be a finite number{' of at least 0' if least == 0 else ''}", item.place)
        return default
    return value


def _gate_mode(reading: Reading, fields: Mapping[str, Item]) -> str:
    item = fields.get("gate_mode")
    mode = reading.text(item, "`gate_mode`") or "hidden"
    if item is not None and mode not in GATE_MODES:
        reading.problem(f"`gate_mode: {mode}` is not known", item.place, nearest(mode, GATE_MODES))
        return "random"  # so that nothing else is said about prompts
    return mode


def _dtype(reading: Reading, fields: Mapping[str, Item]) -> str | None:
    item = fields.get("dtype")
    written = reading.text(item, "`dtype`")
    name = spoken_dtype(written.removeprefix("torch.")) if written else None
    if item is not None and written and name is None:
        hint = nearest(written, ("float16", "bfloat16", "float32", "float64"))
        reading.problem(f"`dtype: {written}` is no dtype that a model can be written in", item.place, hint)
    return name


def _check_chosen(reading: Reading, mixture: Mixture, item: Item) -> None:
    if mixture.experts and not 1 <= mixture.chosen <= len(mixture.experts):
        text = f"`experts_per_token` must be from 1 to {len(mixture.experts)}, the number of experts"
        reading.problem(f"{text}. Got {mixture.chosen} instead.", item.place)


def _check_prompts(reading: Reading, mixture: Mixture) -> None:
    """Gates are made of prompts: each expert needs some, and not all may have the same."""
    for number, expert in enumerate(mixture.experts, 1):
        if not expert.positive:
            hint = "write what should go to it; or `gate_mode: random`, if the mixture will be trained."
            reading.problem(f"expert {number} has no `positive_prompts:`", expert.place, hint)
    asked = {(expert.positive, expert.negative) for expert in mixture.experts}
    if len(mixture.experts) > 1 and len(asked) == 1 and mixture.experts[0].positive:
        hint = "describe for each expert what should be routed to it."
        reading.problem("all experts have the same prompts: nothing would tell them apart", mixture.place, hint)
