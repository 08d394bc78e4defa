from __future__ import annotations

import math

import pytest
import torch

from ligate.learn.masks import Held, Masked, logistic
from ligate.learn.parametrisations import Coefficients


def test_a_drawn_mask_by_hand(monkeypatch):
    """Logit 0, u = .8, T = .5: sigmoid(ln(.8 / .2) / .5) = .941176."""
    monkeypatch.setattr("ligate.learn.masks.uniform", lambda *_: torch.tensor([0.8]).numpy())
    by = Masked(temperature=0.5)
    assert by.mask("w", {"mask:w": torch.zeros(1)}, step=0).tolist() == pytest.approx([0.941176], abs=1e-6)


def test_draws_are_those_of_a_relaxed_bernoulli():
    """P(m > 1/2) is the probability of the logit, whatever the temperature; independent of the way it is drawn."""
    by = Masked(temperature=0.7)
    drawn = by.mask("w", {"mask:w": torch.full((20000,), math.log(3.0))}, step=4)
    assert float((drawn > 0.5).float().mean()) == pytest.approx(0.75, abs=0.01)
    theirs = torch.distributions.RelaxedBernoulli(torch.tensor(0.7), logits=torch.full((20000,), math.log(3.0)))
    torch.manual_seed(0)
    sample = theirs.sample()
    for share in (0.1, 0.3, 0.5, 0.9):
        assert float(drawn.quantile(share)) == pytest.approx(float(sample.quantile(share)), abs=0.02)


def test_a_step_draws_the_same_again_and_another_step_others():
    one = logistic(0, "w", 3, (4, 5))
    assert one.equal(logistic(0, "w", 3, (4, 5)))
    assert not any(one.equal(other) for other in (logistic(0, "w", 4, (4, 5)), logistic(1, "w", 3, (4, 5)),
                                                  logistic(0, "v", 3, (4, 5))))  # fmt: skip
    assert one.isfinite().all()


def test_the_merge_that_is_used_has_no_chance():
    by, numbers = Masked(Coefficients("task"), temperature=0.5), {"": torch.ones(1), "mask:w": torch.zeros(2, 3)}
    merged = by.merged("w", torch.zeros(2, 3), torch.ones(1, 2, 3), numbers)
    assert merged.equal(torch.ones(2, 3))
    drawn = by.merged("w", torch.zeros(2, 3), torch.ones(1, 2, 3), numbers, step=0)
    assert float(drawn.mean()) == pytest.approx(1.0) and drawn.std() > 0.1  # rescaled by its mean


def test_what_is_held_is_not_learned():
    masks = {"mask:w": torch.tensor([2.0, -2.0])}
    by = Held(Masked(temperature=0.5), masks)
    start = by.start({"w": (2,)}, 2)
    assert list(start) == ["w"]
    whole = Masked().merged("w", torch.zeros(2), torch.ones(2, 2), start | masks)
    assert by.merged("w", torch.zeros(2), torch.ones(2, 2), start, step=5).equal(whole)
    assert by.shares(start).tolist() == pytest.approx([0.5, 0.5])
