"""Weights of a network to and from a model folder, without any library of models."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ligate.bench.suite import State
from ligate.core.tensors import Header, dtype_name, torch_dtype
from ligate.io import open_source
from ligate.io.writer import FolderSink

if TYPE_CHECKING:
    from torch import Tensor


def write_weights(state: State, folder: Path) -> None:
    """`model.safetensors`, as merges read it."""
    headers = {name: Header(dtype_name(value.dtype), tuple(value.shape)) for name, value in state.items()}
    with closing(FolderSink(folder, headers, eager=False)) as sink:
        for name, value in state.items():
            sink.write(name, 0, _bytes(value.detach().clone()))  # whole, whatever it is a view of
        sink.finish(fsync=False)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model folder."""
    import torch

    with closing(open_source(str(folder), label=folder.name)) as source:
        state = {
            name: torch.empty(each.shape, dtype=torch_dtype(each.dtype)) for name, each in source.headers().items()
        }
        for name, value in state.items():
            source.read_into(name, 0, _bytes(value))
    return state


def _bytes(value: Tensor) -> memoryview:
    import torch

    return value.contiguous().reshape(-1).view(torch.uint8).numpy().data
