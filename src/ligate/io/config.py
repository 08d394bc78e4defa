"""Change a model's config.json where the merge changed the model: the number of layers, the dtype, other keys."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ligate.core.errors import InputError

_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_TWO_STACKS = ("decoder_layers", "num_decoder_layers", "encoder_layers")
_DTYPES = ("torch_dtype", "dtype")


def edited(config: Mapping[str, Any], edits: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config with the edits made.

    `torch_dtype` is set wherever the config tells a dtype. `layers` lists, for each layer of the result, the layer of
    this model that it continues: the count and all lists with one value per layer follow; `num_hidden_layers` alone
    sets the count. Any other key is a path of keys joined by dots; None removes it.
    """
    result = copy.deepcopy(dict(config))
    for key, value in edits.items():
        if key in _DTYPES:
            _set_dtype(result, value)
        elif key == "layers":
            _set_layers(result, tuple(value))
        elif key == "num_hidden_layers":
            _set_count(result, value)
        else:
            _set_path(result, key.split("."), value)
    return result


def layer_count(config: Mapping[str, Any]) -> int | None:
    """How many layers the config tells of, wherever it does; None when it tells of none, or of two stacks."""
    place = _counted(config)
    return place[0][place[1]] if place else None


def _set_dtype(config: dict[str, Any], dtype: str) -> None:
    told = [(table, key) for table in _tables(config) for key in _DTYPES if isinstance(table.get(key), str)]
    for table, key in told:
        table[key] = dtype
    if not told:
        config["torch_dtype"] = dtype  # the older name, which every version of transformers reads


def _set_count(config: dict[str, Any], count: int) -> None:
    if _counted(config) is None and "num_hidden_layers" in config:
        config["num_hidden_layers"] = count  # told beside the counts of two stacks, which have keys of their own
        return
    table, key = _required(config)
    if table[key] != count and (lists := [name for name in table if _per_layer(name, table[name], table[key])]):
        raise InputError(
            f"has one value per layer in `{lists[0]}`, so its layers cannot just be counted",
            hint="say which layer of it each layer of the result continues.",
        )
    table[key] = count


def _set_layers(config: dict[str, Any], layers: Sequence[int]) -> None:
    table, key = _required(config)
    count = table[key]
    if outside := [layer for layer in layers if not 0 <= layer < count]:
        raise InputError(f"has {count} layers; there is no layer {outside[0]}")
    for name, value in table.items():
        if name == "mlp_only_layers" and isinstance(value, list):
            table[name] = [place for place, layer in enumerate(layers) if layer in value]
        elif _per_layer(name, value, count):
            table[name] = [value[layer] for layer in layers]
    table[key] = len(layers)


def _set_path(config: dict[str, Any], path: Sequence[str], value: Any) -> None:
    table = config
    for key in path[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise InputError(f"has no table under `{key}`")
    if value is None:
        table.pop(path[-1], None)
    else:
        table[path[-1]] = value


def _required(config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    found = _counted(config)
    if found is None:
        raise InputError(
            f"tells no single number of layers ({', '.join(_COUNTS)})",
            hint="models with an encoder and a decoder cannot be sliced by layers.",
        )
    return found


def _counted(config: Mapping[str, Any]) -> tuple[Any, str] | None:
    """The table and key that tell the number of layers; nested tables (`text_config`) only where the top is silent."""
    if any(key in config for key in _TWO_STACKS):
        return None
    found = [(config, key) for key in _COUNTS if _is_count(config.get(key))]
    if not found and isinstance(text := config.get("text_config"), dict):
        found = [(text, key) for key in _COUNTS if _is_count(text.get(key))]
    return found[0] if len(found) == 1 else None


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _per_layer(name: str, value: Any, count: int) -> bool:
    return (
        isinstance(value, list) and len(value) == count and count > 0 and ("layer" in name or name == "indexer_types")
    )


def _tables(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield config
    for key, value in config.items():
        if isinstance(value, dict) and key != "quantization_config":
            yield from _tables(value)
