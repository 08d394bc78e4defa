"""The compiled loops and their torch counterparts give the same bits."""

from __future__ import annotations

import pytest
import torch

from ligate.core import compiled, kernels

SIZES = [0, 1, 7, 4096, 4097, 70_001]
SPECIAL = [0.0, -0.0, 1e-40, -1e-40, 6e4, 1.0039062, 1.01171875, -1.00390625]


@pytest.fixture(params=["compiled", "torch"])
def path(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(compiled, "library", lambda: None)
    elif not compiled.available():
        pytest.skip("installed without a C compiler")
    return request.param


def _numbers(size, dtype, models=1):
    generator = torch.Generator().manual_seed(size)
    numbers = torch.randn(models, size, generator=generator, dtype=torch.float64) * 0.1
    numbers[:, : len(SPECIAL)] = torch.tensor(SPECIAL, dtype=torch.float64)[:size]
    return numbers.to(dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_casts_are_those_of_torch(path, size, dtype):
    stored = _numbers(size, dtype)[0]
    wide = torch.float64 if dtype == torch.float32 else torch.float32
    numbers, result = torch.empty(size, dtype=wide), torch.empty(size, dtype=dtype)
    assert kernels.widen(stored, numbers, check=True)
    assert torch.equal(numbers, stored.to(wide))
    shifted = numbers * (1.001 if dtype == torch.float16 else 5.6e33)  # some round to infinity
    assert kernels.narrow(shifted, result, check=True) == bool(shifted.to(dtype).isfinite().all())
    assert torch.equal(result, shifted.to(dtype))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_what_is_not_finite_is_found(path, value, dtype):
    numbers = torch.zeros(5000)
    numbers[4321] = value
    wide = torch.empty(5000, dtype=torch.float64 if dtype == torch.float32 else torch.float32)
    assert not kernels.widen(numbers.to(dtype), wide, check=True)
    result = torch.empty(5000, dtype=dtype)
    assert not kernels.narrow(wide, result, check=True)
    assert torch.equal(result.isnan(), numbers.isnan())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float64_is_rounded_once(path, dtype):
    """Through float32 a number just beside the middle of two others would be taken for the middle."""
    step = torch.finfo(dtype).eps
    wanted = torch.tensor([1 + step, 1 + step, 1, torch.inf, 0, 0, 0])
    numbers = torch.tensor(
        [1 + step / 2 + 2**-40, 1 + step * 1.5 - 2**-40, 1 + step / 2, 1e300, 1e-300, 2**-149 / 3, 0.0],
        dtype=torch.float64,
    )
    for sign in (1, -1):
        result = torch.empty(len(numbers), dtype=dtype)
        assert not kernels.narrow(numbers * sign, result, check=True)
        assert torch.equal(_bits(result), _bits((wanted * sign).to(dtype)))


@pytest.mark.parametrize("wide", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_nan_that_is_let_through_has_one_form(path, wide, dtype):
    for size in (3, 100):  # torch writes others in its vector loops than at their ends
        numbers, result = torch.full((size,), -torch.nan, dtype=wide), torch.empty(size, dtype=dtype)
        kernels.narrow(numbers, result, check=False)
        assert torch.equal(_bits(result), _bits(torch.tensor(torch.nan).to(dtype).expand(size).clone()))


def test_large_finite_sums_are_not_mistaken_for_infinity(path):
    for dtype, large in ((torch.bfloat16, 3e38), (torch.float16, 6e4), (torch.float32, 3e38), (torch.float64, 1e308)):
        assert kernels.all_finite(torch.full((100,), large, dtype=dtype))


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("models", [1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weighted_sums_are_those_of_float64_rounded_once(path, size, models, dtype):
    rows, base = _numbers(size, dtype, models), _numbers(size, dtype)[0] + 0.01
    weights = [0.3, -1.7, 0.11, 2.0, 1e-3][:models]
    wide, start = rows.double(), base.double()
    total, deltas = wide[0] * weights[0], (wide[0] - start) * weights[0]
    for k in range(1, models):
        total, deltas = total + wide[k] * weights[k], deltas + (wide[k] - start) * weights[k]
    assert torch.equal(kernels.weighted_sum(rows, weights), total.to(dtype))
    assert torch.equal(kernels.weighted_sum(rows, weights, 0.7), (total / 0.7).to(dtype))
    added = kernels.add_weighted(base, rows, weights, 0.4, models=True)
    assert torch.equal(added, (start + deltas * 0.4).to(dtype))
    added = kernels.add_weighted(base, rows, weights, 0.4, models=False)
    assert torch.equal(added, (start + total * 0.4).to(dtype))


def test_exact_halves_go_to_even_as_in_float64(path):
    """Decimal weights on a bf16 grid make many of them; float32 sums would let their own noise decide."""
    grid = torch.arange(-200, 200).float()
    rows = torch.stack([grid, grid.flip(0), grid.roll(7)]).bfloat16().float() / 128
    weights = (0.5, 0.3, 0.2)
    wide = sum(row.double() * weight for row, weight in zip(rows, weights, strict=True))
    result = torch.empty(400, dtype=torch.bfloat16)
    kernels.narrow(kernels.weighted_sum(rows, weights), result, check=True)
    assert torch.equal(result, wide.to(torch.bfloat16))


def test_gradients_take_the_torch_path():
    rows = torch.randn(3, 8, requires_grad=True)
    kernels.weighted_sum(rows, (1.0, 2.0, 3.0)).sum().backward()
    assert torch.equal(rows.grad, torch.tensor([1.0, 2.0, 3.0])[:, None].expand(3, 8))


def _bits(tensor):
    return tensor.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.dtype.itemsize])


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_census_counts_and_collects(path, size, dtype):
    row = _numbers(size, dtype)[0]
    magnitudes = row.abs().numpy()
    low, high = (float(bound) for bound in torch.quantile(row.abs(), torch.tensor([0.3, 0.9], dtype=dtype)))
    found = kernels.census(row, low, high)
    assert found[:4] == tuple(
        int(mask.sum()) for mask in (magnitudes > high, magnitudes >= high, magnitudes > low, magnitudes >= low)
    )
    assert found.inside.tolist() == magnitudes[(magnitudes > low) & (magnitudes < high)].tolist()


@pytest.mark.parametrize("size", [1, 7, 4097])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("models", [True, False])
@pytest.mark.parametrize("tie", [-1, 0, 1])
@pytest.mark.parametrize("least", [0.0, 0.25, -1e-6])
def test_disjoint_merge_gives_equal_bits_on_both_paths(size, dtype, models, tie, least, monkeypatch):
    if not compiled.available():
        pytest.skip("installed without a C compiler")
    rows = (_numbers(3 * size, dtype)[0] * 8).round().div(8).view(3, size)  # many ties, zeros and equal magnitudes
    base = _numbers(size, dtype)[0]
    weights = (0.25, 0.5, 0.25) if least >= 0 else (0.25, -0.25, 1.0)
    settings = {"models": models, "tie": tie, "least": least, "scale": 0.7}
    arguments = (base, rows, (0.0, 0.125, 0.2), (0.25, 0.5 * (1 if least >= 0 else -1), 0.25), weights)
    merged = kernels.disjoint_merge(*arguments, **settings)
    monkeypatch.setattr(compiled, "library", lambda: None)
    assert torch.equal(_bits(kernels.disjoint_merge(*arguments, **settings)), _bits(merged))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_is_larger_than_any_number_and_stays_nan(path, dtype):
    row = torch.tensor([1.0, torch.nan, -3.0, torch.inf, -torch.nan, 2.0], dtype=dtype)
    assert kernels.census(row, 1.0, torch.inf)[:4] == (2, 3, 5, 6)
    assert kernels.census(row, 1.0, torch.inf).inside.tolist() == [3.0, 2.0]
    rows, ones = torch.stack([row, torch.ones_like(row), torch.ones_like(row)]), (1.0, 1.0, 1.0)
    gains = (1.0, 1.0, torch.nan)  # where infinity was let in, a norm is none; what is trimmed does not feel it
    for tie in (-1, 0, 1):
        merged = kernels.disjoint_merge(
            torch.zeros_like(row), rows, (torch.inf, 0.0, 2.0), gains, ones, models=True, tie=tie, least=1.0, scale=1.0
        )
        assert merged.isnan().tolist() == [False, True, False, False, True, False]


def test_changes_beyond_the_range_of_float32_still_cancel(path):
    base = torch.tensor([3e38])
    rows = torch.tensor([[-3e38], [-3e38]])
    merged = kernels.disjoint_merge(
        base, rows, (0.0, 0.0), (1.0, -1.0), (1.0, -1.0), models=True, tie=0, least=0.0, scale=1.0
    )
    assert torch.equal(merged, base)


def test_a_base_of_another_dtype_is_no_matter(path):
    base, rows = torch.randn(5), torch.randn(2, 5, dtype=torch.float64)
    total = kernels.add_weighted(base, rows, (1.0, 2.0), 1.0, models=True)
    wanted = base + (rows[0] - base) + (rows[1] - base) * 2
    torch.testing.assert_close(total.double(), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("tie", [-1, 0, 1])
@pytest.mark.parametrize("least", [0.0, 1.0, -1e-6])
@pytest.mark.parametrize("scale", [1.0, 0.0, -1.0])
def test_what_adds_nothing_is_plus_zero_on_both_paths(path, tie, least, scale):
    rows, base = torch.tensor([[0.0, -0.0, 0.0, -0.0], [-0.0, -0.0, 0.0, -0.0]]), torch.tensor([-0.0, -0.0, 0.0, 1.0])
    merged = kernels.disjoint_merge(
        base, rows, (0.0, 0.0), (1.0, 2.0), (1.0, 2.0), models=False, tie=tie, least=least, scale=scale
    )
    assert torch.equal(_bits(merged), _bits(base + 0.0 * scale))


def test_disjoint_merge_by_hand(path):
    base = torch.tensor([1.0, 1.0, 1.0, 1.0])
    tau = torch.tensor([[4.0, -1.0, 2.0, 0.5], [2.0, 3.0, -1.0, 0.5], [-1.0, 2.0, 4.0, -0.5]])
    ones = (1.0, 1.0, 1.0)
    mean = kernels.disjoint_merge(base, tau, (2.0, 2.0, 2.0), ones, ones, models=False, tie=1, least=1.0, scale=1.0)
    assert mean.tolist() == [4.0, 3.5, 4.0, 1.0]
    total = kernels.disjoint_merge(
        base, tau + base, (2.0, 2.0, 2.0), ones, ones, models=True, tie=1, least=0.0, scale=0.5
    )
    assert total.tolist() == [4.0, 3.5, 4.0, 1.0]


@pytest.mark.parametrize("models", [1, 4, 5, 9])
def test_an_election_counts_the_signs_of_its_sums(path, models):
    rows, base = (_numbers(7 * models, torch.float32)[0] * 8).round().div(8).view(models, 7), torch.zeros(7)
    gains = [1.0, -0.5, 2.0, 0.25, 1.0, 1.0, 3.0, 0.5, 1.0][:models]
    kept = torch.where(rows.abs() < 0.125, 0, rows).double()
    mass = (kept * torch.tensor(gains, dtype=torch.float64)[:, None]).sum(0)
    lead = int((mass > 0).sum()) - int((mass < 0).sum())
    assert kernels.lead_of_plus(base, rows, [0.125] * models, gains, models=False) == lead
    assert kernels.lead_of_plus(base + 1, rows + 1, [0.125] * models, gains, models=True) == lead
