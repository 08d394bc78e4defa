from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, NonFiniteError
from ligate.methods.merge.swudi import swudi
from ligate.methods.merge.wudi import wudi

DOUBLE = torch.float64


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def by_definition(tau, time, share, start):
    squares = [one.T @ one / np.sum(one**2) for one in tau]
    values, vectors = np.linalg.eigh(sum(squares))
    values = np.maximum(values, 1e-8)
    begun = tau.sum(0) if start == "sum" else tau.mean(0)
    count = int((len(values) * share + 0.999) // 1)
    passed = (1 - np.exp(-values * time)) * (np.arange(len(values)) >= len(values) - count)
    target = sum(one @ square for one, square in zip(tau, squares, strict=True))
    return begun - begun @ (vectors * passed) @ vectors.T + target @ (vectors * (passed / values)) @ vectors.T


@pytest.mark.parametrize("shape", [(12, 8), (8, 12), (5, 12), (1, 6), (6, 1)])
@pytest.mark.parametrize(("time", "share"), [(300.0, 0.65), (2.0, 1.0), (0.0, 0.5), (50.0, 0.0)])
@pytest.mark.parametrize("start", ["sum", "mean"])
def test_as_the_equation_says(shape, time, share, start):
    base, tau = drawn(*shape), drawn(3, *shape, seed=1)
    merged = swudi(base, base + tau, time=time, share=share, start=start, scale=0.5)
    np.testing.assert_allclose(
        merged, base.numpy() + 0.5 * by_definition(tau.numpy(), time, share, start), rtol=1e-8, atol=1e-9
    )


def test_after_a_long_time_it_is_where_gradient_descent_ends():
    base, tau = drawn(6, 4), drawn(3, 6, 4, seed=1)
    descended = wudi(base, base + tau, steps=20000, rate=1e-3)
    torch.testing.assert_close(swudi(base, base + tau, time=1e6, share=1), descended, rtol=0, atol=1e-4)


def test_inputs_on_the_first_axis():
    base, tau = drawn(7, 5), drawn(3, 7, 5, seed=1)
    torch.testing.assert_close(swudi(base.T, (base + tau).mT, inputs="first"), swudi(base, base + tau).T)


def test_one_task_and_unchanged_models_stay():
    base, tau = drawn(4, 3), drawn(1, 4, 3, seed=1)
    torch.testing.assert_close(swudi(base, base + tau), base + tau[0])
    assert torch.equal(swudi(base, base.expand(3, 4, 3)), base)


def test_vectors_and_kernels_are_averaged_and_kernels_may_be_folded():
    base, tau = drawn(4, 3, 2), drawn(2, 4, 3, 2, seed=1)
    torch.testing.assert_close(swudi(base, base + tau), base + tau.mean(0))
    folded = swudi(base, base + tau, kernels="fold")
    torch.testing.assert_close(folded, swudi(base.view(4, 6), (base + tau).view(2, 4, 6)).view(4, 3, 2))


def test_a_wrong_shape_and_what_is_no_number_are_refused():
    with pytest.raises(InputError, match="base is"):
        swudi(torch.zeros(2, 3), torch.zeros(2, 3, 2))
    with pytest.raises(NonFiniteError):
        swudi(torch.zeros(2, 2), torch.full((2, 2, 2), torch.inf))
