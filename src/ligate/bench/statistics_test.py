from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from ligate.bench.statistics import Estimate, Pooled, Values, apart, difference, estimate, means, pooled


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


def test_what_is_pooled_is_left_of_rows_and_seeds():
    # Row means 2, 5 and 5, seed means 3 and 5: residuals +-1, 0 and -+1, with two degrees of freedom.
    found = pooled([[0.0, 4.0], [4.0, 6.0], [5.0, 5.0]])
    assert found is not None
    assert found == (pytest.approx((1 + 1 + 0 + 0 + 1 + 1) / 2), 2)


def test_rows_that_move_together_have_nothing_left():
    assert pooled([[0.25, 0.5], [0.5, 0.75], [0.0, 0.25]]) == Pooled(0.0, 2)


@pytest.mark.parametrize("scores", [[], [[]], [[0.5, 0.6]], [[0.5], [0.6]]])
def test_one_row_or_one_seed_says_nothing_to_pool(scores: list[list[float]]):
    assert pooled(scores) is None


def two_seeds(first: float, second: float) -> list[Values]:
    return [{"a": torch.tensor([first])}, {"a": torch.tensor([second])}]


def test_many_rows_sharpen_what_two_seeds_say():
    told = difference(two_seeds(0.6, 0.7), two_seeds(0.5, 0.5), {"a": torch.tensor([0])}, Pooled(0.01, 8))
    assert told.error == pytest.approx(0.1)  # twice the variance of a row, over two seeds; the pair's own is 0.005
    assert told.high - told.mean == pytest.approx(0.1 * stats.t.ppf(0.975, 8))


def test_a_pair_that_seeds_move_more_than_others_keeps_its_own_variance():
    told = difference(two_seeds(0.6, 0.8), two_seeds(0.5, 0.5), {"a": torch.tensor([0])}, Pooled(0.001, 8))
    assert told.error == pytest.approx(0.1)
    assert told.high - told.mean == pytest.approx(0.1 * stats.t.ppf(0.975, 8))


def test_rows_with_the_same_answers_do_not_differ_whatever_the_others_do():
    values = two_seeds(0.5, 0.75)
    assert difference(values, values, {"a": torch.tensor([0])}, Pooled(0.01, 8)).error == 0.0


@pytest.mark.parametrize("kind", ["alike", "two of another kind", "merges share"])
def test_pooled_intervals_hold_the_truth_about_as_often_as_they_say(kind: str):
    """Ten rows, two seeds, 60 questions; what a seed does to a row differs by the kind of row, or has a shared part."""
    draw, times, rows = torch.Generator().manual_seed(5), 300, 10
    moves = torch.full((rows,), 0.05)
    if kind == "two of another kind":
        moves[:2] = 0.1
    sources = {"a": torch.arange(60)}
    held = wide = total = 0
    for _ in range(times):
        shift = moves * torch.randn(2, rows, generator=draw)
        if kind == "merges share":
            shift[:, 4:] += 0.08 * torch.randn(2, 1, generator=draw)
        question = 0.3 * torch.randn(60, generator=draw)
        answers = shift[..., None] + question + 0.1 * torch.randn(2, rows, 60, generator=draw)
        shared = pooled(answers.mean(-1).T.tolist())
        for one, other in ((0, 1), (0, 5), (4, 9), (6, 7)):
            mine, theirs = ([{"a": seed[row]} for seed in answers] for row in (one, other))
            told, alone = difference(mine, theirs, sources, shared), difference(mine, theirs, sources)
            held, total = held + (told.low <= 0 <= told.high), total + 1
            wide += (told.high - told.low) < (alone.high - alone.low)
    assert 0.9 <= held / total <= 0.99
    assert wide / total > 0.5
