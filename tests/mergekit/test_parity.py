"""The numbers of a mergekit config: against float64 arithmetic of our own, and against mergekit itself.

mergekit computes these float32 models in float32, Ligate in float64: hence two tolerances. test_grid.py compares all
methods on float64 models.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cases import ADAPTER, CASES, DENSITY, DROPPED, SEVERAL, Case, Models
from process import mergekit_results, needs_mergekit
from tiny_llama import Tensors, read_model

from ligate.verbs.merge import merge

ONCE = {"rtol": 1.2e-7, "atol": 1e-12}  # one rounding to float32 at the end
TWICE = {"rtol": 1.2e-7, "atol": 5e-7}  # and one in between, of numbers of size 4 at most
SINGLE = {"rtol": 2e-5, "atol": 5e-6}  # float32 all the way, numbers of size 1


@pytest.fixture
def room(family_room) -> Path:
    return family_room


@pytest.fixture(scope="session")
def models(family_room) -> Models:
    return {folder.name: read_model(folder) for folder in (family_room / "models").iterdir()}


@pytest.fixture(scope="session")
def mergekits(family_room) -> dict[str, Path]:
    return mergekit_results(family_room, {case.name: case.config for case in (*CASES, *DROPPED)})


def ligates(case: Case, room: Path, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(room)
    (tmp_path / "merge.yml").write_text(case.config)
    merge(tmp_path / "merge.yml", tmp_path / "out")
    return tmp_path / "out"


def same(found: Tensors, expected: Tensors, **tolerance: float) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, err_msg=name, **tolerance)


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_numbers_are_those_of_float64_arithmetic(case, room, models, tmp_path, monkeypatch):
    tolerance = TWICE if case in (*SEVERAL, *ADAPTER) else ONCE
    same(read_model(ligates(case, room, tmp_path, monkeypatch)), case.expect(models), **tolerance)


@needs_mergekit
@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_numbers_and_layers_are_those_of_mergekit(case, room, mergekits, tmp_path, monkeypatch):
    ours, theirs = ligates(case, room, tmp_path, monkeypatch), mergekits[case.name]
    same(read_model(ours), read_model(theirs), **SINGLE)
    assert layers(ours) == layers(theirs)


def layers(folder: Path) -> int:
    return json.loads((folder / "config.json").read_text())["num_hidden_layers"]


ONE = f"""\
merge_method: dare_linear
base_model: models/base
models: [{{model: models/a, parameters: {{weight: 1, density: {DENSITY}}}}}]
"""


def test_a_dropped_task_vector_keeps_its_l1_norm_and_its_share_of_entries(room, models, tmp_path, monkeypatch):
    case = Case("one", ONE, lambda models: {})
    found = read_model(ligates(case, room, tmp_path, monkeypatch))
    kept = total = 0
    for name, base in models["base"].items():
        whole = models["a"][name].astype(np.float64) - base
        left = found[name].astype(np.float64) - base
        stays = np.abs(left) > 1e-6
        np.testing.assert_allclose(np.abs(left).sum(), np.abs(whole).sum(), rtol=1e-5, err_msg=name)
        ratio = left[stays] / whole[stays]  # one factor for all survivors
        np.testing.assert_allclose(ratio, np.median(ratio), rtol=2e-3, err_msg=name)
        kept, total = kept + stays.sum(), total + stays.size
    assert abs(kept / total - DENSITY) < 4 * np.sqrt(DENSITY * (1 - DENSITY) / total)


RANKED = f"""\
merge_method: della_linear
base_model: models/base
models: [{{model: models/a, parameters: {{weight: 1, density: {DENSITY}, epsilon: 0.2}}}}]
"""


def test_a_drop_by_magnitude_keeps_more_of_the_larger_quarters_of_each_row(room, models, tmp_path, monkeypatch):
    found = read_model(ligates(Case("ranked", RANKED, lambda models: {}), room, tmp_path, monkeypatch))
    kept = {quarter: [] for quarter in range(4)}
    for name, base in models["base"].items():
        rows = np.abs(models["a"][name].astype(np.float64) - base).reshape(-1, base.shape[-1])
        stays = np.abs(found[name].astype(np.float64) - base).reshape(rows.shape) > 1e-6
        in_order = np.take_along_axis(stays, rows.argsort(axis=1), axis=1)
        for quarter, columns in enumerate(np.array_split(in_order, 4, axis=1)):
            kept[quarter].append(columns.ravel())
    for quarter, stays in kept.items():
        share = np.concatenate(stays).mean()
        expected = DENSITY - 0.2 + 0.4 * (quarter + 0.5) / 4  # the chance in the middle of the quarter
        assert abs(share - expected) < 5 * np.sqrt(0.25 / sum(map(len, stays))) + 0.01, quarter  # rows are short


@needs_mergekit
@pytest.mark.parametrize("case", DROPPED, ids=by_name)
def test_random_drops_have_mergekits_moments(case, room, models, mergekits, tmp_path, monkeypatch):
    """Other random numbers, so not the same model: mean and spread of the change agree within the noise."""
    ours, theirs = read_model(ligates(case, room, tmp_path, monkeypatch)), read_model(mergekits[case.name])
    changes = [
        np.concatenate([(found[name].astype(np.float64) - base).ravel() for name, base in models["base"].items()])
        for found in (ours, theirs)
    ]
    size, spread = len(changes[0]), changes[0].std()
    assert abs(changes[0].mean() - changes[1].mean()) < 6 * spread / np.sqrt(size)
    assert changes[0].std() == pytest.approx(changes[1].std(), rel=0.06)
    untouched = [np.mean(change == 0) for change in changes]
    assert untouched[0] == pytest.approx(untouched[1], abs=0.03)
