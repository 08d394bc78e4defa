from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.core.method import Site
from ligate.methods.merge.della_linear import della_linear
from ligate.methods.merge.task_arithmetic import task_arithmetic
from ligate.ops.notebook import site

ROW = torch.tensor([[0.1, -0.4, 0.2, 0.3]])


def noisy(*rows):
    """A place whose noise is these numbers."""
    return Site("w", tuple(torch.tensor(rows[0]).shape), 0, lambda model, step: torch.tensor(rows[model]))


def by_definition(base, tuned, noise, density, epsilon, weights, rescale):
    """Ranks row by row, in float64."""
    total = np.zeros_like(base)
    for tau, drawn, weight in zip(tuned - base, noise, weights, strict=True):
        rank = np.abs(tau).argsort(-1, kind="stable").argsort(-1)
        chance = density - epsilon + 2 * epsilon * rank / (base.shape[-1] - 1)
        kept = tau * (drawn < chance)
        if rescale == "inverse_prob":
            kept = kept / chance
        elif rescale == "l1":
            kept = kept * np.abs(tau).sum() / np.abs(kept).sum()
        total += weight * kept
    return base + total


@pytest.mark.parametrize(
    ("noise", "merged"),
    [
        ([0.0, 0, 0, 0], [0.25, -0.66667, 0.42857, 0.5625]),
        ([0.39, 0.61, 0.47, 0.53], [0.25, 0, 0, 0.5625]),  # the chances are .4, .6, .46667, .53333
        ([0.41, 0.59, 0.46, 0.54], [0, -0.66667, 0.42857, 0]),
    ],
)
def test_a_large_entry_survives_more_often_and_counts_less_for_it(noise, merged):
    result = della_linear(torch.zeros(4), ROW, site=noisy(noise), density=0.5, epsilon=0.1)
    torch.testing.assert_close(result, torch.tensor(merged), rtol=1e-4, atol=0)


@pytest.mark.parametrize("rescale", ["inverse_prob", "l1", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_as_the_equation_says(rescale, dtype):
    draw = np.random.default_rng(0)
    base, noise = draw.standard_normal((5, 8)), draw.uniform(size=(2, 5, 8))
    tuned = np.round(base + draw.standard_normal((2, 5, 8)), 1)
    base, tuned = (torch.from_numpy(x).to(dtype) for x in (np.round(base, 1), tuned))
    merged = della_linear(
        base, tuned, site=noisy(*noise.tolist()), density=0.6, epsilon=0.3, weight=(1, -0.5), rescale=rescale
    )
    wide = [x.double().numpy() for x in (base, tuned)]
    expected = by_definition(*wide, noise, 0.6, 0.3, (1, -0.5), rescale)
    np.testing.assert_allclose(merged.double().numpy(), expected, rtol=1e-5 if dtype == torch.float32 else 1e-12)


def test_equal_magnitudes_rank_in_their_order():
    place = noisy([0.45, 0.45, 0.55, 0.55])  # chances .4, .4667, .5333, .6
    merged = della_linear(torch.zeros(4), torch.ones(1, 4), site=place, density=0.5, epsilon=0.1, rescale="none")
    assert merged.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("shape", [(), (1,), (6, 1)])
def test_rows_of_one_entry_have_the_density_for_their_chance(shape):
    tuned, place = torch.ones(1, *shape), site("w", shape, ["a"])
    merged = della_linear(torch.zeros(shape), tuned, site=place, density=0.5, epsilon=0.1)
    assert set(merged.reshape(-1).tolist()) <= {0.0, 2.0}


def test_the_expectation_is_that_of_task_arithmetic():
    tuned = torch.rand(1, 40, 5000, generator=torch.Generator().manual_seed(0))
    base, place = torch.zeros(40, 5000), site("w", (40, 5000), ["a"])
    merged = della_linear(base, tuned, site=place, density=0.3, epsilon=0.2)
    assert abs(merged.mean().item() - tuned.mean().item()) < 0.005
    assert abs((merged > 0).double().mean().item() - 0.3) < 0.005


def test_density_one_drops_nothing_and_zero_everything():
    base, tuned = torch.ones(4), torch.ones(4) + ROW
    torch.testing.assert_close(della_linear(base, tuned, density=1, scale=0.3), task_arithmetic(base, tuned))
    assert torch.equal(della_linear(base, tuned, density=0), base)


def test_chances_outside_0_and_1_are_refused():
    for density in (0.2, 0.8):
        with pytest.raises(RecipeError, match="gives probabilities from"):
            della_linear(torch.zeros(4), ROW, density=density, epsilon=0.2)
    params = {"density": (1.0, 0.5), "epsilon": (0.3, 0.5), "weight": (1.0, 1.0), "normalize": False}
    with pytest.raises(RecipeError, match="gives probabilities from 0 to 1"):
        della_linear.card.check(params)
    della_linear.card.check(params | {"epsilon": 0.4})


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(InputError, match="there is no base"):
        della_linear(None, ROW)
    with pytest.raises(RecipeError, match="needs to know where it is"):
        della_linear(torch.zeros(4), ROW)
