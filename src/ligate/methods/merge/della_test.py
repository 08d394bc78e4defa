from __future__ import annotations

import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.core.method import Site
from ligate.methods.merge.della import della
from ligate.methods.merge.ties import ties

BASE = torch.zeros(4)
TUNED = torch.tensor([[4.0, -1, 2, 0.5], [2, 3, -1, 0.5]])


def noisy(*rows):
    """A place whose noise is these numbers."""
    return Site("w", (len(rows[0]),), 0, lambda model, step: torch.tensor(rows[model]))


def test_dropped_then_elected_then_averaged():
    # chances by rank .4, .46667, .53333, .6; kept: [4/.6, -1/.46667, ., .] and [2/.53333, 3/.6, -1/.46667, .]
    place = noisy([0.5, 0.4, 0.6, 0.9], [0.5, 0.5, 0.1, 0.9])
    merged = della(BASE, TUNED, site=place, density=0.5, epsilon=0.1, scale=1)
    torch.testing.assert_close(merged, torch.tensor([(4 / 0.6 + 2 / (8 / 15)) / 2, 5, -1 / (7 / 15), 0]))


def test_the_scale_is_the_last_thing():
    place = noisy([0.0] * 4, [0.9] * 4)
    one, two = (della(BASE, TUNED, site=place, density=0.5, epsilon=0.1, scale=scale) for scale in (1, 2))
    torch.testing.assert_close(two, 2 * one)


def test_a_vote_of_zero():
    tuned = torch.tensor([[2.0], [-2.0]])
    place = noisy([0.0], [0.0])
    sums = {tie: della(BASE[:1], tuned, site=place, density=0.5, scale=1, tie=tie) for tie in ("positive", "zero")}
    assert {tie: merged.item() for tie, merged in sums.items()} == {"positive": 4.0, "zero": 0.0}


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("rescale", ["inverse_prob", "l1", "none"])
def test_density_one_is_ties_without_trim(normalize, rescale):
    merged = della(BASE, TUNED, density=1, scale=1, normalize=normalize, rescale=rescale, weight=(1, 2))
    expected = ties(BASE, TUNED, density=1, tie="positive", normalize=normalize, weight=(1, 2))
    assert torch.equal(merged, expected)


def test_density_zero_is_the_base():
    assert torch.equal(della(BASE + 1, BASE + 1 + TUNED, density=0), BASE + 1)


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(RecipeError, match="gives probabilities from"):
        della(BASE, TUNED, density=0.1, epsilon=0.1)
    with pytest.raises(InputError, match="there is no base"):
        della(None, TUNED)
