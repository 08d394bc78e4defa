"""RegMean against its equation and against what it is the least of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, RecipeError

from .regmean import regmean

TUNED = torch.tensor([[[1.0, 2.0]], [[5.0, 6.0]]], dtype=torch.float64)


def matrices(*rows: list[list[float]]) -> list[torch.Tensor]:
    return [torch.tensor(one, dtype=torch.float64) for one in rows]


@pytest.mark.parametrize(("first", "alpha", "due"), [
    ([[3.0, 0.0], [0.0, 1.0]], 1.0, [2.0, 4.0]),
    ([[2.0, 1.0], [1.0, 2.0]], 1.0, [2.0, 3.0]),
    ([[2.0, 1.0], [1.0, 2.0]], 0.9, [2.025641, 3.025641]),
])  # fmt: skip
def test_two_inputs_by_hand(first, alpha, due):
    grams = matrices(first, [[1.0, 0.0], [0.0, 1.0]])
    merged = regmean(None, TUNED, grams=grams, alpha=alpha, ridge=0.0)
    assert merged[0].tolist() == pytest.approx(due, abs=1e-6)


def problem(seed: int = 0, rows: int = 30) -> tuple[list[torch.Tensor], torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(rows, 5, generator=draw, dtype=torch.float64) for _ in range(3)]
    return inputs, torch.randn(3, 4, 5, generator=draw, dtype=torch.float64)


def test_it_is_the_least_squares_layer_on_all_inputs():
    inputs, tuned = problem()
    weights = (0.2, 0.5, 1.0)
    grams = [x.T @ x / len(x) for x in inputs]
    merged = regmean(None, tuned, grams=grams, weight=weights, alpha=1.0, ridge=0.0)
    rows = np.concatenate([w**0.5 * x.numpy() for x, w in zip(inputs, weights, strict=True)])
    wanted = np.concatenate([w**0.5 * (x @ own.T).numpy() for x, own, w in zip(inputs, tuned, weights, strict=True)])
    due = np.linalg.lstsq(rows, wanted, rcond=None)[0].T
    np.testing.assert_allclose(merged.numpy(), due, rtol=1e-9)


def test_layers_that_take_their_inputs_on_the_first_axis():
    inputs, tuned = problem()
    grams = [x.T @ x / len(x) for x in inputs]
    turned = regmean(None, tuned.transpose(1, 2).contiguous(), grams=grams, inputs="first")
    torch.testing.assert_close(turned.T, regmean(None, tuned, grams=grams), rtol=1e-12, atol=0)


def test_directions_without_inputs_are_averaged():
    """Three inputs of five are ever seen: two columns of the mean stay."""
    inputs, tuned = problem(rows=2)
    for x in inputs:
        x[:, 3:] = 0
    grams = [x.T @ x / len(x) for x in inputs]
    merged = regmean(None, tuned, grams=grams, alpha=1.0)
    torch.testing.assert_close(merged[:, 3:], tuned.mean(0)[:, 3:], rtol=1e-9, atol=0)
    torch.testing.assert_close(regmean(None, tuned, grams=[g * 0 for g in grams]), tuned.mean(0))
    with pytest.raises(RecipeError, match="do not determine the layer"):
        regmean(None, tuned, grams=grams, alpha=1.0, ridge=0.0)


def test_copies_of_one_model_stay_what_they_are():
    inputs, tuned = problem()
    same = tuned[:1].expand(3, -1, -1)
    torch.testing.assert_close(regmean(None, same, grams=[x.T @ x for x in inputs]), tuned[0], rtol=1e-10, atol=1e-12)


def test_the_order_of_the_models_does_not_matter():
    inputs, tuned = problem()
    grams = [x.T @ x for x in inputs]
    turned = regmean(None, tuned.flip(0), grams=grams[::-1], weight=(3, 2, 1))
    torch.testing.assert_close(turned, regmean(None, tuned, grams=grams, weight=(1, 2, 3)), rtol=1e-10, atol=0)


def test_float32_is_solved_in_float64_and_rounded_once():
    inputs, tuned = problem()
    grams = [(x.T @ x).float() for x in inputs]
    found = regmean(None, tuned.float(), grams=grams)
    due = regmean(None, tuned.float().double(), grams=[gram.double() for gram in grams])
    assert found.dtype == torch.float32 and torch.equal(found, due.float())


@pytest.mark.parametrize(("shape", "axis", "hint"), [
    ((4, 4), "last", "inputs: first"), ((5, 4), "last", "measure"), ((5, 5), "first", "inputs: last")
])  # fmt: skip
def test_a_matrix_of_another_layer_is_told(shape, axis, hint):
    with pytest.raises(InputError, match="Gram matrix is") as error:
        regmean(None, torch.ones(2, 4, 5), grams=[torch.ones(shape)] * 2, inputs=axis)
    assert hint in str(error.value)
