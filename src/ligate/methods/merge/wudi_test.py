from __future__ import annotations

import pytest
import torch

from ligate.core.errors import InputError, NonFiniteError
from ligate.methods.merge.wudi import wudi

DOUBLE = torch.float64


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def by_definition(tau, steps, rate, start):
    """The loss as it is written, with torch's own gradients and optimiser."""
    step = torch.nn.Parameter(tau.sum(0) if start == "sum" else tau.mean(0))
    optimizer = torch.optim.Adam([step], lr=rate)
    for _ in range(steps):
        errors = [((step - one) @ one.T).square().sum() / one.square().sum() for one in tau]
        optimizer.zero_grad()
        torch.stack(errors).sum().backward()
        optimizer.step()
    return step.detach()


@pytest.mark.parametrize("start", ["sum", "mean"])
@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (3, 7), (1, 6), (6, 2)])
def test_as_the_loss_and_the_optimiser_say(shape, start):
    base, tau = drawn(*shape), drawn(3, *shape, seed=1)
    merged = wudi(base, base + tau, steps=40, rate=1e-2, start=start, scale=0.5)
    torch.testing.assert_close(merged, base + 0.5 * by_definition(tau, 40, 1e-2, start), rtol=1e-10, atol=1e-12)


def test_inputs_on_the_first_axis():
    base, tau = drawn(7, 5), drawn(3, 7, 5, seed=1)
    turned = wudi(base.T, (base + tau).mT, steps=20, rate=1e-2, inputs="first")
    torch.testing.assert_close(turned, wudi(base, base + tau, steps=20, rate=1e-2).T)


def test_without_steps_it_is_the_sum():
    base, tau = drawn(4, 3), drawn(2, 4, 3, seed=1)
    torch.testing.assert_close(wudi(base, base + tau, steps=0), base + tau.sum(0))


def test_tasks_that_do_not_meet_need_not_move():
    tau = torch.zeros(2, 3, 4, dtype=DOUBLE)
    tau[0, :, :2], tau[1, :, 2:] = drawn(3, 2), drawn(3, 2, seed=1)
    base = drawn(3, 4, seed=2)
    torch.testing.assert_close(wudi(base, base + tau, steps=50, rate=1e-2), base + tau.sum(0), rtol=0, atol=1e-9)


def test_one_task_and_unchanged_models_stay():
    base, tau = drawn(4, 3), drawn(1, 4, 3, seed=1)
    torch.testing.assert_close(wudi(base, base + tau), base + tau[0])
    assert torch.equal(wudi(base, base.expand(3, 4, 3)), base)


def test_vectors_and_kernels_are_averaged_and_kernels_may_be_folded():
    base, tau = drawn(4, 3, 2), drawn(2, 4, 3, 2, seed=1)
    torch.testing.assert_close(wudi(base, base + tau), base + tau.mean(0))
    folded = wudi(base, base + tau, kernels="fold")
    torch.testing.assert_close(folded, wudi(base.view(4, 6), (base + tau).view(2, 4, 6)).view(4, 3, 2))


def test_a_wrong_shape_and_what_is_no_number_are_refused():
    with pytest.raises(InputError, match="base is"):
        wudi(torch.zeros(2, 3), torch.zeros(2, 3, 2))
    with pytest.raises(NonFiniteError):
        wudi(torch.zeros(2, 2), torch.full((2, 2, 2), torch.nan))
