from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, NonFiniteError
from ligate.methods.merge.opcm import opcm
from ligate.ops.notebook import site

DOUBLE = torch.float64


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def by_definition(tau, alpha=0.5, beyond=False, project=True):
    """With numpy's SVD and the projected matrix as it is written, in float64."""
    merged, grown, lengths = tau[0], 1.0, [np.linalg.norm(tau[0])]
    for one in tau[1:]:
        lengths.append(np.linalg.norm(one))
        cleaned = one
        if project:
            u, s, vt = np.linalg.svd(merged)
            projected = u.T @ one @ vt.T
            np.fill_diagonal(projected, 0)
            r = int(np.argmax(np.cumsum(s) / s.sum() > alpha)) + beyond
            projected[:r, :r] = 0
            cleaned = u @ projected @ vt
        merged = grown * merged + cleaned
        grown = np.linalg.norm(merged) / np.mean(lengths)
        merged = merged / grown
    return merged


@pytest.mark.parametrize(("rank", "alpha"), [("within", 0.5), ("beyond", 0.5), ("within", 0.8)])
def test_what_lies_along_the_first_is_removed_from_the_second(rank, alpha):
    # P = [[5,2],[3,4]]; its diagonal goes, and a block of at most one: what is left is [[0,2],[3,0]]
    tuned = torch.tensor([[[3.0, 0], [0, 1]], [[5, 2], [3, 4]]], dtype=DOUBLE)
    longer = torch.tensor([[3.0, 2], [3, 1]], dtype=DOUBLE)
    expected = longer * (10**0.5 + 54**0.5) / 2 / 23**0.5
    torch.testing.assert_close(opcm(torch.zeros(2, 2, dtype=DOUBLE), tuned, alpha=alpha, rank=rank), expected)


@pytest.mark.parametrize("shape", [(12, 31), (31, 12), (9, 9), (1, 6), (6, 1)])
@pytest.mark.parametrize(("rank", "alpha"), [("within", 0.5), ("beyond", 0.3), ("within", 0.0)])
def test_as_the_equation_says(shape, rank, alpha):
    base, tau = drawn(*shape), drawn(4, *shape, seed=1)
    merged = opcm(base, base + tau, alpha=alpha, rank=rank, scale=0.5)
    expected = base.numpy() + 0.5 * by_definition(tau.numpy(), alpha, rank == "beyond")
    np.testing.assert_allclose(merged, expected, rtol=1e-9, atol=1e-10)


def test_with_all_directions_removed_only_what_is_new_is_added():
    tau = torch.zeros(2, 3, 5, dtype=DOUBLE)
    tau[0, :2, :2] = torch.diag(torch.tensor([3.0, 2.0]))
    tau[1, :2, :2], tau[1, 2, 4] = 7, 1
    merged = opcm(torch.zeros(3, 5, dtype=DOUBLE), tau, alpha=1)
    expected = tau[0].clone()
    expected[2, 4] = 1
    torch.testing.assert_close(merged / merged.norm(), expected / expected.norm())


def test_vectors_and_kernels_are_added_and_kernels_may_be_folded():
    base, tau = drawn(4, 3, 2), drawn(3, 4, 3, 2, seed=1)
    expected = by_definition(tau.numpy(), project=False)
    np.testing.assert_allclose(opcm(base, base + tau), base.numpy() + expected, rtol=1e-12)
    folded = opcm(base, base + tau, kernels="fold")
    torch.testing.assert_close(folded, opcm(base.view(4, 6), (base + tau).view(3, 4, 6)).view(4, 3, 2))


def test_the_same_model_again_opposite_ones_and_unchanged_ones():
    base, tau = drawn(5, 4), drawn(1, 5, 4, seed=1)
    torch.testing.assert_close(opcm(base, base + tau.expand(3, 5, 4)), base + tau[0])
    assert opcm(base, base + torch.cat([tau, -tau])).isfinite().all()
    assert opcm(base[0], base[0] + torch.cat([tau, -tau])[:, 0]).isfinite().all()
    assert torch.equal(opcm(base, base.expand(3, 5, 4)), base)
    torch.testing.assert_close(opcm(base, base + tau), base + tau[0])


@pytest.mark.parametrize("shape", [(12, 31), (9, 4), (7,)])
def test_continued_from_its_numbers_it_is_the_merge_of_all(shape):
    base, tau = drawn(*shape), drawn(5, *shape, seed=1)
    report = opcm.card.stats(
        {"alpha": 0.5, "rank": "within", "kernels": "average", "grown": 1.0, "seen": 1, "length": 0.0}
    )
    place = site("w", shape, "abc")
    numbers = report[0].report(report[0].observe(None, base, base + tau[:3], site=place))
    assert numbers["seen"] == 3
    earlier = opcm(base, base + tau[:3])
    later = opcm(base, torch.stack([earlier, *(base + tau[3:])]), **numbers)
    torch.testing.assert_close(later, opcm(base, base + tau), rtol=1e-10, atol=1e-12)


def test_a_wrong_shape_and_what_is_no_number_are_refused():
    with pytest.raises(InputError, match="base is"):
        opcm(torch.zeros(2, 3), torch.zeros(2, 3, 2))
    with pytest.raises(NonFiniteError):
        opcm(torch.zeros(2, 2), torch.full((2, 2, 2), torch.nan))
