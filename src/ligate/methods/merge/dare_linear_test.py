from __future__ import annotations

import pytest
import torch

from ligate.core.errors import RecipeError
from ligate.core.method import Site
from ligate.methods.merge.dare_linear import dare_linear
from ligate.methods.merge.task_arithmetic import task_arithmetic
from ligate.ops.notebook import site

BASE, TUNED = torch.zeros(4), torch.tensor([[1.0, 2, 3, 4]])


def keeping(*masks):
    """A place whose noise keeps, at density 0.5, the entries marked 1."""
    return Site(
        "w", (len(masks[0]),), 0, lambda model, step: 0.9 - 0.8 * torch.tensor(masks[model], dtype=torch.float32)
    )


@pytest.mark.parametrize(
    ("mask", "rescale", "merged"),
    [
        ([1, 0, 0, 1], "inverse_prob", [2.0, 0, 0, 8]),
        ([0, 0, 1, 1], "inverse_prob", [0.0, 0, 6, 8]),
        ([1, 0, 0, 1], "l1", [2.0, 0, 0, 8]),
        ([0, 0, 1, 1], "l1", [0.0, 0, 4.2857, 5.7143]),
        ([0, 0, 1, 1], "none", [0.0, 0, 3, 4]),
        ([0, 0, 0, 0], "l1", [0.0, 0, 0, 0]),
    ],
)
def test_survivors_are_scaled_up(mask, rescale, merged):
    result = dare_linear(BASE, TUNED, site=keeping(mask), density=0.5, rescale=rescale)
    torch.testing.assert_close(result, torch.tensor(merged), rtol=1e-4, atol=0)


def test_two_models_with_weights_and_scale():
    tuned, place = torch.tensor([[1.0, 2], [3, 5]]), keeping([1, 0], [1, 1])
    merged = dare_linear(torch.ones(2), tuned, site=place, density=0.5, weight=(1, 3), scale=0.5, normalize=True)
    torch.testing.assert_close(merged, 1 + 0.5 * (torch.tensor([0.0, 0]) * 0.25 + torch.tensor([4.0, 8]) * 0.75))


@pytest.mark.parametrize("rescale", ["inverse_prob", "l1", "none"])
def test_density_one_drops_nothing_and_needs_no_noise(rescale):
    merged = dare_linear(BASE, TUNED, density=1, rescale=rescale, scale=0.3)
    torch.testing.assert_close(merged, task_arithmetic(BASE, TUNED, scale=0.3))


def test_density_zero_is_the_base():
    assert torch.equal(dare_linear(BASE, TUNED, site=keeping([1, 1, 1, 1]), density=0), BASE)


def test_the_expectation_is_that_of_task_arithmetic():
    n = 200_000
    merged = dare_linear(torch.zeros(n), torch.ones(1, n), site=site("w", (n,), ["a"]), density=0.25)
    assert abs(merged.mean().item() - 1) < 0.02
    assert set(merged.unique().tolist()) == {0.0, 4.0}


def test_masks_depend_on_seed_tensor_and_model_alone():
    def masks(name, models, seed=0):
        place = site(name, (64,), models, seed=seed)
        ones = torch.ones(len(models), 64)
        return [
            dare_linear(torch.zeros(64), ones, site=place, density=0.5, weight=torch.eye(len(models))[k].tolist())
            for k in range(len(models))
        ]

    a, b = masks("w", ["a", "b"])
    assert torch.equal(masks("w", ["b"])[0], b) and torch.equal(masks("w", ["c", "a"])[1], a)
    assert not torch.equal(a, b)
    assert not torch.equal(masks("v", ["a"])[0], a) and not torch.equal(masks("w", ["a"], seed=1)[0], a)


def test_without_a_place_there_is_nothing_to_draw_from():
    with pytest.raises(RecipeError, match="needs to know where it is"):
        dare_linear(BASE, TUNED, density=0.5)


def test_gradients_of_the_survivors():
    tuned, place = torch.randn(2, 4, dtype=torch.float64, requires_grad=True), keeping([1, 0, 1, 0], [1, 1, 0, 0])
    base = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y: dare_linear(x, y, site=place, density=0.5), (base, tuned))
