from __future__ import annotations

import numpy as np
import pytest
import torch

from ligate.core.errors import InputError
from ligate.io.memory import MemorySource
from ligate.trace.screens import Screened, excesses, screened

State = dict[str, torch.Tensor]
SHAPES = {"words": (60, 16), "up": (24, 16), "down": (16, 24), "bias": (24,)}


def noise(seed: int, size: float) -> State:
    draw = torch.Generator().manual_seed(seed)
    return {name: size * torch.randn(shape, generator=draw) for name, shape in SHAPES.items()}


BASE = noise(0, 1.0)


def expert(seed: int) -> State:
    return {name: BASE[name] + change for name, change in noise(seed, 0.02).items()}


def looked(*states: State) -> Screened:
    return screened(MemorySource("base", BASE), [MemorySource(f"e{n}", state) for n, state in enumerate(states)])


def worst(found: Screened, screen: str) -> dict[int, float]:
    return {each.expert: each.value for each in found.worst if each.screen == screen}


def test_a_row_that_one_expert_alone_moved_is_found():
    planted = expert(3)
    planted["words"][7] += 0.5
    found = looked(expert(1), expert(2), planted, expert(4), expert(5))
    lines = {each.expert: each for each in found.worst if each.screen == "lines"}
    assert (lines[2].tensor, lines[2].axis, lines[2].line) == ("words", 0, 7)
    assert lines[2].value > 2 * max(lines[k].value for k in (0, 1, 3, 4))


def test_a_column_counts_as_a_row_does():
    planted = expert(3)
    planted["up"][:, 5] += 0.3
    found = looked(expert(1), expert(2), planted, expert(4))
    line = next(each for each in found.worst if each.screen == "lines" and each.expert == 2)
    assert (line.tensor, line.axis, line.line) == ("up", 1, 5)


def test_a_strong_direction_shows_in_rank_and_a_long_step_in_length():
    planted, far = expert(3), noise(4, 0.2)
    planted["down"] += 0.05 * torch.outer(torch.ones(16), torch.ones(24))
    found = looked(expert(1), expert(2), planted, {name: BASE[name] + one for name, one in far.items()}, expert(5))
    rank, length = worst(found, "rank"), worst(found, "length")
    assert max(rank, key=lambda one: rank[one]) == 2
    assert max(length, key=lambda one: length[one]) == 3


def test_the_first_singular_value_is_that_of_the_matrix():
    found = excesses([{0: 1.0, 1: 2.0, 2: 9.0}])
    assert found[0][2] == pytest.approx(7.5 / (1.4826 * 4.5))  # |-4.5|, |-3|, |7.5| have the median 4.5
    from ligate.trace.screens import _first  # pyright: ignore[reportPrivateUsage]

    matrix = np.random.default_rng(0).normal(size=(30, 12))
    matrix[:, 0] *= 6
    assert _first(matrix.T @ matrix) == pytest.approx(np.linalg.svd(matrix)[1][0] ** 2, rel=1e-6)


def test_strangers_and_broken_tensors_are_listed_and_the_rest_is_compared():
    broken, other = expert(3), expert(5)
    broken["up"][0, 0] = float("nan")
    other["bias"] = torch.zeros(3)
    found = looked(expert(1), expert(2), broken, {"else": torch.zeros(4)}, other)
    told = {(each.model, each.tensor): each.why for each in found.lost}
    assert "not finite" in told[2, "up"] and "shares no tensor" in told[3, ""] and "[3]" in told[4, "bias"]
    assert {each.expert for each in found.worst} == {0, 1, 2, 4}
    with pytest.raises(InputError, match="fewer than two"):
        looked(expert(1), {"else": torch.zeros(4)})


def test_an_expert_equal_to_the_base_is_no_outlier():
    found = looked(expert(1), expert(2), expert(3), dict(BASE))
    assert all(each.expert != 3 for each in found.worst)
