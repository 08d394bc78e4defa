"""Change a model's config.json where the merge changed the model: its dtype, or any key by its path."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ligate.core.errors import InputError

DTYPE_KEYS = ("torch_dtype", "dtype")


def edited(config: Mapping[str, Any], edits: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config with the edits made.

    `torch_dtype` is set wherever the config tells a dtype. Any other key is a path of keys joined by dots
    (`text_config.num_hidden_layers`); None removes what is there.
    """
    try:
        result = copy.deepcopy(dict(config))
    except RecursionError:
        raise InputError("is nested too deeply", hint="is it a model's config?") from None
    for key, value in edits.items():
        if key in DTYPE_KEYS:
            _set_dtype(result, value)
        else:
            _set_path(result, key.split("."), value)
    return result


def tells_dtype(config: Mapping[str, Any]) -> bool:
    """Whether a config says in which dtype its model is stored."""
    return bool(_dtypes(dict(config)))


def _dtypes(config: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Where a dtype stands: table and key."""
    return [(table, key) for table in _tables(config) for key in DTYPE_KEYS if isinstance(table.get(key), str)]


def _set_dtype(config: dict[str, Any], dtype: str) -> None:
    told = _dtypes(config)
    for table, key in told:
        table[key] = dtype
    if not told:
        config["torch_dtype"] = dtype  # the older name, which every version of transformers reads


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


def _tables(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield config
    for key, value in config.items():
        if isinstance(value, dict) and key != "quantization_config":
            yield from _tables(value)
