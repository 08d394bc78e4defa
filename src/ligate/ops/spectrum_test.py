from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.ops import spectrum as under_test
from ligate.ops.spectrum import gram, inverse_root, orthogonal, parts, spectrum

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]
on_every_device = pytest.mark.parametrize("device", DEVICES)


def matrix(rows, width, *, rank=None, seed=0, device="cpu"):
    g = torch.Generator().manual_seed(seed)
    full = torch.randn(rows, width, generator=g, dtype=torch.float64)
    if rank is not None:
        full = torch.randn(rows, rank, generator=g, dtype=torch.float64) @ full[:rank]
    return full.to(device)


def square_of(a):
    return gram(a[:, part] for part in parts(a.shape))


@on_every_device
def test_a_gram_matrix_in_blocks_and_panels(device, monkeypatch):
    monkeypatch.setattr(under_test, "AT_ONCE", 64)
    a = matrix(13, 57, device=device)
    assert len(list(parts(a.shape))) == 15
    torch.testing.assert_close(square_of(a), a @ a.T, rtol=1e-13, atol=1e-13)


def test_a_matrix_of_a_single_row_or_of_no_columns():
    torch.testing.assert_close(square_of(torch.full((1, 3), 2.0).double()), torch.full((1, 1), 12.0).double())
    assert square_of(torch.zeros(2, 0).double()).shape == (0, 0)


@on_every_device
@pytest.mark.parametrize("shape", [(6, 6), (20, 50), (50, 20)])
def test_singular_values_and_vectors_are_those_of_numpy(device, shape):
    a = matrix(*shape, device=device)
    values, vectors, energy = spectrum(square_of(a))
    u, s, _ = np.linalg.svd(a.cpu().numpy(), full_matrices=False)
    np.testing.assert_allclose(values.cpu().numpy(), s, rtol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(vectors.cpu().numpy() * u, axis=0)), 1, rtol=1e-12)
    assert energy == pytest.approx((s**2).sum())


@pytest.mark.parametrize("decades", [2, 4, 5])
def test_small_singular_values_are_right_up_to_the_stated_share(decades):
    q, _ = np.linalg.qr(matrix(30, 30).numpy())
    p, _ = np.linalg.qr(matrix(80, 30, seed=1).numpy())
    s = np.logspace(0, -decades, 30)
    values = spectrum(square_of(torch.from_numpy(q * s @ p.T))).values.numpy()
    # A Gram matrix is off by about eps of the largest squared value
    np.testing.assert_allclose(values, s, rtol=1e-14 * 10 ** (2 * decades))


def test_what_rounding_leaves_of_a_zero_is_no_singular_value():
    a = matrix(40, 90, rank=7)
    found = spectrum(square_of(a))
    assert len(found.values) == 7 and found.kept == pytest.approx(1)
    assert found.top(3).kept == pytest.approx(float((found.values[:3] ** 2).sum() / (a**2).sum()))


def test_nothing_has_no_singular_values():
    found = spectrum(torch.zeros(4, 4, dtype=torch.float64))
    assert found.values.shape == (0,) and found.vectors.shape == (4, 0) and found.kept == 1
    assert torch.equal(inverse_root(torch.zeros(4, 4).double()), torch.zeros(4, 4).double())


def test_rows_of_zeros_have_no_part_in_any_vector():
    a = matrix(8, 20)
    a[[2, 5]] = 0
    assert torch.equal(spectrum(square_of(a)).vectors[[2, 5]], torch.zeros(2, 6).double())


@on_every_device
@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (9, 9)])
def test_the_polar_factor_is_that_of_numpy(device, shape):
    a = matrix(*shape, device=device)
    u, _, vt = np.linalg.svd(a.cpu().numpy(), full_matrices=False)
    np.testing.assert_allclose(orthogonal(a).cpu().numpy(), u @ vt, rtol=0, atol=1e-12)


def test_the_polar_factor_of_the_same_vectors_twice_is_no_guess():
    q, _ = torch.linalg.qr(matrix(10, 3))
    torch.testing.assert_close(orthogonal(torch.cat([q, q], dim=1)), torch.cat([q, q], dim=1) / 2**0.5)
