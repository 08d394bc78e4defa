from __future__ import annotations

import pytest
import torch

from ligate.core.method import Site
from ligate.methods.merge.dare_ties import dare_ties
from ligate.methods.merge.ties import ties
from ligate.ops.notebook import site


def keeping(*masks):
    """A place whose noise keeps, at density 0.5, the entries marked 1."""
    return Site(
        "w", (len(masks[0]),), 0, lambda model, step: 0.9 - 0.8 * torch.tensor(masks[model], dtype=torch.float32)
    )


BASE = torch.zeros(4)
TUNED = torch.tensor([[4.0, -1, 2, 0.5], [2, 3, -1, 0.5]])


def test_dropped_then_trimmed_then_elected():
    # dropped and doubled: [8,0,4,0] [0,6,0,1]; the better half of each is all that is left but 1
    place = keeping([1, 0, 1, 0], [0, 1, 0, 1])
    merged = dare_ties(BASE, TUNED, site=place, density=0.5, trim=0.5)
    torch.testing.assert_close(merged, torch.tensor([8.0, 6, 4, 1]))
    merged = dare_ties(BASE, TUNED, site=place, density=0.5, trim=0.25)
    torch.testing.assert_close(merged, torch.tensor([8.0, 6, 0, 0]))


def test_without_trim_and_divisor_the_entries_of_the_elected_sign_add_up():
    place = keeping([1, 1, 1, 1], [1, 0, 1, 0])
    meaning = {"trim": 1.0, "normalize": False, "tie": "positive", "rescale": "l1"}
    merged = dare_ties(BASE, TUNED, site=place, density=0.5, **meaning)
    second = TUNED[1] * torch.tensor([1.0, 0, 1, 0]) * 6.5 / 3
    torch.testing.assert_close(merged, torch.tensor([4 + second[0], -1, second[2], 0.5]))


@pytest.mark.parametrize("rescale", ["inverse_prob", "l1", "none"])
@pytest.mark.parametrize("tie", ["majority", "positive", "zero"])
def test_density_one_is_ties(rescale, tie):
    merged = dare_ties(BASE, TUNED, density=1, trim=0.5, rescale=rescale, tie=tie)
    assert torch.equal(merged, ties(BASE, TUNED, density=0.5, tie=tie))


def test_trim_counts_the_dropped_entries_as_zeros():
    place = keeping([0, 0, 0, 1], [0, 0, 0, 1])
    merged = dare_ties(BASE, TUNED, site=place, density=0.5, trim=0.5)
    torch.testing.assert_close(merged, torch.tensor([0.0, 0, 0, 1]))


def test_statistics_are_measured_where_needed():
    def names(**given):
        params = {name: param.default for name, param in dare_ties.card.params.items()} | given
        return [stat.name for stat in dare_ties.card.stats(params)]

    assert names() == ["threshold", "majority"]
    assert names(trim=1.0, rescale="l1", tie="positive") == ["gain"]


def test_gradients_of_what_is_left():
    base, tuned = torch.randn(40, dtype=torch.float64), torch.randn(2, 40, dtype=torch.float64)
    place = site("w", (40,), ["a", "b"])

    def rule(x, y):
        return dare_ties(x, y, site=place, density=0.5, trim=0.3)

    assert torch.equal(rule(base, tuned), rule(base.requires_grad_(), tuned.requires_grad_()))
    assert torch.autograd.gradcheck(rule, (base, tuned))
