from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError
from ligate.methods.merge.widen import widen

DOUBLE = torch.float64


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(0)


def scores(change, above, calibrated):
    places = np.stack([np.argsort(np.argsort(row, kind="stable")) for row in change])
    units = change.shape[1]
    return np.where(places > above * (units - 1) / 2, calibrated, softmax(places / units))


def by_definition(base, tuned, above=1.0, calibrated=1.0):
    """Over columns, in float64."""
    length = np.linalg.norm
    longer = np.stack([np.abs(length(one, axis=0) - length(base, axis=0)) for one in tuned])
    turned = np.stack([1 - (one * base).sum(0) / length(one, axis=0) / length(base, axis=0) for one in tuned])
    weights = (scores(longer, above, calibrated) + scores(turned, above, calibrated)) / 2
    return base + ((tuned - base) * weights[:, None]).sum(0)


def test_two_small_models():
    tuned = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]]])
    # scores of the columns: [.75, .68877] and [.43877, 1]
    torch.testing.assert_close(widen(torch.eye(2), tuned), torch.tensor([[1.75, 1.0], [0.0, 1.0]]))


@pytest.mark.parametrize(("above", "calibrated"), [(1.0, 1.0), (0.5, 0.8), (9.0, 1.0)])
@pytest.mark.parametrize("shape", [(12, 31), (31, 12), (1, 5), (5, 1)])
def test_as_the_equation_says(shape, above, calibrated):
    base = drawn(*shape)
    tuned = base + 0.1 * drawn(3, *shape, seed=1)
    merged = widen(base, tuned, above=above, calibrated=calibrated)
    if shape[0] > 1:  # a single entry has no direction to turn but round
        expected = by_definition(base.numpy(), tuned.numpy(), above, calibrated)
        np.testing.assert_allclose(merged, expected, rtol=1e-12, atol=1e-14)
    assert merged.isfinite().all()


def test_rows_instead_of_columns():
    base, tuned = drawn(9, 4), drawn(9, 4) + 0.1 * drawn(3, 9, 4, seed=1)
    torch.testing.assert_close(widen(base, tuned, units="row"), widen(base.T, tuned.mT).T)


def test_the_scale():
    base, tuned = drawn(9, 4), drawn(9, 4) + 0.1 * drawn(3, 9, 4, seed=1)
    torch.testing.assert_close(widen(base, tuned, scale=0.5), (widen(base, tuned) + base) / 2)


def test_vectors_are_scored_entry_by_entry():
    base, tau = drawn(9), 0.3 * drawn(3, 9, seed=1)
    size = np.abs(tau.numpy())
    weights = np.where(size > 1.2 * size.mean(1, keepdims=True), 0.9, softmax(size))
    expected = base.numpy() + (tau.numpy() * weights).sum(0)
    np.testing.assert_allclose(widen(base, base + tau, above=1.2, calibrated=0.9), expected, rtol=1e-12)


def test_columns_of_zeros_do_no_harm():
    base, tuned = drawn(5, 4), drawn(5, 4) + 0.1 * drawn(2, 5, 4, seed=1)
    base[:, 1], tuned[:, :, 1], tuned[0, :, 2] = 0, 0, 0
    merged = widen(base, tuned)
    assert merged.isfinite().all() and torch.equal(merged[:, 1], base[:, 1])


def test_unchanged_models_and_empty_tensors_stay():
    base = drawn(4, 3)
    assert torch.equal(widen(base, base.expand(3, 4, 3)), base)
    assert widen(torch.zeros(0, 3), torch.zeros(2, 0, 3)).shape == (0, 3)


def test_a_missing_base_and_a_wrong_shape_are_refused():
    with pytest.raises(InputError, match="there is no base"):
        widen(None, drawn(2, 3, 4))
    with pytest.raises(InputError, match="base is"):
        widen(torch.zeros(2, 3), torch.zeros(2, 3, 2))
