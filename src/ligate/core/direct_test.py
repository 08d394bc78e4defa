"""Stored numbers merged directly come to the bits that tensors come to: widened, computed in torch, rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core import compiled, kernels
from ligate.core.direct import AddWeighted, Census, Difference, DisjointMerge, Stored, WeightedSum, lead_of_plus
from ligate.core.tensors import dtype_name

pytestmark = pytest.mark.skipif(not compiled.available(), reason="installed without a C compiler")

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
SIZES = [1, 511, 513, 70_001]
WEIGHTS = (0.5, -0.3, 1e-3, 2.0, 0.7, 0.11)
SPECIAL = [0.0, -0.0, 6e-8, -6e-8, 1e-40, 6e4, 1.0039062, -1.01171875]


def _tensors(size, dtype, models):
    """A base and models: small steps from it, so that many differences are equal, zero or as large as a bound."""
    generator = torch.Generator().manual_seed(size + models)
    base = torch.randn(size, generator=generator) * 0.02
    base[: len(SPECIAL)] = torch.tensor(SPECIAL)[:size]
    steps = torch.randint(-3, 4, (models, size), generator=generator) / 1024
    return base.to(dtype), (base + steps).to(dtype)


def _stored(base, rows):
    return Stored(dtype_name(base.dtype), base.data_ptr(), [row.data_ptr() for row in rows], len(base))


def _wide(tensor):
    return tensor.double() if tensor.dtype == torch.float32 else tensor.float()


def _bits(tensor):
    return tensor.view({2: torch.int16, 4: torch.int32}[tensor.dtype.itemsize])


@pytest.fixture
def in_torch(monkeypatch):
    """Switch the compiled loops off, for the reference."""

    def call(function, *arguments, **settings):
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "library", lambda: None)
            return function(*arguments, **settings)

    return call


def _same(rule, base, rows, numbers, in_torch):
    """The rule's direct result against these numbers, rounded by torch."""
    result, wanted = torch.empty_like(base), torch.empty_like(base)
    finite = rule.into(_stored(base, rows), result.data_ptr())
    assert finite == in_torch(kernels.narrow, numbers, wanted, check=True)
    in_torch(kernels.narrow, numbers, wanted, check=False)
    assert torch.equal(_bits(result), _bits(wanted))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("models", [1, 3, 4, 6])
def test_sums(size, dtype, models, in_torch):
    base, rows = _tensors(size, dtype, models)
    weights = WEIGHTS[:models]
    for divisor in (1.0, 1.7):
        total = in_torch(kernels.weighted_sum, _wide(rows), weights, divisor)
        _same(WeightedSum(weights, divisor), base, rows, total, in_torch)
    moved = in_torch(kernels.add_weighted, _wide(base), _wide(rows), weights, 0.4, models=True)
    _same(AddWeighted(weights, 0.4), base, rows, moved, in_torch)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("models", [1, 3, 6])
@pytest.mark.parametrize("tie", [-1, 0, 1])
@pytest.mark.parametrize("least", [0.0, 0.1, -1e-6])
def test_elections(size, dtype, models, tie, least, in_torch):
    base, rows = _tensors(size, dtype, models)
    bounds, gains = [1 / 1024, 2 / 1024, 0.0, 0.0, 1 / 1024, 3 / 1024][:models], WEIGHTS[:models]
    rule = DisjointMerge(bounds, gains, [abs(gain) for gain in gains], tie, least, 0.7)
    merged = in_torch(
        kernels.disjoint_merge,
        *(_wide(base), _wide(rows), bounds, gains, rule.weights),
        models=True,
        tie=tie,
        least=least,
        scale=0.7,
    )
    _same(rule, base, rows, merged, in_torch)
    lead = in_torch(kernels.lead_of_plus, _wide(base), _wide(rows), bounds, gains, models=True)
    assert lead_of_plus(_stored(base, rows), bounds, gains) == lead


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_counts_and_magnitudes(size, dtype, in_torch):
    base, rows = _tensors(size, dtype, 2)
    for row, difference in zip(rows, _stored(base, rows).differences(), strict=True):
        delta = _wide(row) - _wide(base)
        assert np.array_equal(np.concatenate(difference.magnitudes()), delta.abs().numpy())
        for low, high in ((1 / 1024, 2 / 1024), (0.0, float("inf"))):
            found, wanted = difference.census(low, high), in_torch(kernels.census, delta, low, high)
            assert found[:4] == wanted[:4]
            assert np.array_equal(found.inside, wanted.inside)
            assert found.of == size


def test_magnitudes_come_in_pieces():
    base, rows = _tensors(10, torch.bfloat16, 1)
    stored = Stored("BF16", base.data_ptr(), [rows[0].data_ptr()], 10, piece=4)
    assert [len(piece) for piece in Difference(stored, stored.rows[0]).magnitudes()] == [4, 4, 2]


@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_is_told_and_has_one_form(value, dtype, in_torch):
    base, rows = _tensors(5000, dtype, 3)
    assert _stored(base, rows).finite(rows[1].data_ptr())
    rows[1][4321] = value
    assert not _stored(base, rows).finite(rows[1].data_ptr())
    total = in_torch(kernels.weighted_sum, _wide(rows), WEIGHTS[:3])
    _same(WeightedSum(WEIGHTS[:3]), base, rows, total, in_torch)
    moved = in_torch(kernels.add_weighted, _wide(base), _wide(rows), WEIGHTS[:3], 0.4, models=True)
    _same(AddWeighted(WEIGHTS[:3], 0.4), base, rows, moved, in_torch)


def test_every_float16_is_read_and_written_as_torch_does(in_torch):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    numbers = every[every.isfinite()]
    _same(WeightedSum((1.0,)), numbers, numbers[None], numbers.float(), in_torch)
    _same(WeightedSum((0.37,)), numbers, numbers[None], (numbers.double() * 0.37).float(), in_torch)
    _same(WeightedSum((1.9,)), numbers, numbers[None], (numbers.double() * 1.9).float(), in_torch)


def test_counts_of_a_plain_row():
    row = torch.tensor([1.0, -2.0, 3.0])
    assert kernels.census(row, 1.0, 3.0)[:4] == Census(0, 1, 2, 3, np.empty(0), 3)[:4]
