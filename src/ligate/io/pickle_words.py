"""The few names that the pickle of plain tensors may use, and the inert values that stand for them here.

Nothing of torch is imported and nothing that a pickle names is ever looked up: a name that is not in these tables
is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ligate.core.errors import InputError

STORAGES: Mapping[str, str] = {
    "torch.DoubleStorage": "F64",
    "torch.FloatStorage": "F32",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
    "torch.ComplexFloatStorage": "C64",
    "torch.storage.UntypedStorage": "U8",
}
DTYPES: Mapping[str, str] = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint64": "U64",
    "torch.uint32": "U32",
    "torch.uint16": "U16",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
    "torch.complex64": "C64",
    "torch.float8_e4m3fn": "F8_E4M3",
    "torch.float8_e5m2": "F8_E5M2",
    "torch.float8_e8m0fnu": "F8_E8M0",
}
_SAVE_TENSORS = "where you trust it, load it with the program that wrote it and save `model.state_dict()` alone."


class Name(NamedTuple):
    """A class or function that a pickle names; one of those known here."""

    words: str  # "torch._utils._rebuild_tensor_v2"


class Storage(NamedTuple):
    """A run of numbers in a record of the archive."""

    dtype: str
    key: str
    numel: int


class StoredTensor(NamedTuple):
    """A view of a storage; offset and strides count elements of `dtype`."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass
class Unlike:
    """A value that is neither a tensor nor plain data."""

    kind: str


def known_name(module: str, name: str) -> Name:
    """The inert stand-in of a name; InputError for one that plain tensors do not need."""
    words = f"{module}.{name}"
    if words in STORAGES or words in DTYPES or words in _CALLS:
        return Name(words)
    if words.startswith("torch.") and words.endswith("Storage"):
        raise InputError(
            f"it holds a `{words}`, which safetensors cannot store", hint="convert it to a common dtype first."
        )
    raise InputError(f"it names `{words[:80]}`, which could run code; only plain tensors are read", hint=_SAVE_TENSORS)


def called(function: Any, arguments: Any) -> Any:
    """What the call of a known name with these arguments stands for."""
    if not isinstance(function, Name) or not isinstance(arguments, tuple):
        raise ValueError("it calls what is no function")
    if function.words not in _CALLS:
        raise InputError(f"it calls `{function.words}`; only plain tensors are read", hint=_SAVE_TENSORS)
    return _CALLS[function.words](*arguments)


def stored(persistent: Any) -> Storage:
    """The storage that a persistent id speaks of: ("storage", kind, key, device, number of elements)."""
    match persistent:
        case ("storage", Name(kind), str(key), str(), int(numel)) if kind in STORAGES and _is_count(numel):
            return Storage(STORAGES[kind], key, numel)
        case _:
            raise ValueError("it refers to something else than a storage")


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any = False, _hooks: Any = None, metadata: Any = None
) -> StoredTensor:
    return _checked_tensor(storage, offset, size, stride, metadata, dtype=None)


def _tensor_of_dtype(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, metadata: Any = None
) -> StoredTensor:
    if not isinstance(dtype, Name) or dtype.words not in DTYPES:
        raise ValueError("a tensor has no dtype")
    return _checked_tensor(storage, offset, size, stride, metadata, dtype=DTYPES[dtype.words])


def _checked_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, metadata: Any, dtype: str | None
) -> StoredTensor:
    if not isinstance(storage, Storage) or not _is_count(offset):
        raise ValueError("a tensor has no storage")
    if not _are_counts(size) or not _are_counts(stride) or len(size) != len(stride):
        raise ValueError("the shape or strides of a tensor are no whole numbers")
    if isinstance(metadata, dict) and any(metadata.values()):
        raise InputError(
            f"a tensor is stored {' and '.join(map(str, metadata))}", hint="save it with `.resolve_conj()`."
        )
    return StoredTensor(storage, dtype or storage.dtype, offset, tuple(size), tuple(stride))


def _parameter(data: Any, *_rest: Any) -> Any:
    return data


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    table: dict[Any, Any] = {}
    for key, value in pairs:
        set_item(table, key, value)
    return table


def _size(numbers: Any = ()) -> tuple[Any, ...]:
    return tuple(numbers) if isinstance(numbers, (list, tuple)) else (numbers,)


def _unlike(kind: str) -> Callable[..., Unlike]:
    return lambda *arguments: Unlike(kind)


_CALLS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _size,
    "torch.device": _unlike("a device"),
    "collections.OrderedDict": _ordered_dict,
    "__builtin__.set": _unlike("a set"),
    "builtins.set": _unlike("a set"),
    "_codecs.encode": _unlike("bytes"),
}


def set_item(table: dict[Any, Any], key: Any, value: Any) -> None:
    """Keys are plain (to look up a tuple of tuples of tuples can take forever) and stand there once."""
    if not (key is None or isinstance(key, (str, int, float, bytes))):
        raise ValueError("a key is no plain value")
    if key in table:
        raise InputError(f"it holds {repr(key)[:80]} twice", hint="save it again with one tensor of that name.")
    table[key] = value


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _are_counts(values: Any) -> bool:
    return isinstance(values, tuple) and all(map(_is_count, values))
