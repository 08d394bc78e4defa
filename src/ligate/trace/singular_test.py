from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from ligate.trace.singular import Singular, singular_merges
from ligate.verbs.state_dicts import merge_state_dicts

State = dict[str, torch.Tensor]
SHAPES = {"wide": (24, 60), "tall": (40, 20), "norm": (800,)}


def drawn(seed: int, size: float) -> State:
    draw = torch.Generator().manual_seed(seed)
    return {name: size * torch.randn(shape, generator=draw) for name, shape in SHAPES.items()}


def family() -> dict[str, State]:
    root = drawn(0, 1.0)
    tuned = {name: _sum(root, drawn(seed, 0.03)) for seed, name in enumerate("abc", 1)}
    low = drawn(9, 0.2)
    adapter = {name: value[:, :2] @ value[:, 2:4].T @ torch.eye(len(value), value.shape[1]) for name, value in
               low.items() if value.ndim > 1}  # fmt: skip
    return {"root": root, **tuned, "low": {**root, **{name: root[name] + adapter[name] for name in adapter}}}


def _sum(one: State, other: State) -> State:
    return {name: one[name] + other[name] for name in one}


def asked(models: Sequence[State]) -> dict[int, Singular]:
    def stacked(name: str) -> np.ndarray:
        return np.stack([each[name].double().numpy() for each in models])

    matrices, vectors = [stacked("wide"), stacked("tall")], stacked("norm")
    parts = [each.reshape(len(models), -1) for each in (*matrices, vectors)]
    squared = np.sum([np.square(each[:, None] - each[None]).sum(-1) for each in parts], axis=0)
    return singular_merges(matrices, squared, {}, [0], vectors)


@pytest.mark.parametrize(
    ("method", "params", "parents"),
    [
        ("iso_c", {}, ("a", "b")),
        ("iso_c", {"scale": 0.4}, ("a", "b", "c")),
        ("iso_c", {}, ("b", "low")),
        ("tsv_m", {}, ("a", "b")),
        ("tsv_m", {"scale": 0.6}, ("a", "b", "c")),
        ("tsv_m", {}, ("a", "low")),
        ("knots", {"density": 0.4}, ("a", "c")),
    ],
)
def test_merges_in_singular_vectors_show_base_and_parents(
    method: str, params: dict[str, float], parents: tuple[str, ...]
):
    nets = family()
    merge = merge_state_dicts(method, nets["root"], {name: nets[name] for name in parents}, threads=1, **params)
    found = asked([*nets.values(), dict(merge)])
    assert found == {5: Singular(0, tuple(sorted(list(nets).index(name) for name in parents)))}


def test_models_that_were_trained_added_or_chosen_are_none():
    nets = family()
    parents = {name: nets[name] for name in ("a", "b")}
    merges = [
        dict(merge_state_dicts(method, nets["root"], parents, threads=1))
        for method in ("task_arithmetic", "ties", "breadcrumbs")
    ]
    assert asked([*nets.values(), *merges]) == {}
