from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.methods.merge.model_stock import model_stock


def by_definition(base, models):
    """The equation on whole vectors in float64."""
    taus, n = models - base, len(models)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(taus, 2)]
    cosine = np.mean(cosines)
    t = n * cosine / (1 + (n - 1) * cosine)
    return t * models.mean(0) + (1 - t) * base


@pytest.mark.parametrize("models", [2, 3, 5])
def test_the_equation(models):
    draw = np.random.default_rng(models)
    base = draw.standard_normal(50)
    tuned = base + 0.1 * (draw.standard_normal(50) + draw.standard_normal((models, 50)))
    merged = model_stock(torch.from_numpy(base), torch.from_numpy(tuned)).numpy()
    np.testing.assert_allclose(merged, by_definition(base, tuned), rtol=1e-12)


def test_each_row_has_its_own_angle():
    draw = np.random.default_rng(0)
    base = draw.standard_normal((4, 30))
    tuned = base + draw.standard_normal((4, 30)) + draw.standard_normal((3, 4, 30))
    merged = model_stock(torch.from_numpy(base), torch.from_numpy(tuned), along="rows").numpy()
    for row in range(4):
        np.testing.assert_allclose(merged[row], by_definition(base[row], tuned[:, row]), rtol=1e-12)


def test_right_angles_give_the_base_and_equal_models_give_themselves():
    base = torch.tensor([1.0, 1.0])
    assert torch.equal(model_stock(base, base + torch.eye(2)), base)
    torch.testing.assert_close(model_stock(base, (base * 3).expand(4, 2)), base * 3)


def test_a_negative_cosine_gives_the_base_or_what_lies_behind_it():
    tuned = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5]])  # 120 degrees: t = -2
    assert torch.equal(model_stock(torch.zeros(2), tuned), torch.zeros(2))
    behind = model_stock(torch.zeros(2), tuned, negative_cosine="extrapolate")
    torch.testing.assert_close(behind, -2 * tuned.mean(0))
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])  # the divisor is zero
    assert torch.equal(model_stock(torch.zeros(2), opposite, negative_cosine="extrapolate"), torch.zeros(2))


def test_a_change_of_nothing_has_no_angle():
    tuned = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert torch.equal(model_stock(torch.zeros(2), tuned), torch.zeros(2))


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(RecipeError, match="merges at least 2 models besides any base, not 1"):
        model_stock(torch.zeros(2), torch.zeros(1, 2))
    with pytest.raises(InputError, match="there is no base"):
        model_stock(None, torch.zeros(2, 2))
