from __future__ import annotations

import math

import pytest
import torch

from ligate.methods.merge.slerp import slerp

A, B = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])


def test_half_way_between_two_right_angled_tensors():
    torch.testing.assert_close(slerp(A, B[None]), torch.tensor([[2.12132, 0.70711]]))


@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
def test_the_ends_are_the_models_and_the_coefficients_are_sines(t):
    merged = slerp(A, B[None], t=t)
    expected = math.sin((1 - t) * math.pi / 2) * A + math.sin(t * math.pi / 2) * B
    torch.testing.assert_close(merged, expected, atol=1e-6, rtol=1e-6)


def test_sixty_degrees():
    b = torch.tensor([[math.cos(math.pi / 3), math.sin(math.pi / 3)]])
    merged = slerp(torch.tensor([[1.0, 0.0]]), b[None], t=0.5)
    torch.testing.assert_close(merged, torch.tensor([[math.cos(math.pi / 6), math.sin(math.pi / 6)]]))


@pytest.mark.parametrize("b", [A * 1.01, -A, A + torch.tensor([[0.0, 0.05]])])
def test_a_straight_line_where_the_tensors_are_nearly_parallel_or_opposite(b):
    torch.testing.assert_close(slerp(A, b[None], t=0.25), 0.75 * A + 0.25 * b)


def test_vectors_are_mixed_on_a_straight_line_unless_asked_for():
    torch.testing.assert_close(slerp(A[0], B, t=0.5), torch.tensor([1.5, 0.5]))
    torch.testing.assert_close(slerp(A[0], B, t=0.5, vectors="curved"), slerp(A, B[None])[0])


def test_a_zero_tensor_has_no_angle():
    zero = torch.zeros_like(A)
    torch.testing.assert_close(slerp(zero, A[None], t=0.25), 0.25 * A)
    right = slerp(zero, A[None], t=0.25, no_angle="right")
    torch.testing.assert_close(right, math.sin(math.pi / 8) * A)
    assert torch.equal(slerp(zero, zero[None]), zero)


def test_a_copy_of_the_base_is_the_base():
    base = torch.randn(7, 5, dtype=torch.float64)
    assert torch.equal(slerp(base, base[None], t=0.37), base)


def test_lengths_too_long_to_square_are_mixed_on_a_straight_line():
    a, b = torch.tensor([[1e200, 0.0]], dtype=torch.float64), torch.tensor([[1e200, 1e200]], dtype=torch.float64)
    torch.testing.assert_close(slerp(a, b[None]), (a + b) / 2)


def test_the_record_tells_angle_and_lengths():
    stat = slerp.card.stats({})[0]
    value = stat.finish(stat.observe(stat.init(1), A[0], B, site=None))
    assert stat.report(value) == {"cosine": 0.0, "base_length": 3.0, "tuned_length": 1.0}


def test_gradients_flow_through_the_coefficients_of_a_fixed_angle():
    a, b = torch.randn(2, 3, dtype=torch.float64), torch.randn(1, 2, 3, dtype=torch.float64)
    stat = slerp.card.stats({})[0]
    angle = stat.finish(stat.observe(stat.init(1), a.flatten(), b.flatten(1), site=None))
    assert torch.autograd.gradcheck(
        lambda x, y: slerp(x, y, angle=angle, t=0.3), (a.requires_grad_(), b.requires_grad_())
    )
