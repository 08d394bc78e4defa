from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ligate.align.analysis import indices
from ligate.align.analysis.indices import Chance, by_lot, paired
from ligate.core.errors import InputError, RecipeError

Index = Callable[[Tensor, Tensor], "float | None"]


def _of(index: Callable[..., float | None]) -> Callable[..., float | None]:
    return lambda x, y, **options: index(paired(x, y), **options)


INDICES = {name: _of(index) for name, index in indices.INDICES.items()}
SIMILARITIES = [index for name, index in INDICES.items() if name != "procrustes"]
linear_cka, debiased_cka, svcca, pwcca, procrustes = INDICES.values()


def chance(index: Index, x: Tensor, y: Tensor, rows: int = 1) -> Chance | None:
    inner = next(indices.INDICES[name] for name, each in INDICES.items() if each is index)
    return indices.chance(inner, by_lot(paired(x, y), rows=rows))


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _rotation(size: int) -> Tensor:
    return torch.linalg.qr(_random(size, size, seed=9))[0]


def _centred_gram(x: Tensor) -> Tensor:
    middle = torch.eye(len(x), dtype=torch.float64) - 1 / len(x)
    return middle @ x @ x.T @ middle


U = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
V = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
X, Y = torch.stack([U, V], 1), torch.stack([V, (U + V) / math.sqrt(2)], 1)


def test_linear_cka_worked_by_hand():
    """X'X = 4 I, Y'Y = 4 [[1, h], [h, 1]] with h^2 = 1/2, X'Y = 4 [[0, h], [1, h]]: 32 / (4 sqrt(2) 4 sqrt(3))."""
    assert linear_cka(X, Y) == pytest.approx(2 / math.sqrt(6))


def test_canonical_correlations_worked_by_hand():
    """Both span the plane of u and v; one direction alone spans half of it."""
    assert svcca(X, Y) == pytest.approx(1.0)
    assert svcca(X[:, :1], (U + V)[:, None]) == pytest.approx(math.sqrt(0.5))
    assert svcca(X[:, :1], V[:, None]) == pytest.approx(0.0, abs=1e-12)


def test_pwcca_worked_by_hand():
    """X = (3u, v), Y = u: one canonical vector u of correlation 1. Against Y = (u, w) a second one, v, of 0."""
    other = U * V
    assert pwcca(torch.stack([3 * U, V], 1), U[:, None]) == pytest.approx(1.0)
    found = pwcca(torch.stack([3 * U, V], 1), torch.stack([U, other], 1), kept=1.0)
    assert found == pytest.approx(3 / 4)


def test_procrustes_worked_by_hand():
    """Of length 1, (u, v) and (u, 0) share sqrt(1/2): 2 - 2 sqrt(1/2)."""
    assert procrustes(X, U[:, None]) == pytest.approx(2 - math.sqrt(2))
    assert procrustes(U[:, None], V[:, None]) == pytest.approx(2.0)


def test_procrustes_is_what_the_best_rotation_leaves():
    x, y = _random(30, 4), _random(30, 4, seed=1)
    x, y = ((each - each.mean(0)) / (each - each.mean(0)).norm() for each in (x, y))
    left, _, right = torch.linalg.svd(x.T @ y)
    assert procrustes(x, y) == pytest.approx(float((x @ left @ right - y).square().sum()))


def test_linear_cka_is_that_of_the_gram_matrices():
    x, y = _random(20, 5), _random(20, 7, seed=1)
    k, m = _centred_gram(x), _centred_gram(y)
    assert linear_cka(x, y) == pytest.approx(float((k * m).sum() / (k.norm() * m.norm())))


def test_debiased_cka_is_that_of_the_gram_matrices():
    def hsic(k: Tensor, m: Tensor) -> float:
        n = len(k)
        k, m = (each - torch.diag(each.diagonal()) for each in (k, m))
        one = torch.ones(n, dtype=torch.float64)
        first = (k @ m).trace() + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return float((first - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3)))

    x, y = _random(20, 5), _random(20, 7, seed=1) + _random(20, 7, seed=2).cumsum(0)
    # The estimate is the same for Gram matrices that are not centred: it centres by itself.
    for k, m in ((_centred_gram(x), _centred_gram(y)), (x @ x.T, y @ y.T)):
        wanted = hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))
        assert debiased_cka(x, y) == pytest.approx(wanted)


def test_svcca_is_canonical_correlation_by_whitening():
    """With all directions kept: singular values of Cxx^-1/2 Cxy Cyy^-1/2."""
    x, y = _random(60, 4), _random(60, 6, seed=1)
    y[:, :2] += x[:, :2]
    x, y = x - x.mean(0), y - y.mean(0)

    def inverse_root(c: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(c)
        return vectors @ torch.diag(values.rsqrt()) @ vectors.T

    white = inverse_root(x.T @ x) @ x.T @ y @ inverse_root(y.T @ y)
    assert svcca(x, y, kept=1.0) == pytest.approx(float(torch.linalg.svdvals(white).mean()))


def test_svcca_keeps_the_directions_that_have_the_share():
    """Variances 90, 9, 1 of 100: .99 keeps two directions, .995 keeps three."""
    base = torch.linalg.qr(_random(40, 4) - _random(40, 4).mean(0))[0]
    base = torch.linalg.qr(base - base.mean(0))[0]
    x = base[:, :3] * torch.tensor([90.0, 9.0, 1.0], dtype=torch.float64).sqrt()
    y = base[:, [0, 1, 3]] * torch.tensor([90.0, 9.0, 1.0], dtype=torch.float64).sqrt()
    assert svcca(x, y, kept=0.985) == pytest.approx(1.0)
    assert svcca(x, y, kept=0.995) == pytest.approx(2 / 3)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_rotations_orders_and_one_factor_change_nothing(index: Index):
    x, y = _random(40, 6), _random(40, 5, seed=1)
    y[:, :3] += 2 * x[:, :3]
    before = index(x, y)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(0))
    for other in (y @ _rotation(5), y[:, order], -3.5 * y, y + 10):
        assert index(x, other) == pytest.approx(before, abs=1e-9)
    assert index(x[:, [3, 1, 5, 0, 2, 4]], y) == pytest.approx(before, abs=1e-9)
    if index is not pwcca:
        assert index(x @ _rotation(6), y) == pytest.approx(before, abs=1e-9)


@pytest.mark.parametrize("index", SIMILARITIES)
def test_the_same_representation_is_1(index: Index):
    x = _random(40, 6)
    assert index(x, x) == pytest.approx(1.0)
    assert index(x, x @ _rotation(6)) == pytest.approx(1.0)


def test_the_same_representation_has_no_distance():
    x = _random(40, 6)
    assert procrustes(x, x @ _rotation(6)) == pytest.approx(0.0, abs=1e-12)


def test_factors_of_single_units_change_cka_but_not_canonical_correlation():
    x, factors = _random(40, 3), torch.tensor([1.0, 1.0, 8.0], dtype=torch.float64)
    assert linear_cka(x, x * factors) < 0.9
    assert svcca(x, x * factors, kept=1.0) == pytest.approx(1.0)


def test_few_samples_make_unrelated_networks_look_alike_but_to_the_debiased_estimate():
    """n = 40 samples of 64 and 64 independent units."""
    x, y = _random(40, 64), _random(40, 64, seed=1)
    assert linear_cka(x, y) > 0.5
    assert svcca(x, y) > 0.9
    assert svcca(x, y, kept=1.0) == pytest.approx(1.0)
    assert abs(debiased_cka(x, y)) < 0.06


def test_many_samples_tell_unrelated_networks_apart():
    x, y = _random(20_000, 8), _random(20_000, 8, seed=1)
    assert linear_cka(x, y) < 0.01
    assert svcca(x, y) < 0.03


def test_chance_is_what_unrelated_networks_get():
    """Also of networks that are the same: only the pairing of their samples is lost."""
    x, y = _random(40, 64), _random(40, 64, seed=1)
    found = chance(linear_cka, x, x)
    assert found is not None
    assert found.mean == pytest.approx(linear_cka(x, y), abs=0.05)
    assert found.largest >= found.mean


def test_chance_keeps_the_samples_of_one_input_together():
    """20 inputs of 10 places that all look alike: as many samples as inputs, whatever the number of rows."""
    x, y = (_random(20, 16, seed=seed).repeat_interleave(10, 0) for seed in (0, 1))
    together, apart = chance(linear_cka, x, y, rows=10), chance(linear_cka, x, y)
    assert together is not None
    assert apart is not None
    assert together.mean == pytest.approx(linear_cka(x, y), abs=0.06)
    assert apart.mean < 0.5 * together.mean


def test_blocks_that_do_not_fit_are_refused():
    with pytest.raises(RecipeError, match="blocks of 3"):
        chance(linear_cka, _random(10, 2), _random(10, 2), rows=3)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_undefined_is_none(index: Index):
    assert index(torch.ones(10, 3), _random(10, 3)) is None
    assert index(_random(10, 3), torch.ones(10, 3)) is None
    assert chance(index, torch.ones(10, 3), _random(10, 3)) is None


def test_debiased_cka_needs_four_samples():
    assert debiased_cka(_random(3, 2), _random(3, 2, seed=1)) is None


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_different_samples_are_refused(index: Index):
    with pytest.raises(InputError, match="9 samples of one network and 10"):
        index(_random(9, 3), _random(10, 3))
