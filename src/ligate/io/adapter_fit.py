"""Which tensor of a model each tensor of an adapter changes, and how; what does not fit is named in an error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ligate.core.errors import InputError
from ligate.core.tensors import MERGEABLE, Header, Source

from .adapter_config import CONFIG, AdapterConfig
from .low_rank import LowRank
from .views import PREFIXES

MERGE_WITH_PEFT = "merge it with `PeftModel.merge_and_unload()` and name the result instead."

_ROOT = "base_model.model."
_PART = re.compile(
    r"(?P<module>.+)\.(?P<kind>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(\.default)?(?P<end>|\.weight|\.bias)"
)
_PARTS = {
    ("lora_A", ".weight"): "down",
    ("lora_B", ".weight"): "up",
    ("lora_B", ".bias"): "bias",
    ("lora_embedding_A", ""): "embedding_down",
    ("lora_embedding_B", ""): "embedding_up",
    ("lora_magnitude_vector", ""): "magnitude",
    ("lora_magnitude_vector", ".weight"): "magnitude",
}
_ANOTHER_MODEL = "is it the model that the adapter was trained on?"

Parts = Mapping[str, str]  # "down" -> name in the adapter
Shape = tuple[int, ...]


class Shift(NamedTuple):
    """A bias of the adapter, added to one of the model."""

    name: str
    scaling: float


class Fit(NamedTuple):
    """By name in the model: tensors that others take the place of, weights changed at low rank, biases shifted."""

    replaced: Mapping[str, str]
    low_rank: Mapping[str, LowRank]
    shifts: Mapping[str, Shift]


def fit_adapter(base: Source, adapter: Source, config: AdapterConfig) -> Fit:
    """Every tensor of the adapter with its place in the model; one that has none is an error."""
    modules, plain = _sorted_names(adapter)
    way = _renaming(base, [f"{module}.weight" for module in modules] + list(plain))
    replaced = {_base_name(name, way, base): stored for name, stored in plain.items()}
    weights = {_base_name(f"{module}.weight", way, base): module for module in modules}
    if len(replaced) < len(plain) or len(weights) < len(modules):
        raise InputError("two of the adapter's tensors speak of the same tensor of the model")
    headers = base.headers()
    low_rank = {
        name: _low_rank(module, modules[module], config, headers[name].shape, adapter)
        for name, module in weights.items()
    }
    linear = {name: what for name, what in low_rank.items() if "down" in modules[weights[name]]}
    _refuse_unclear_squares(linear, headers, config)
    return Fit(replaced, low_rank, _shifts(modules, config, way, base, adapter))


def _sorted_names(adapter: Source) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The adapter's tensors: by module and part, and those that stand for a whole tensor of the model by its name."""
    modules: dict[str, dict[str, str]] = {}
    plain: dict[str, str] = {}
    for stored in adapter.headers():
        found = _PART.fullmatch(stored)
        part = _PARTS.get((found["kind"], found["end"])) if found else None
        if found is None and ".lora_" not in stored and "trainable_tokens" not in stored:
            _enter(plain, _plain_name(stored), stored)
        elif found is None or part is None:
            raise InputError(f"{stored!r} is no part of a LoRA adapter that Ligate knows", hint=MERGE_WITH_PEFT)
        else:
            _enter(modules.setdefault(_plain_name(found["module"]), {}), part, stored)
    if not modules and not plain:
        raise InputError("the adapter holds no tensors")
    return modules, plain


def _enter(table: dict[str, str], key: str, stored: str) -> None:
    if key in table:
        raise InputError(f"{stored!r} and {table[key]!r} speak of the same tensor")
    table[key] = stored


def _plain_name(stored: str) -> str:
    """The name in the model that was trained, without what PEFT wraps around it."""
    name = stored.removeprefix(_ROOT).replace(".base_layer.", ".").removesuffix(".base_layer")
    return name.replace(".modules_to_save.default.", ".")


def _renaming(base: Source, wanted: Sequence[str]) -> tuple[str, str]:
    """Prefix to take off and prefix to put on so that all the adapter's names are the model's; simplest first."""
    headers = base.headers()
    ways = [(off, on) for off in ("", *PREFIXES) for on in ("", *PREFIXES)]
    ways.sort(key=lambda way: (way[0] != "") + (way[1] != ""))
    fits = (way for way in ways if all(_renamed(name, way) in headers for name in wanted))
    return next(fits, ("", ""))


def _renamed(name: str, way: tuple[str, str]) -> str:
    off, on = way
    return on + name.removeprefix(off)


def _base_name(name: str, way: tuple[str, str], base: Source) -> str:
    found = _renamed(name, way)
    if found not in base.headers():
        known = next(iter(base.headers()), "")
        raise InputError(
            f"it changes {name!r}, which model {base.label} does not have",
            hint=f"{_ANOTHER_MODEL} Its first tensor is {known!r}.",
        )
    return found


def _low_rank(module: str, parts: Parts, config: AdapterConfig, shape: Shape, adapter: Source) -> LowRank:
    """How a module's factors lie over a weight of this shape; InputError when they do not fit it or the config."""
    embedding = "embedding_" if "embedding_down" in parts or "embedding_up" in parts else ""
    names = [parts.get(f"{embedding}{part}") for part in ("down", "up")]
    if None in names or (embedding and parts.keys() & {"down", "up", "bias"}):
        raise InputError(f"module {module!r} needs one A and one B; the adapter has {', '.join(parts.values())}")
    down, up = map(str, names)
    a, b = _floats(adapter, down), _floats(adapter, up)
    rank = config.rank_of(module)
    if a.shape[:1] != (rank,) or b.shape[1:2] != (rank,):
        raise InputError(
            f"{down!r} {list(a.shape)} and {up!r} {list(b.shape)} are not of rank {rank}, as {CONFIG} says",
            hint="the file and its config do not belong together.",
        )
    transposed = bool(embedding) or _lies_transposed(a.shape, b.shape, shape, config)
    inputs, outputs = (shape[:1], shape[1:]) if transposed else (shape[1:], shape[:1])
    if a.shape[1:] != inputs or b.shape[:1] != outputs or b.numel != b.shape[0] * rank or not a.numel * b.numel:
        raise InputError(
            f"{down!r} {list(a.shape)} and {up!r} {list(b.shape)} do not fit a weight of {list(shape)}",
            hint=_ANOTHER_MODEL,
        )
    return LowRank(
        down=down,
        up=up,
        rank=rank,
        rows=shape[0],
        columns=b.shape[0] if transposed else a.numel // rank,
        scaling=config.scaling_of(module),
        transposed=transposed,
        magnitude=_magnitude(module, parts, config, b.shape[0], adapter),
    )


def _lies_transposed(a: Shape, b: Shape, shape: Shape, config: AdapterConfig) -> bool:
    """[in, out] instead of [out, in]: by the shape, and where it is square by the config."""
    if len(shape) != 2:
        return False
    return config.transposed if shape[0] == shape[1] else shape == (*a[1:], *b[:1])


def _refuse_unclear_squares(
    linear: Mapping[str, LowRank], headers: Mapping[str, Header], config: AdapterConfig
) -> None:
    """PEFT decides by the class of a layer; where other layers contradict the config, a square one tells nothing."""
    flat = [name for name in linear if len(headers[name].shape) == 2]
    square = [name for name in flat if linear[name].rows == linear[name].columns]
    against = [name for name in flat if name not in square and linear[name].transposed != config.transposed]
    if square and against:
        raise InputError(
            f"which way {square[0]!r} lies cannot be told: `fan_in_fan_out` is {str(config.transposed).lower()}, "
            f"but {against[0]!r} lies the other way",
            hint=MERGE_WITH_PEFT,
        )


def _magnitude(module: str, parts: Parts, config: AdapterConfig, outputs: int, adapter: Source) -> str | None:
    name = parts.get("magnitude")
    if (name is not None) != config.dora:
        has = f"has {name!r}" if name else "has no magnitude"
        raise InputError(f"`use_dora` is {str(config.dora).lower()}, but module {module!r} {has}")
    if name is not None and _floats(adapter, name).numel != outputs:
        raise InputError(f"{name!r} has {adapter.headers()[name].numel:,} numbers for {outputs:,} outputs")
    return name


def _shifts(
    modules: Mapping[str, Parts], config: AdapterConfig, way: tuple[str, str], base: Source, adapter: Source
) -> dict[str, Shift]:
    found: dict[str, Shift] = {}
    for module, parts in modules.items():
        if ("bias" in parts) != (config.biased and "embedding_down" not in parts):
            raise InputError(f"`lora_bias` is {str(config.biased).lower()}, which module {module!r} contradicts")
        if "bias" in parts:
            name = _base_name(f"{module}.bias", way, base)
            if _floats(adapter, parts["bias"]).shape != base.headers()[name].shape:
                raise InputError(f"{parts['bias']!r} does not have the shape of {name!r}")
            found[name] = Shift(parts["bias"], config.scaling_of(module))
    return found


def _floats(adapter: Source, name: str) -> Header:
    header = adapter.headers()[name]
    if header.dtype not in MERGEABLE:
        raise InputError(f"{name!r} is {header.dtype}; floating-point numbers are needed")
    return header
