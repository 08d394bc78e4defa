from __future__ import annotations

import torch

from ligate.methods.merge.passthrough import passthrough


def test_the_tensor_as_it_is_and_scaled():
    tuned = torch.tensor([[1.0, -2.0]])
    assert torch.equal(passthrough(None, tuned), tuned[0])
    assert torch.equal(passthrough(None, tuned, scale=0.5), torch.tensor([0.5, -1.0]))
    assert torch.equal(passthrough(None, tuned, scale=(0.0,)), torch.zeros(2))


def test_the_result_is_a_tensor_of_its_own():
    tuned = torch.ones(1, 2)
    passthrough(None, tuned).zero_()
    assert torch.equal(tuned, torch.ones(1, 2))
