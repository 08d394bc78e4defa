from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ligate.core.errors import RecipeError
from ligate.methods.merge.ties import ties
from ligate.ops.order import Kth

BASE = torch.zeros(4)
TUNED = torch.tensor([[4.0, -1, 2, 0.5], [2, 3, -1, 0.5], [-1, 2, 4, -0.5]])


def by_definition(tau, kept, weights, *, normalize, tie):
    """The equation with masks, in float64."""
    tau, weights = tau.double() * kept, torch.tensor(weights, dtype=torch.float64)
    delta = tau * weights[:, None]
    mass = delta.sum(0)
    if tie != "zero":
        side = 1.0 if tie == "positive" or (mass > 0).sum() > (mass < 0).sum() else -1.0
        mass = torch.where(mass == 0, side, mass)
    agree = (delta.sign() == mass.sign()) & (delta != 0)
    total, voters = (delta * agree).sum(0), (weights[:, None] * agree).sum(0)
    return total / torch.where(voters.abs() < 1e-9, 1.0, voters) if normalize else total


def test_the_better_half_of_three_task_vectors():
    # trimmed [4,0,2,0] [2,3,0,0] [0,2,4,0]; all signs +; means of the non-zero ones
    torch.testing.assert_close(ties(BASE, TUNED, density=0.5), torch.tensor([3, 2.5, 3, 0]))
    torch.testing.assert_close(ties(BASE, TUNED, density=0.5, normalize=False), torch.tensor([6.0, 5, 6, 0]))


def test_base_and_scale():
    base = torch.tensor([1.0, 2, 3, 4])
    merged = ties(base, base + TUNED, density=0.5, scale=2)
    torch.testing.assert_close(merged, base + torch.tensor([6.0, 5, 6, 0]))


def test_the_sign_of_the_larger_mass_wins_not_of_the_larger_number():
    tuned = torch.tensor([[5.0], [-1.0], [-2.0]])
    torch.testing.assert_close(ties(torch.zeros(1), tuned, density=1), torch.tensor([5.0]))


@pytest.mark.parametrize(
    ("tie", "flip", "first"),
    [
        ("majority", 1, 2.0),  # two other coordinates elect +
        ("majority", -1, 2.0),  # now -, and of the flipped models -(-2) is the negative one
        ("positive", 1, 2.0),
        ("positive", -1, -2.0),
        ("zero", 1, 0.0),
    ],
)
def test_a_sum_of_zero_elects_as_the_parameter_says(tie, flip, first):
    tuned = flip * torch.tensor([[2.0, 2, 3], [-2, 1, 1]])
    merged = flip * ties(torch.zeros(3), tuned, density=1, tie=tie)
    torch.testing.assert_close(merged, torch.tensor([first, 1.5, 2]))


def test_without_any_majority_a_sum_of_zero_elects_the_negative_sign():
    torch.testing.assert_close(ties(torch.zeros(1), torch.tensor([[2.0], [-2.0]]), density=1), torch.tensor([-2.0]))


def test_trimmed_first_then_weighted():
    # trimmed to [4,0,2,0] [2,3,0,0]; times 1 and 3: [4,0,2,0] [6,9,0,0]; divided by the weights that agree
    merged = ties(BASE, TUNED[:2], density=0.5, weight=(1, 3))
    torch.testing.assert_close(merged, torch.tensor([10 / 4, 9 / 3, 2 / 1, 0]))


def test_negative_weights_vote_against_and_divide_with_their_sign():
    tuned = torch.tensor([[3.0, 3.0], [-1.0, 1.0]])
    merged = ties(torch.zeros(2), tuned, density=1, weight=(2, -1))
    # weighted [6,6] [1,-1]: both agree in the first (7 / (2-1)), one in the second (6 / 2)
    torch.testing.assert_close(merged, torch.tensor([7.0, 3.0]))


def test_weights_that_cancel_where_they_agree_do_not_divide():
    # 0.3 + 0.6 - 0.9 is 6e-8 in float32: no divisor, but a zero that rounding has spoiled
    merged = ties(torch.zeros(1), torch.tensor([[3.0], [1.0], [-2.0]]), density=1, weight=(0.3, 0.6, -0.9))
    torch.testing.assert_close(merged, torch.tensor([0.9 + 0.6 + 1.8]))


def test_all_entries_as_large_as_the_last_one_kept_are_kept():
    tuned = torch.tensor([[1.0, -1, 1, 0.5]])
    torch.testing.assert_close(ties(BASE, tuned, density=0.25), torch.tensor([1.0, -1, 1, 0]))


def test_density_zero_is_the_base_and_density_one_keeps_all():
    assert torch.equal(ties(BASE, TUNED, density=0), BASE)
    torch.testing.assert_close(ties(BASE, TUNED[:1], density=1), TUNED[0])
    torch.testing.assert_close(ties(BASE, TUNED, density=(0, 1, 0)), TUNED[1])


def test_the_l1_norm_of_a_trimmed_vector_is_restored():
    torch.testing.assert_close(ties(BASE, TUNED[:1], density=0.5, rescale="l1"), TUNED[0] * 7.5 / 6 * (TUNED[0] > 1))


def test_densities_must_be_one_per_model():
    with pytest.raises(RecipeError, match="`density` has 2 values for 3 models"):
        ties(BASE, TUNED, density=(0.5, 0.5))


def test_passes_over_the_inputs_are_made_only_where_needed():
    def names(**given):
        params = {name: param.default for name, param in ties.card.params.items()} | given
        return [(stat.name, stat.scope) for stat in ties.card.stats(params)]

    assert names() == [("threshold", "model"), ("majority", "model")]
    assert names(scope="tensor", tie="positive") == [("threshold", "tensor")]
    assert names(density=(1.0, 1.0), tie="zero", rescale="l1") == []
    assert names(density=(1.0, 0.9), rescale="l1") == [
        ("threshold", "model"), ("gain", "model"), ("majority", "model")
    ]  # fmt: skip


@given(
    st.integers(1, 4).flatmap(
        lambda k: st.tuples(
            st.lists(st.lists(st.floats(-2, 2, width=16), min_size=k, max_size=k), min_size=1, max_size=40),
            st.lists(st.sampled_from([1.0, 0.5, 0.25, -0.5, 0.0]), min_size=k, max_size=k),
        )
    ),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.booleans(),
    st.sampled_from(["majority", "positive", "zero"]),
)
def test_as_the_equation_says(tau_and_weights, density, normalize, tie):
    tau, weights = torch.tensor(tau_and_weights[0]).T.contiguous(), tau_and_weights[1]
    n = tau.shape[1]
    k = max(1, int(density * n)) if density else 0
    kept = torch.stack([row.abs() >= (row.abs().sort().values[n - k] if k else torch.inf) for row in tau])
    merged = ties(torch.zeros(n), tau, density=density, weight=weights, normalize=normalize, tie=tie)
    expected = by_definition(tau, kept, weights, normalize=normalize, tie=tie)
    torch.testing.assert_close(merged.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weight", [1.0, (0.5, 0.3, -0.2)])
@pytest.mark.parametrize("normalize", [True, False])
def test_gradients_are_those_of_the_entries_that_are_added(weight, normalize):
    g = torch.Generator().manual_seed(1)
    base = torch.randn(9, dtype=torch.float64, generator=g)
    tuned = torch.randn(3, 9, dtype=torch.float64, generator=g)
    known = {"threshold": tuple(Kth(0.4, 0, 0, 0) for _ in range(3)), "majority": 1}

    def rule(x, y):
        return ties(x, y, **known, density=0.5, weight=weight, normalize=normalize)

    plain = rule(base, tuned)
    with_gradients = rule(base.requires_grad_(), tuned.requires_grad_())
    assert torch.equal(plain, with_gradients)
    assert torch.autograd.gradcheck(rule, (base, tuned))
