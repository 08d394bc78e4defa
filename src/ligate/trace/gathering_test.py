from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError
from ligate.io.memory import MemorySource
from ligate.trace import gathering
from ligate.trace.gathering import gather


def sources(states: list[dict[str, torch.Tensor]]) -> list[MemorySource]:
    return [MemorySource(f"m{number}", state) for number, state in enumerate(states)]


def test_distances_cosines_and_kurtosis_are_those_of_the_whole_tensor(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gathering, "_LONGEST", 7)  # many blocks, the last one shorter
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(3, 12, 9, generator=draw, dtype=torch.float64)
    (each,), lost = gather(sources([{"w": value} for value in values]))
    flat = values.flatten(1).numpy()
    apart = np.square(flat[:, None] - flat[None]).sum(-1)
    np.testing.assert_allclose(each.squared_distances(), apart, atol=1e-10)
    np.testing.assert_allclose(each.cosines(), np.corrcoef(flat), atol=1e-12)
    centred = flat - flat.mean(1, keepdims=True)
    expected = (centred**4).mean(1) / (centred**2).mean(1) ** 2 - 3
    np.testing.assert_allclose(each.kurtosis(), expected, rtol=1e-9)
    assert lost == []


def test_a_tensor_that_is_not_finite_is_lost_for_that_model_alone():
    good, bad = torch.ones(4, 4), torch.full((4, 4), float("nan"))
    found, lost = gather(sources([{"w": good, "v": good}, {"w": good, "v": good}, {"w": bad, "v": good}]))
    assert {each.name: each.holders for each in found} == {"w": (0, 1), "v": (0, 1, 2)}
    assert [(each.model, each.tensor) for each in lost] == [(2, "w")]


def test_a_model_that_fails_while_it_is_read_is_lost_as_a_whole():
    class Failing(MemorySource):
        def read_into(self, name: str, start: int, out: memoryview) -> None:
            if name == "v":
                raise InputError("the disk fails")
            super().read_into(name, start, out)

    state = {"w": torch.ones(4, 4), "v": torch.ones(3)}
    found, lost = gather([*sources([state, state]), Failing("m2", state)])
    assert all(each.holders == (0, 1) for each in found)
    assert [(each.model, each.tensor) for each in lost] == [(2, "")]
