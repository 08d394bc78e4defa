"""Tensors in memory become one safetensors file, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ligate.core.tensors import Header, dtype_name

from .ranges import cannot_write
from .safetensors import build_header

if TYPE_CHECKING:
    from torch import Tensor

_NOTHING: Mapping[str, str] = MappingProxyType({})


def save_tensors(
    tensors: Mapping[str, Tensor], path: str | os.PathLike[str], metadata: Mapping[str, str] = _NOTHING
) -> None:
    """Write the file in one step: a reader sees the old file or the new one.

    A mapping that makes its tensors when it is asked for them is asked twice for each, and holds none of them for this.

    Raises:
        StorageError: the disk is full, or it must not be written there.
    """
    place = Path(path)
    headers = {name: _header(tensors[name]) for name in tensors}
    head, entries = build_header(headers, {"format": "pt", **metadata})
    fresh = place.with_name(f".{place.name}.new")
    try:
        with fresh.open("wb") as file:
            file.write(head)
            for entry in entries:
                file.write(_bytes(tensors[entry.name]))
        os.replace(fresh, place)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise cannot_write(place, error) from None


def _header(tensor: Tensor) -> Header:
    return Header(dtype_name(tensor.dtype), tuple(tensor.shape))


def _bytes(tensor: Tensor) -> bytes:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
