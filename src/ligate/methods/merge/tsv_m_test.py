from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, NonFiniteError
from ligate.methods.merge.tsv_m import tsv_m

DOUBLE = torch.float64


def by_definition(tau, share):
    """With numpy's SVD, in float64."""
    count = max(1, int(min(tau.shape[1:]) * share))
    u, s, v = zip(*((a[:, :count], b[:count], c[:count].T) for a, b, c in map(thin, tau)), strict=True)
    return polar(np.hstack(u)) * np.concatenate(s) @ polar(np.hstack(v)).T


def thin(a):
    return np.linalg.svd(a, full_matrices=False)


def polar(a):
    u, s, v = thin(a)
    return (u * (s > 1e-9 * s.max())) @ v


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def test_directions_that_are_not_orthogonal_are_made_so():
    v = torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)], dtype=DOUBLE)
    tuned = torch.stack([torch.diag(torch.tensor([3.0, 0.0], dtype=DOUBLE)), 2 * torch.outer(v, v)])
    expected = torch.tensor([[2.75, -math.sqrt(3) / 4], [-math.sqrt(3) / 4, 2.25]], dtype=DOUBLE)
    torch.testing.assert_close(tsv_m(torch.zeros(2, 2, dtype=DOUBLE), tuned), expected)


def test_tasks_without_common_directions_are_added():
    tuned = torch.stack([torch.diag(torch.tensor([3.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0]))])
    torch.testing.assert_close(tsv_m(torch.zeros(2, 2), tuned), torch.diag(torch.tensor([3.0, 1.0])))


@pytest.mark.parametrize("shape", [(12, 31), (31, 12), (9, 9), (1, 6), (6, 1)])
@pytest.mark.parametrize("share", [None, 0.2, 1.0])
def test_as_the_equation_says(shape, share):
    base, tau = drawn(*shape), drawn(3, *shape, seed=1)
    expected = base.numpy() + 0.7 * by_definition(tau.numpy(), 1 / 3 if share is None else share)
    merged = tsv_m(base, base + tau, share=share, scale=0.7)
    np.testing.assert_allclose(merged.numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", [(12, 31), (31, 12), (7,), (4, 3, 2)])
def test_steps_add_up_by_their_weights(shape):
    base, tau = drawn(*shape), drawn(3, *shape, seed=1)
    alone = [tsv_m(base, base + tau, weight=[float(k == own) for k in range(3)]) - base for own in range(3)]
    weights = [0.5, -2.0, 1.5]
    merged = tsv_m(base, base + tau, weight=weights, scale=0.7)
    expected = base + 0.7 * sum(one * step for one, step in zip(weights, alone, strict=True))
    torch.testing.assert_close(merged, expected)


def test_the_step_of_one_task_has_its_singular_values():
    tau = drawn(3, 12, 31, seed=1)
    alone = tsv_m(torch.zeros(12, 31, dtype=DOUBLE), tau, weight=[0.0, 2.0, 0.0])
    own, all_of_it = (torch.linalg.svdvals(each) for each in (alone, tau[1]))
    torch.testing.assert_close(own[:4], 2 * all_of_it[:4])
    assert own[4:].abs().max() < 1e-9


def test_low_rank_tasks_keep_what_they_have():
    tau = drawn(2, 20, 2) @ drawn(2, 2, 30, seed=1)
    merged = tsv_m(torch.zeros(20, 30, dtype=DOUBLE), tau, share=1)
    np.testing.assert_allclose(merged.numpy(), by_definition(tau.numpy(), 0.1), rtol=1e-9, atol=1e-11)


def test_the_same_task_several_times_is_that_task():
    tau = drawn(1, 8, 5).expand(4, 8, 5)
    torch.testing.assert_close(tsv_m(torch.zeros(8, 5, dtype=DOUBLE), tau, share=1), tau[0])


def test_vectors_and_kernels_are_averaged_and_kernels_may_be_folded():
    base, tau = drawn(4, 3, 2), drawn(2, 4, 3, 2, seed=1)
    torch.testing.assert_close(tsv_m(base, base + tau), base + tau.mean(0))
    torch.testing.assert_close(tsv_m(base[0, 0], (base + tau)[:, 0, 0]), (base + tau)[:, 0, 0].mean(0))
    folded = tsv_m(base, base + tau, kernels="fold")
    torch.testing.assert_close(folded, tsv_m(base.view(4, 6), (base + tau).view(2, 4, 6)).view(4, 3, 2))


def test_a_model_that_is_the_base_adds_nothing():
    base, tau = drawn(6, 8), drawn(2, 6, 8, seed=1)
    tuned = base + torch.cat([tau, torch.zeros(1, 6, 8, dtype=DOUBLE)])
    torch.testing.assert_close(tsv_m(base, tuned, share=0.4), tsv_m(base, tuned[:2], share=0.4))


def test_nothing_kept_is_the_base():
    base = drawn(5, 4)
    assert torch.equal(tsv_m(base, base + drawn(2, 5, 4, seed=1), share=0.0), base)


def test_a_wrong_shape_and_what_is_no_number_are_refused():
    with pytest.raises(InputError, match="base is"):
        tsv_m(torch.zeros(2, 3), torch.zeros(2, 3, 2))
    with pytest.raises(NonFiniteError):
        tsv_m(torch.zeros(2, 2), torch.full((2, 2, 2), torch.nan))
