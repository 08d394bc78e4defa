from __future__ import annotations

import re
from itertools import pairwise

import pytest
import torch

from ligate.bench.demo.shipped import MERGES, Merge, shipped
from ligate.bench.merging import in_memory
from ligate.recipe.parse import parse_text


def states() -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    labels = ("pretrained", "library", "topic", "kind")
    return {label: {"layer.weight": torch.randn(6, 5, generator=generator)} for label in labels}


@pytest.mark.parametrize("merge", MERGES, ids=lambda merge: merge.recipe)
def test_a_shipped_recipe_runs_and_its_grid_reaches_the_rule(merge: Merge):
    texts = [merge.text(value) for value in (merge.grid or (None,))]
    results = [in_memory(text, states())["layer.weight"] for text in texts]
    assert all(result.shape == (6, 5) and bool(result.isfinite().all()) for result in results)
    for one, other in pairwise(results):
        assert not torch.equal(one, other)


@pytest.mark.parametrize("merge", [merge for merge in MERGES if merge.grid], ids=lambda merge: merge.recipe)
def test_only_the_coefficient_changes_in_the_text(merge: Merge):
    changed = [
        (old, new)
        for old, new in zip(merge.text().splitlines(), merge.text(0.125).splitlines(), strict=True)
        if old != new
    ]
    assert len(changed) == 1
    assert re.match(rf"\s+{merge.coefficient}: 0.125\s", changed[0][1])
    assert "chosen on the validation split" in changed[0][1]


def test_the_average_is_the_average():
    models = states()
    expected = torch.stack([models[label]["layer.weight"].double() for label in ("library", "topic", "kind")]).mean(0)
    result = in_memory(MERGES[0].text(), models)["layer.weight"]
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-6)


def test_merging_leaves_its_inputs_alone():
    models = states()
    in_memory(MERGES[2].text(1.0), models)
    assert all(torch.equal(models[label]["layer.weight"], states()[label]["layer.weight"]) for label in models)


def test_a_recipe_whose_coefficient_is_not_there_is_noticed():
    with pytest.raises(ValueError, match="sets `scale` 0 times"):
        Merge("average", "average", coefficient="scale", grid=(1.0,)).text(1.0)


def test_the_wrong_recipe_is_well_formed_so_that_its_parameters_are_what_is_refused():
    assert parse_text(shipped("wrong")).steps[0].method == "ties"
