"""What the rooms say to each other about stored tensors: Header, Source, Sink. No torch until it is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

# safetensors dtype name -> (bytes per element, torch name)
_DTYPES = {
    "BOOL": (1, "bool"),
    "U8": (1, "uint8"),
    "I8": (1, "int8"),
    "F8_E4M3": (1, "float8_e4m3fn"),
    "F8_E5M2": (1, "float8_e5m2"),
    "F8_E8M0": (1, "float8_e8m0fnu"),
    "I16": (2, "int16"),
    "U16": (2, "uint16"),
    "F16": (2, "float16"),
    "BF16": (2, "bfloat16"),
    "I32": (4, "int32"),
    "U32": (4, "uint32"),
    "F32": (4, "float32"),
    "I64": (8, "int64"),
    "U64": (8, "uint64"),
    "F64": (8, "float64"),
    "C64": (8, "complex64"),
}
_NAMES = {torch_name: name for name, (_, torch_name) in _DTYPES.items()}
_SPOKEN = {"bf16": "BF16", "fp16": "F16", "half": "F16", "fp32": "F32", "float": "F32", "fp64": "F64", "double": "F64"}

MERGEABLE = frozenset({"F16", "BF16", "F32", "F64"})
"""Dtypes whose numbers may be averaged as they are."""


def dtype_names() -> tuple[str, ...]:
    return tuple(_DTYPES)


def itemsize(dtype: str) -> int:
    return _DTYPES[dtype][0]


def torch_dtype(dtype: str) -> torch.dtype:
    import torch

    return getattr(torch, _DTYPES[dtype][1])


def torch_name(dtype: str) -> str:
    """`BF16` -> `bfloat16`, as configs write it."""
    return _DTYPES[dtype][1]


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.bfloat16` -> `BF16`; KeyError for a dtype that safetensors cannot store."""
    return _NAMES[str(dtype).removeprefix("torch.")]


def spoken_dtype(text: str) -> str | None:
    """`bfloat16`, `bf16`, `BF16` -> `BF16`; None when it is no floating dtype that Ligate writes."""
    name = _SPOKEN.get(text.lower()) or _NAMES.get(text.lower()) or text.upper()
    return name if name in MERGEABLE else None


class Header(NamedTuple):
    """Dtype, shape of a tensor as a Source hands it out; `rounds_to` where a view computes in a wider dtype."""

    dtype: str
    shape: tuple[int, ...]
    rounds_to: str | None = None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * itemsize(self.dtype)

    @property
    def native(self) -> str:
        """The dtype in which a result made from this tensor is stored by default."""
        return self.rounds_to or self.dtype


class Source(Protocol):
    """A named set of tensors that can be read in ranges: a checkpoint, a view of one, an earlier result."""

    @property
    def label(self) -> str: ...  # how messages and records call it; no path

    def headers(self) -> Mapping[str, Header]: ...  # in stored order

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        """Fill `out` (writable bytes) with the elements of the flattened tensor from index `start` on."""
        ...

    def prefetch(self, name: str, start: int, stop: int) -> None:
        """Elements [start, stop) will be read soon. May do nothing."""
        ...

    def place(self, name: str) -> str:
        """The file that holds the tensor, for messages."""
        ...

    @property
    def folder(self) -> Path | None: ...  # where config and tokenizer lie; None for a bare file or memory

    def files(self) -> Sequence[Path]: ...  # every file whose change would change the numbers

    def metadata(self) -> Mapping[str, str]: ...  # of the safetensors header, `{}` elsewhere

    def close(self) -> None: ...


class Sink(Protocol):
    """Where results go: ranges of preallocated tensors, in any order, from any thread."""

    def write(self, name: str, start: int, data: memoryview) -> None: ...

    def read_back(self, name: str, start: int, out: memoryview) -> None: ...
