"""A model with noise in its weights: every number gets a draw of its own from a normal distribution when it is read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ligate.core.draw import uniform
from ligate.core.errors import InputError
from ligate.core.tensors import MERGEABLE, Header, Source, itemsize

from .low_rank import read_numbers
from .views import View


class Noisy(View):
    """Another source plus normal numbers of this spread; the same ones for the same seed, name and element."""

    def __init__(self, inner: Source, label: str, spread: float, seed: int) -> None:
        super().__init__(inner)
        self._label, self._spread, self._seed = label, spread, seed
        self._headers = {name: _widened(header) for name, header in inner.headers().items()}

    @property
    def label(self) -> str:
        return self._label

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        header = self._headers[name]
        if header.dtype not in MERGEABLE:
            raise InputError("is no floating-point tensor: it takes no noise").inside(tensor=name, model=self.label)
        numbers = np.frombuffer(out, f"f{itemsize(header.dtype)}")
        drawn = normal(self._seed, name, self._label, start, numbers.size)
        inner = read_numbers(self._inner, name, start, start + numbers.size)
        with np.errstate(over="ignore"):  # what becomes infinite is found by whoever reads on
            numbers[:] = inner + self._spread * drawn


def normal(seed: int, tensor: str, model: str, start: int, size: int) -> np.ndarray:
    """Elements [start, start + size) of an endless row of standard normal numbers, in float64 (Box and Muller)."""
    radius = np.sqrt(-2 * np.log1p(-uniform(seed, tensor, model, 0, start, size).astype(np.float64)))
    return radius * np.cos(2 * np.pi * uniform(seed, tensor, model, 1, start, size).astype(np.float64))


def _widened(header: Header) -> Header:
    if header.dtype not in MERGEABLE:
        return header
    return Header("F64" if header.dtype == "F64" else "F32", header.shape, rounds_to=header.native)
