"""Which of the values in a saved checkpoint are its weights, and that nothing in it is left out without a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ligate.core.errors import InputError

from .pickle_words import Name, Storage, StoredTensor, Unlike

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "params", "net")
_TWINS = ("state_dict_ema", "ema_state_dict", "model_ema", "ema", "params_ema")
_SAVE_ONE = "load it and save the one that is meant alone: `torch.save(checkpoint[...], path)`."
_SAVE_TENSORS = "save it again without that entry."


def tensors_of(value: Any) -> Mapping[str, StoredTensor]:
    """The tensors by name: those of the dictionary, or of the one well-known entry that wraps them.

    What lies beside the wrapped state dict is the state of a training run, not of the model. What lies in the state
    dict itself is never skipped: an entry that is no tensor is an error.
    """
    if not isinstance(value, dict):
        raise InputError(f"it holds {_spoken(value)}, not a dictionary of tensors", hint="save `model.state_dict()`.")
    table = _unwrapped(value)
    for name, entry in table.items():
        if not isinstance(name, str):
            raise InputError(f"it names a tensor {name!r}, which is no text", hint="save `model.state_dict()`.")
        if not isinstance(entry, StoredTensor):
            raise InputError(f"`{name[:80]}` is {_spoken(entry)}, not a tensor", hint=_SAVE_TENSORS)
    return table


def _unwrapped(table: dict[Any, Any]) -> dict[Any, Any]:
    wraps = [key for key in (*_WRAPPERS, *_TWINS) if _holds_tensors(table.get(key))]
    if any(isinstance(entry, StoredTensor) for entry in table.values()):
        if wraps:
            raise InputError(f"it holds tensors both in `{wraps[0]}` and beside it", hint=_SAVE_ONE)
        return table
    if len(wraps) > 1:
        spoken = " and ".join(f"`{key}`" for key in wraps)
        raise InputError(f"it holds several sets of tensors: {spoken}", hint=_SAVE_ONE)
    if not wraps:
        inside = [str(key)[:80] for key, entry in table.items() if _holds_tensors(entry)]
        where = f"; there are some in `{'`, `'.join(inside[:5])}`" if inside else ""
        raise InputError(f"it holds no tensors where a state dict has them{where}", hint=_SAVE_ONE)
    return table[wraps[0]]


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(entry, StoredTensor) for entry in value.values())


def _spoken(value: Any) -> str:
    kinds: dict[type, str] = {
        dict: "a dictionary",
        list: "a list",
        tuple: "a tuple",
        str: "text",
        bytes: "bytes",
        bytearray: "bytes",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "nothing",
        Storage: "a bare storage",
        Name: "a name",
        StoredTensor: "a single tensor",
    }
    return value.kind if isinstance(value, Unlike) else kinds.get(type(value), "something else")
