from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.trace.selections import selections
from ligate.verbs.state_dicts import merge_state_dicts

NAMES = ("root", "a", "b", "c")


def family() -> dict[str, dict[str, torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(6000, generator=draw)
    tuned = {name: root + 0.03 * torch.randn(6000, generator=draw) for name in NAMES[1:]}
    return {name: {"w": value} for name, value in {"root": root, **tuned}.items()}


def asked(models: list[dict[str, torch.Tensor]]):
    values = np.stack([each["w"].double().numpy() for each in models])
    squared = np.square(values[:, None] - values[None]).mean(-1)
    return selections(values, squared, {})


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("ties", {"density": 0.3}),
        ("dare_linear", {"density": 0.5, "weight": 0.7}),
        ("dare_ties", {"density": 0.7}),
        ("breadcrumbs", {"density": 0.6}),
    ],
)
def test_merges_by_the_catalogue_show_their_parents(method: str, params: dict[str, float]):
    nets = family()
    parents = {"a": nets["a"], "b": nets["b"]}
    merge = merge_state_dicts(method, nets["root"], parents, seed=3, threads=1, **params)
    found = asked([*nets.values(), merge])
    assert set(found) == {4}
    assert (found[4].base, found[4].parents) == (0, (1, 2))


def test_children_of_one_parent_are_no_merges():
    assert asked(list(family().values())) == {}
