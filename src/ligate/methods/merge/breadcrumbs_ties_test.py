from __future__ import annotations

import pytest
import torch

from ligate.core.errors import InputError
from ligate.methods.merge.breadcrumbs import breadcrumbs
from ligate.methods.merge.breadcrumbs_ties import breadcrumbs_ties
from ligate.methods.merge.ties import ties

BASE = torch.zeros(5)
TUNED = torch.tensor([[1.0, -2, 3, -4, 5], [-5, -4, 3, 2, 1]])


def test_the_sum_may_be_divided_by_the_weights_in_it():
    # the middles [., -2, 3, -4, .] and [., -4, 3, 2, .], the second one times 3; the fourth coordinate elects +
    merged = breadcrumbs_ties(BASE, TUNED, density=0.6, gamma=0.2, weight=(1, 3), normalize=True)
    torch.testing.assert_close(merged, torch.tensor([0, -14 / 4, 3, 6 / 3, 0]))


def test_a_vote_of_zero():
    tuned = torch.tensor([[1.0, 9], [-1, 9]])
    merged = [breadcrumbs_ties(BASE[:2], tuned, density=0.5, gamma=0.5, tie=tie) for tie in ("positive", "zero")]
    assert [one.tolist() for one in merged] == [[1, 0], [0, 0]]


@pytest.mark.parametrize("rescale", ["none", "l1"])
def test_one_model_has_nobody_to_disagree_with(rescale):
    given = {"density": 0.6, "gamma": 0.2, "rescale": rescale, "scale": 0.7}
    torch.testing.assert_close(breadcrumbs_ties(BASE, TUNED[:1], **given), breadcrumbs(BASE, TUNED[:1], **given))


def test_density_one_is_ties_without_trim():
    expected = ties(BASE, TUNED, density=1, tie="positive", normalize=False)
    assert torch.equal(breadcrumbs_ties(BASE, TUNED, density=1), expected)


def test_there_must_be_a_base():
    with pytest.raises(InputError, match="there is no base"):
        breadcrumbs_ties(None, TUNED)
