"""Tensors that are already in memory, as a source and as a sink. Nothing that is handed in is ever changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ligate.core.errors import InputError, StorageError
from ligate.core.tensors import Header, dtype_name, itemsize, torch_dtype

from .missing import unknown_tensor

if TYPE_CHECKING:
    from torch import Tensor


class MemorySource:
    """A state dict, read in ranges. Views and transposed tensors are read in place, row by row, never copied whole."""

    def __init__(self, label: str, state_dict: Mapping[str, Any]) -> None:
        self.label = label
        self.folder: Path | None = None
        self._tensors = {name: _plain(name, value, label) for name, value in state_dict.items()}
        self._headers = {
            name: Header(dtype_name(tensor.dtype), tuple(tensor.shape)) for name, tensor in self._tensors.items()
        }

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        import torch

        tensor, header = self._tensor(name), self._headers[name]
        stop = start + len(out) // itemsize(header.dtype)
        if start < 0 or stop > header.numel:
            raise InputError(f"elements [{start}, {stop}) are outside its {header.numel}").inside(
                tensor=name, model=self.label
            )
        if len(out):
            torch.frombuffer(out, dtype=tensor.dtype).copy_(_flat(tensor, start, stop))

    def prefetch(self, name: str, start: int, stop: int) -> None:
        """Already in memory."""

    def place(self, name: str) -> str:
        return "memory"

    def files(self) -> Sequence[Path]:
        return ()

    def metadata(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        self._tensors = {}

    def _tensor(self, name: str) -> Tensor:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise unknown_tensor(name, self)
        return tensor


class MemorySink:
    """Tensors of the given headers, filled in ranges; `state_dict()` hands them out."""

    def __init__(self, headers: Mapping[str, Header]) -> None:
        import torch

        self._tensors = {
            name: torch.empty(header.shape, dtype=torch_dtype(header.dtype)) for name, header in headers.items()
        }
        self._bytes = {
            name: tensor.reshape(-1).view(torch.uint8).numpy().data for name, tensor in self._tensors.items()
        }
        self._sizes = {name: itemsize(header.dtype) for name, header in headers.items()}

    def write(self, name: str, start: int, data: memoryview) -> None:
        self._range(name, start, len(data))[:] = data

    def read_back(self, name: str, start: int, out: memoryview) -> None:
        out[:] = self._range(name, start, len(out))

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._tensors)

    def _range(self, name: str, start: int, nbytes: int) -> memoryview:
        if name not in self._bytes:
            raise StorageError("the output has no such tensor", where=f"tensor {name}")
        begin = start * self._sizes[name]
        found = self._bytes[name][begin : begin + nbytes]
        if start < 0 or len(found) != nbytes:
            raise StorageError(f"{nbytes} bytes from element {start} on lie outside the tensor", where=f"tensor {name}")
        return found


def _plain(name: str, value: Any, label: str) -> Tensor:
    """The tensor without its history; InputError for what is no ordinary dense tensor."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise InputError(
            f"is a {type(value).__name__}, not a tensor", hint="hand in the state dict alone, without training state."
        ).inside(tensor=name, model=label)
    tensor = value.detach()
    try:
        dtype_name(tensor.dtype)
    except KeyError:
        raise InputError(f"has the dtype {tensor.dtype}, which safetensors cannot store").inside(
            tensor=name, model=label
        ) from None
    if tensor.layout is not torch.strided or tensor.is_meta:
        kind = "has no numbers (device meta)" if tensor.is_meta else f"has the layout {tensor.layout}"
        raise InputError(f"{kind}; an ordinary dense tensor is needed").inside(tensor=name, model=label)
    return tensor.resolve_conj().resolve_neg()


def _flat(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Elements [start, stop) of the flattened tensor; copies only the rows they lie in."""
    if tensor.is_contiguous():
        return tensor.view(-1)[start:stop]
    row = tensor[0].numel()
    while stop - 1 < (start // row + 1) * row and tensor.dim() > 1:
        tensor, start, stop = tensor[start // row], start % row, start % row + stop - start
        row = tensor[0].numel()
    first = start // row
    rows = tensor[first : -(-stop // row)]
    return rows.reshape(-1)[start - first * row : stop - first * row]
