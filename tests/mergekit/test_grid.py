"""Random configs over all methods, parameters, filters, lists over the layers and slices: mergekit's numbers and ours.

Without mergekit the numbers stored beside each config in grid.jsonl are the measure; where LIGATE_MERGEKIT_PYTHON names
an interpreter that has mergekit, every tensor of its result is.
"""

from __future__ import annotations

from pathlib import Path

import grid
import numpy as np
import pytest
from grid import GridCase
from process import MERGEKIT, mergekit_results
from tiny_llama import Tensors, read_model

from ligate.recipe.dialects.mergekit_methods import RULES
from ligate.verbs.merge import merge

CASES = grid.cases()
EXACT = {"rtol": 1e-9, "atol": 1e-11}  # of numbers of size 1
NEAR = {
    "multislerp": {"rtol": 0, "atol": 2e-8},  # mergekit adds 1e-8 to every length
    "ramplus_tl": {"rtol": 1e-6, "atol": 2e-7},  # and divides counts in float32
}


@pytest.fixture(scope="session")
def grid_room(tmp_path_factory) -> Path:
    room = tmp_path_factory.mktemp("grid")
    grid.write_models(room)
    return room


@pytest.fixture(scope="session")
def theirs(grid_room) -> dict[str, Path]:
    """mergekit's results by the names of the cases; none without mergekit."""
    return mergekit_results(grid_room, {case.name: case.text for case in CASES}) if MERGEKIT else {}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_config_makes_mergekits_numbers(case: GridCase, grid_room, theirs, tmp_path, monkeypatch):
    monkeypatch.chdir(grid_room)
    (tmp_path / "merge.yml").write_text(case.text)
    merge(tmp_path / "merge.yml", tmp_path / "out")
    found = read_model(tmp_path / "out")
    tolerance = NEAR.get(case.method, EXACT)
    same(grid.fingerprint(found), case.numbers, rtol=1e-8, atol=100 * tolerance["atol"])  # sums of hundreds of numbers
    if theirs:
        same(found, read_model(theirs[case.name]), **tolerance)


def same(found: Tensors | dict[str, float], expected: Tensors | dict[str, float], **tolerance: float) -> None:
    assert set(found) == set(expected)
    for name, numbers in expected.items():
        np.testing.assert_allclose(found[name], numbers, err_msg=name, **tolerance)


def test_every_method_and_parameter_occurs():
    assert {case.method for case in CASES} == set(RULES)
    for name, rule in RULES.items():
        written = "\n".join(case.text for case in CASES if case.method == name)
        assert not [parameter for parameter in rule.params if f"{parameter}:" not in written], name


def test_the_configs_of_a_method_have_unlike_results():
    for name in RULES:
        prints = {tuple(case.numbers.values()) for case in CASES if case.method == name}
        assert len(prints) > 3, name
