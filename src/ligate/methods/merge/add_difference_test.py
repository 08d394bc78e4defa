from __future__ import annotations

import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.methods.merge.add_difference import add_difference

DRAW = torch.Generator().manual_seed(2)
C = torch.randn(200, dtype=torch.float64, generator=DRAW)
A, B = C + torch.randn(2, 200, dtype=torch.float64, generator=DRAW)


def test_the_equation():
    torch.testing.assert_close(add_difference(C, torch.stack([A, B]), multiplier=0.7), A + 0.7 * (B - C))


def test_the_order_of_the_models_matters():
    merged = add_difference(torch.tensor([1.0]), torch.tensor([[2.0], [5.0]]), multiplier=10)
    assert merged.tolist() == [42.0]
    assert add_difference(torch.tensor([1.0]), torch.tensor([[5.0], [2.0]]), multiplier=10).tolist() == [15.0]


def test_no_difference_leaves_the_first_model():
    tuned = torch.stack([A, C]).float()
    assert torch.equal(add_difference(C.float(), tuned, multiplier=3), tuned[0])
    assert torch.equal(add_difference(C.float(), torch.stack([A, B]).float(), multiplier=0), tuned[0])


def test_what_no_model_changed_stays_to_the_last_bit():
    assert torch.equal(add_difference(C, torch.stack([C, C]), multiplier=0.3), C)


def test_two_models_and_a_base_are_needed():
    with pytest.raises(RecipeError, match="merges 2 models besides any base, not 3"):
        add_difference(C, torch.stack([A, B, C]))
    with pytest.raises(InputError, match="there is no base"):
        add_difference(None, torch.stack([A, B]))
    with pytest.raises(InputError, match=r"base is \(3,\), models are \(200,\)"):
        add_difference(C[:3], torch.stack([A, B]))


def test_gradients():
    base, tuned = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.randn(2, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(add_difference, (base, tuned.requires_grad_()))
