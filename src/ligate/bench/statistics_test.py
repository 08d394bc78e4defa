from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from ligate.bench.statistics import Estimate, apart, difference, estimate, means


def test_the_variance_is_that_of_sums_over_sources():
    # Deviations +-1/2 over 4 questions: the two sources pull by +-1/4, and 2/1 * (1/16 + 1/16) = 1/4.
    told = estimate([{"a": torch.tensor([1.0, 1.0, 0.0, 0.0])}], {"a": torch.tensor([0, 0, 1, 1])})
    assert told.mean == 0.5
    assert told.error == pytest.approx(0.5)
    assert told.high - told.mean == pytest.approx(0.5 * stats.t.ppf(0.975, 1))


def test_a_source_that_asks_in_two_tasks_is_one_draw():
    answers = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([1.0, 0.0])}
    shared = estimate([answers], {"a": torch.tensor([0, 1]), "b": torch.tensor([0, 1])})
    apart_ = estimate([answers], {"a": torch.tensor([0, 1]), "b": torch.tensor([2, 3])})
    assert shared.error == pytest.approx(0.5)  # 2/1 * 2 * (1/4)^2
    assert apart_.error == pytest.approx(math.sqrt(4 / 3 * 4 / 64))  # four pulls of 1/8


def test_a_task_with_few_questions_weighs_as_much_as_one_with_many():
    told = estimate(
        [{"few": torch.tensor([1.0]), "many": torch.tensor([0.0, 0.0, 0.0, 1.0])}],
        {"few": torch.tensor([0]), "many": torch.tensor([1, 2, 3, 4])},
    )
    assert told.mean == pytest.approx((1 + 0.25) / 2)


def test_seeds_add_the_variance_of_their_mean():
    # Means 0.4 and 0.6: variance 0.02, of the mean of two 0.01. One question has no variance.
    told = estimate([{"a": torch.tensor([0.4])}, {"a": torch.tensor([0.6])}], {"a": torch.tensor([0])})
    assert told.mean == pytest.approx(0.5)
    assert told.error == pytest.approx(0.1)
    assert told.high == pytest.approx(0.5 + 0.1 * stats.t.ppf(0.975, 1))


def test_one_seed_with_a_source_for_each_question_gives_the_interval_of_scipy():
    values = torch.rand(25, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    told = estimate([{"a": values}], {"a": torch.arange(25)})
    theirs = stats.ttest_1samp(values.numpy(), 0).confidence_interval(0.95)
    assert (told.low, told.high) == pytest.approx((theirs.low, theirs.high))


def test_the_degrees_of_freedom_are_those_of_welch():
    # The two parts are the squared errors of two means, as in Welch's test of two samples.
    seeds = [{"a": torch.tensor([1.0, 0.0, 0.0, 0.0])}, {"a": torch.tensor([1.0, 1.0, 1.0, 0.0])}]
    told = estimate(seeds, {"a": torch.arange(4)})
    by_questions = 4 / 3 * sum(((x - 0.5) / 4) ** 2 for x in (1.0, 0.5, 0.5, 0.0))
    by_seeds = ((0.25 - 0.5) ** 2 + (0.75 - 0.5) ** 2) / 1 / 2
    freedom = (by_questions + by_seeds) ** 2 / (by_questions**2 / 3 + by_seeds**2 / 1)
    assert told.error == pytest.approx(math.sqrt(by_questions + by_seeds))
    assert told.high - told.mean == pytest.approx(told.error * stats.t.ppf(0.975, freedom))


def test_a_difference_is_taken_question_by_question():
    one, other = torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    told = difference([{"a": one}], [{"a": other}], {"a": torch.arange(4)})
    assert told.mean == 0.25
    assert told.error == pytest.approx(stats.sem([0, 1, 0, 0]))
    assert not told.resolved


def test_a_row_does_not_differ_from_itself():
    values = [{"a": torch.tensor([1.0, 0.0])}]
    assert difference(values, values, {"a": torch.arange(2)}) == Estimate(0.0, 0.0, 0.0, 0.0)
    assert not difference(values, values, {"a": torch.arange(2)}).resolved


def test_resolved_means_that_zero_is_outside():
    assert Estimate(1.0, 0.3, 0.4, 1.6).resolved
    assert Estimate(-1.0, 0.3, -1.6, -0.4).resolved
    assert not Estimate(1.0, 0.6, -0.2, 2.2).resolved


def test_scaling_by_a_negative_number_turns_the_interval():
    assert Estimate(1.0, 0.25, 0.5, 1.5).scaled(-2) == Estimate(-2.0, 0.5, -3.0, -1.0)


def test_estimates_apart_add_the_squares_of_their_reaches():
    told = apart(Estimate(0.75, 0.03, 0.45, 1.0), Estimate(0.5, 0.04, 0.25, 0.9))
    assert told.mean == 0.25
    assert told.error == pytest.approx(0.05)
    assert told.low == pytest.approx(0.25 - math.hypot(0.3, 0.4))
    assert told.high == pytest.approx(0.25 + math.hypot(0.25, 0.25))


def test_means_are_by_task():
    assert means({"a": torch.tensor([True, False]).float(), "b": torch.tensor([3.0])}) == {"a": 0.5, "b": 3.0}


@pytest.mark.parametrize(("seeds", "by_seed"), [(1, 0.0), (3, 0.05), (4, 0.2)])
def test_about_95_of_a_hundred_intervals_hold_the_truth(seeds: int, by_seed: float):
    """40 sources with 3 questions each in two tasks; what a source, a seed, and both together bring is drawn anew."""
    draw = torch.Generator().manual_seed(3)
    sources = {"a": torch.arange(120) // 3, "b": torch.arange(120) // 3}
    held, times, truth = 0, 2000, 0.6
    for _ in range(times):
        shared = 0.3 * torch.randn(40, generator=draw)
        worlds = []
        for _ in range(seeds):
            moved = truth + by_seed * float(torch.randn(1, generator=draw))
            worlds.append(
                {
                    task: moved + shared[source] + 0.5 * torch.randn(120, generator=draw)
                    for task, source in sources.items()
                }
            )
        told = estimate(worlds, sources)
        held += told.low <= truth <= told.high
    # 2000 draws of 0.95 have a standard deviation of 0.005; several seeds make it too wide rather than too narrow.
    assert 0.935 <= held / times <= (0.965 if seeds == 1 else 0.99)
