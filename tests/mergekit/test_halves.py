"""Models of 16 bits: both tools against the same merge of the same numbers in float64.

Where mergekit computes in the dtype of the inputs its results are further off than one rounding; ours are not.
"""

from __future__ import annotations

from pathlib import Path

import grid
import numpy as np
import pytest
import torch
from process import MERGEKIT, mergekit_results
from safetensors.torch import load_file, save_file

from ligate.verbs.merge import merge

METHODS = {
    "linear": "weight: 0.3",
    "task_arithmetic": "weight: 0.3",
    "dare_ties": "weight: 0.3, normalize: true",
    "multislerp": "weight: 0.3",
    "karcher": "tol: 1e-5",
    "model_stock": "filter_wise: false",
    "sce": "select_topk: 1",
    "ram": "epsilon: 1e-5",
}
HALF_A_PLACE = 2**-8  # of bfloat16, relative


def config(method: str) -> str:
    base = "" if method in ("linear", "karcher") else "base_model: models/base\n"
    models = "models: [{model: models/a}, {model: models/b}, {model: models/c}]"
    return f"merge_method: {method}\n{base}{models}\nparameters: {{{METHODS[method]}}}\n"


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> dict[str, Path]:
    """`halves`: models in bfloat16; `wide`: the same numbers in float64."""
    found = {name: tmp_path_factory.mktemp(name) for name in ("halves", "wide")}
    for name, room in found.items():
        grid.write_models(room)
        for file in room.glob("models/*/model.safetensors"):
            rounded = {key: tensor.bfloat16() for key, tensor in load_file(file).items()}
            save_file(rounded if name == "halves" else {key: t.double() for key, t in rounded.items()}, file)
    return found


@pytest.fixture(scope="module")
def theirs(rooms) -> dict[str, Path]:
    """Without mergekit: none."""
    return mergekit_results(rooms["halves"], {method: config(method) for method in METHODS}) if MERGEKIT else {}


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in load_file(folder / "model.safetensors").items()}


def ours(method: str, room: Path, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(room)
    (tmp_path / "merge.yml").write_text(config(method))
    merge(tmp_path / "merge.yml", tmp_path / room.name)
    return tmp_path / room.name


def off(found: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> float:
    """Mean distance from the exact numbers, in units of their size."""
    both = [(np.abs(found[name] - numbers), np.abs(numbers)) for name, numbers in exact.items()]
    return sum(error.sum() for error, _ in both) / sum(size.sum() for _, size in both)


@pytest.mark.parametrize("method", METHODS)
def test_16_bit_models_are_rounded_once_and_no_worse_than_by_mergekit(method, rooms, theirs, tmp_path, monkeypatch):
    exact = tensors(ours(method, rooms["wide"], tmp_path, monkeypatch))
    found = tensors(ours(method, rooms["halves"], tmp_path, monkeypatch))
    for name, numbers in exact.items():
        np.testing.assert_allclose(found[name], numbers, rtol=HALF_A_PLACE, atol=1e-6, err_msg=name)
    if theirs:
        stored = load_file(theirs[method] / "model.safetensors")
        assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
        assert off(found, exact) <= off(tensors(theirs[method]), exact) * 1.001
