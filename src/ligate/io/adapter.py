"""A LoRA adapter in PEFT's format laid over a model: each tensor is changed when it is read, nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ligate.core.errors import InputError, LigateError, RecipeError
from ligate.core.tensors import MERGEABLE, Header, Source, itemsize

from .adapter_config import CONFIG, read_adapter_config
from .adapter_fit import MERGE_WITH_PEFT, Fit, Shift, fit_adapter
from .checkpoint import open_checkpoint
from .low_rank import LowRankChange, read_numbers
from .recent import Recent
from .views import View

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_NOT_TRAINED = ".base_layer.weight"  # PEFT stores the weight of a changed embedding beside its change
_CACHE = 32 << 20  # bytes of factors in float64


def lay_adapter(base: Source, folder: Path, scale: float = 1.0) -> Source:
    """The model with the adapter's change, times `scale`, in those tensors that the adapter speaks of.

    Their numbers become float32 (float64 over float64) and round to the dtype in which the model stores them. Several
    adapters are laid one over the other, each over the result of the one before. Closing the view closes the base.

    Raises:
        InputError: the adapter is damaged, does something that Ligate does not follow, or does not fit the model.
        RecipeError: a scale other than 1 where there is no difference that could be scaled.
    """
    config = read_adapter_config(folder)
    path = next((folder / name for name in _WEIGHTS if (folder / name).exists()), None)
    if path is None:
        raise InputError(f"the adapter has no weights ({' or '.join(_WEIGHTS)})", where=str(folder))
    adapter = open_checkpoint(path, base.label)
    try:
        fit = fit_adapter(base, adapter, config)
        _refuse_scale(scale, fit)
        return Adapted(base, adapter, fit, scale, folder / CONFIG)
    except LigateError as error:
        adapter.close()
        raise error.inside(adapter=folder, model=base.label) from None


class Adapted(View):
    """The base with the adapter's changes; tensors that it does not speak of are read as they are."""

    def __init__(self, base: Source, adapter: Source, fit: Fit, scale: float, told_by: Path) -> None:
        super().__init__(base)
        self._adapter = adapter
        self._told_by = told_by
        self._replaced = fit.replaced
        factors = Recent(_CACHE)
        self._changes = {
            name: LowRankChange(adapter, replace(what, scaling=what.scaling * scale), factors)
            for name, what in fit.low_rank.items()
        }
        self._shifts = {name: Shift(shift.name, shift.scaling * scale) for name, shift in fit.shifts.items()}
        self._headers = dict(base.headers())
        for name, stored in fit.replaced.items():
            self._headers[name] = _replaced_header(name, base.headers()[name], stored, adapter.headers()[stored])
        for name in (*fit.low_rank, *fit.shifts):
            self._headers[name] = _widened_header(name, self._headers[name])

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        source, stored = self._stored(name)
        if name not in self._changes and name not in self._shifts:
            source.read_into(stored, start, out)
            return
        numbers = np.frombuffer(out, f"f{itemsize(self._headers[name].dtype)}")
        if name in self._shifts:
            self._shift(name, start, numbers)
        elif numbers.size:
            self._changes[name].apply(start, numbers, lambda low, high: read_numbers(source, stored, low, high))

    def prefetch(self, name: str, start: int, stop: int) -> None:
        source, stored = self._stored(name)
        source.prefetch(stored, start, stop)

    def place(self, name: str) -> str:
        source, stored = self._stored(name)
        return source.place(stored)

    def files(self) -> Sequence[Path]:
        return (*self._inner.files(), self._told_by, *self._adapter.files())

    def close(self) -> None:
        self._adapter.close()
        self._inner.close()

    def _stored(self, name: str) -> tuple[Source, str]:
        """Where the tensor's own numbers lie: in the adapter when it replaces them, else in the base."""
        return (self._adapter, self._replaced[name]) if name in self._replaced else (self._inner, name)

    def _shift(self, name: str, start: int, numbers: np.ndarray) -> None:
        source, stored = self._stored(name)
        shift, stop = self._shifts[name], start + numbers.size
        added = read_numbers(self._adapter, shift.name, start, stop).astype(np.float64) * shift.scaling
        numbers[:] = read_numbers(source, stored, start, stop) + added


def _replaced_header(name: str, old: Header, stored: str, new: Header) -> Header:
    if new.shape != old.shape:
        raise InputError(
            f"the adapter's {stored!r} is {list(new.shape)}, the model's tensor {name!r} {list(old.shape)}",
            hint=f"a resized model is more than its base and an adapter: {MERGE_WITH_PEFT}",
        )
    if new.dtype != old.native and not {new.dtype, old.native} <= MERGEABLE:
        raise InputError(f"the adapter's {stored!r} is {new.dtype}, the model's tensor {name!r} {old.native}")
    return Header(new.dtype, new.shape, rounds_to=None if new.dtype == old.native else old.native)


def _widened_header(name: str, header: Header) -> Header:
    if header.dtype not in MERGEABLE:
        raise InputError(f"the adapter changes {name!r}, which is {header.dtype}", hint="use the unquantised model.")
    return Header("F64" if header.dtype == "F64" else "F32", header.shape, rounds_to=header.native)


def _refuse_scale(scale: float, fit: Fit) -> None:
    """Only a difference can be scaled, not a tensor that takes another one's place, nor a magnitude."""
    if scale == 1:
        return
    if any(what.magnitude for what in fit.low_rank.values()):
        raise RecipeError("a DoRA adapter has no meaning at another scale than 1", hint="leave the scale out.")
    trained = [stored for stored in fit.replaced.values() if not stored.endswith(_NOT_TRAINED)]
    if trained:
        raise RecipeError(
            f"it replaces a tensor as a whole ({trained[0]!r}), which cannot be scaled", hint="leave the scale out."
        )
