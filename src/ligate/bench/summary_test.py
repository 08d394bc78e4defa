from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats

from ligate.bench.results import Cell, Cost, Results
from ligate.bench.statistics import pooled
from ligate.bench.suite import BITS_PER_BYTE, Paper, Task
from ligate.bench.summary import Line, Summary, summarise
from ligate.bench.synthetic_test import hand, many

CLEAR = [1.0] * 19 + [0.0]
POOR = [1.0] + [0.0] * 19


def line(told: Summary, name: str) -> Line:
    found = told.line(name)
    assert found is not None
    return found


def with_cells(results: Results, name: str, *cells: Cell) -> Results:
    rows = [replace(row, cells=cells) if row.id == name else row for row in results.rows]
    return replace(results, rows=rows)


def test_scores_and_the_difference_to_the_baseline_by_hand():
    told = summarise(hand({"task_arithmetic": [[1.0, 1.0, 0.0, 0.0]], "ties": [[1.0, 1.0, 1.0, 0.0]]}))
    ties = line(told, "ties")
    assert ties.scores == {"a": 0.75}
    assert ties.average and ties.average.mean == 0.75
    assert ties.against and ties.against.mean == 0.25
    assert ties.against.error == pytest.approx(stats.sem([0, 0, 1, 0]))
    assert not ties.against.resolved
    assert line(told, "task_arithmetic").against is None


def test_scores_are_means_over_seeds():
    told = summarise(hand({"ties": [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]]}))
    assert line(told, "ties").scores == {"a": 0.5}


def test_the_baseline_is_task_arithmetic_then_the_average_then_none():
    assert summarise(hand({"average": [POOR], "task_arithmetic": [POOR]})).baseline.id == "task_arithmetic"
    assert summarise(hand({"average": [POOR], "ties": [POOR]})).baseline.id == "average"
    assert summarise(hand({"ties": [POOR]})).baseline is None


def test_a_baseline_that_failed_everywhere_is_none():
    made = with_cells(hand({"average": [POOR], "task_arithmetic": [POOR]}), "task_arithmetic", Cell(0, failed="no"))
    assert summarise(made).baseline.id == "average"


def test_relative_is_the_mean_over_tasks_of_the_ratio_to_the_expert():
    made = hand({"individual": [[1.0, 1.0]], "ties": [[1.0, 0.0]]})
    two = {"individual": {"a": [1.0, 1.0], "b": [1.0, 0.0]}, "ties": {"a": [1.0, 0.0], "b": [1.0, 0.0]}}
    for name, answers in two.items():
        made = with_cells(made, name, Cell(0, {"test": {task: torch.tensor(each) for task, each in answers.items()}}))
    made = replace(
        made,
        tasks=[Task("a", "a"), Task("b", "b")],
        papers={"test": Paper({"a": torch.arange(2), "b": torch.arange(2)})},
    )
    ties = line(summarise(made), "ties")
    assert ties.relative == {"a": 0.5, "b": 1.0}
    assert ties.relative_mean == 0.75


def test_an_expert_that_knows_nothing_gives_no_ratio():
    ties = line(summarise(hand({"individual": [[0.0, 0.0]], "ties": [[1.0, 0.0]]})), "ties")
    assert ties.relative == {} and ties.relative_mean is None


def outside_and_typos(
    metric_rows: dict[str, tuple[list[float], list[float], list[float]]], typo_sources: torch.Tensor
) -> Summary:
    made = hand({name: [test] for name, (test, _, _) in metric_rows.items()})
    count = len(next(iter(metric_rows.values()))[0])
    papers = {**made.papers, "outside": Paper({"o": torch.arange(count)}), "typos": Paper({"a": typo_sources})}
    for name, (test, typos, outside) in metric_rows.items():
        answers = {
            "test": {"a": torch.tensor(test)},
            "typos": {"a": torch.tensor(typos)},
            "outside": {"o": torch.tensor(outside)},
        }
        made = with_cells(made, name, Cell(0, answers))
    return summarise(replace(made, papers=papers, tasks=[*made.tasks, Task("o", None)]))


def test_forgetting_is_the_change_against_pretrained_outside_and_robustness_that_from_test_to_typos():
    rows = {"pretrained": ([0.0, 0.0], [0.0, 0.0], [1.0, 1.0]), "ties": ([1.0, 1.0], [1.0, 0.0], [1.0, 0.0])}
    told = outside_and_typos(rows, torch.arange(2))
    ties = line(told, "ties")
    assert ties.outside and ties.outside.mean == 0.5
    assert ties.forgetting and ties.forgetting.mean == -0.5
    assert ties.robustness["typos"].mean == -0.5
    assert ties.robustness["typos"].error == pytest.approx(stats.sem([0, -1]))
    assert line(told, "pretrained").forgetting is None


def test_robustness_on_other_questions_is_not_paired():
    # The typos cost every question the same: paired, that is exact; apart, both papers' luck counts.
    rows = {"ties": ([1.0, 0.5, 0.8, 0.1], [0.9, 0.4, 0.7, 0.0], [0.0] * 4)}
    paired = line(outside_and_typos(rows, torch.arange(4)), "ties").robustness["typos"]
    unpaired = line(outside_and_typos(rows, torch.arange(4) + 4), "ties").robustness["typos"]
    assert paired.mean == pytest.approx(-0.1) and unpaired.mean == pytest.approx(-0.1)
    assert paired.error < 1e-6 < 0.1 < unpaired.error


def test_the_best_merge_is_named_only_if_its_lead_is_resolved():
    clear = summarise(hand({"average": [POOR], "ties": [CLEAR]}))
    assert clear.leader and clear.leader.row.id == "ties" and clear.best is clear.leader and not clear.rivals
    close = summarise(hand({"average": [[1.0] * 10 + [0.0] * 10], "ties": [[1.0] * 11 + [0.0] * 9]}))
    assert close.leader and close.leader.row.id == "ties" and close.best is None
    assert [rival.row.id for rival in close.rivals] == ["average"]


def test_a_lead_must_be_resolved_over_every_other_merge():
    told = summarise(hand({"average": [POOR], "dare": [[1.0] * 18 + [0.0] * 2], "ties": [CLEAR]}))
    assert told.leader and told.leader.row.id == "ties" and told.best is None


def test_with_lower_is_better_the_lowest_leads():
    told = summarise(hand({"average": [CLEAR], "ties": [POOR]}, metric=BITS_PER_BYTE))
    assert told.best and told.best.row.id == "ties"
    assert line(told, "ties").against.mean < 0


def test_one_merge_alone_is_not_the_best_of_anything():
    assert summarise(hand({"ties": [CLEAR]})).best is None


def test_a_suite_that_must_not_rank_has_no_best():
    assert summarise(hand({"average": [POOR], "ties": [CLEAR]}, ranks=False)).best is None


def test_pairs_can_be_asked_in_both_directions():
    told = summarise(hand({"average": [POOR], "ties": [CLEAR]}))
    forth, back = told.difference("ties", "average"), told.difference("average", "ties")
    assert forth and back and forth.mean == pytest.approx(0.9) and back.mean == pytest.approx(-0.9)
    assert (back.low, back.high) == (-forth.high, -forth.low)
    assert list(told.pairs) == [("average", "ties")]


def test_rows_that_failed_on_a_seed_are_compared_on_the_others():
    made = hand({"average": [[0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]], "ties": [[1.0, 1.0, 1.0, 0.0], [0.0] * 4]})
    kept = made.row("ties").cells[0]
    told = summarise(with_cells(made, "ties", kept, Cell(1, failed="it broke")))
    ties = line(told, "ties")
    assert [tuple(failure) for failure in ties.failures] == [(1, "it broke")]
    assert ties.average.mean == 0.75
    assert ties.against.mean == 0.5  # seed 0 alone, where the average has 0.25


def test_rows_without_a_common_seed_are_not_compared():
    made = hand({"average": [POOR, POOR], "ties": [CLEAR, CLEAR]})
    made = with_cells(made, "average", made.row("average").cells[0], Cell(1, failed="no"))
    told = summarise(with_cells(made, "ties", Cell(0, failed="no"), made.row("ties").cells[1]))
    assert line(told, "ties").against is None
    assert told.pairs == {} and told.best is None


def test_a_row_that_failed_everywhere_has_reasons_and_no_numbers():
    told = summarise(with_cells(hand({"average": [POOR], "ties": [CLEAR]}), "ties", Cell(0, failed="NaN")))
    ties = line(told, "ties")
    assert ties.scores == {} and ties.average is None and ties.against is None and ties.cost is None
    assert told.leader.row.id == "average"


def test_a_row_that_skipped_a_task_has_no_average():
    made = hand({"average": [POOR], "ties": [CLEAR]})
    more = replace(made, papers={"test": Paper({"a": torch.arange(20), "b": torch.arange(20)})})
    ties = line(summarise(more), "ties")
    assert ties.scores == {"a": 0.95} and ties.average is None


def test_cost_is_the_mean_time_and_the_highest_peak():
    made = hand({"ties": [POOR, POOR]})
    cells = [
        replace(cell, cost=cost)
        for cell, cost in zip(made.row("ties").cells, (Cost(7, 1, 1.0, 50), Cost(7, 1, 3.0, 40)), strict=True)
    ]
    assert line(summarise(with_cells(made, "ties", *cells)), "ties").cost == Cost(7, 1, 2.0, 50)


def test_chosen_coefficients_and_extras_are_by_seed():
    made = hand({"ties": [POOR, POOR]})
    first, second = made.row("ties").cells
    cells = (
        replace(first, chosen=0.4, extras={"barrier": 0.4}),
        replace(second, chosen=1.0, at_edge=True, extras={"barrier": 0.6}),
    )
    ties = line(summarise(with_cells(made, "ties", *cells)), "ties")
    assert [tuple(each) for each in ties.chosen] == [(0, 0.4, False), (1, 1.0, True)]
    assert ties.extras["barrier"].mean == pytest.approx(0.5) and ties.extras["barrier"].error == pytest.approx(0.1)


def test_one_seed_says_nothing_about_seeds_but_is_told():
    told = summarise(many(seeds=1, count=40))
    assert all(each.average and each.average.error > 0 for each in told.lines)


def test_merges_are_compared_by_what_seeds_do_to_merges_and_others_by_what_they_do_to_all():
    # One question: what is left is the seeds' part. Merges stay within 0.2 of each other, the experts move by 0.4.
    rows = {
        "individual": [[0.9], [0.5]],
        "task_arithmetic": [[0.4], [0.6]],
        "ties": [[0.5], [0.5]],
        "dare": [[0.4], [0.6]],
    }
    made = hand(rows)
    made = replace(made, rows=[replace(made.rows[0], group="reference"), *made.rows[1:]])
    told = summarise(made)
    of_merges = pooled([[0.4, 0.6], [0.5, 0.5], [0.4, 0.6]])
    of_all = pooled([[0.9, 0.5], [0.4, 0.6], [0.5, 0.5], [0.4, 0.6]])
    assert of_merges and of_all
    assert line(told, "ties").against.error == pytest.approx(math.sqrt(max(0.02, 2 * of_merges.variance) / 2))
    assert line(told, "individual").against.error == pytest.approx(math.sqrt(max(0.18, 2 * of_all.variance) / 2))


def test_a_row_that_failed_on_a_seed_stays_out_of_the_pool():
    rows = {"task_arithmetic": [[0.4], [0.6]], "ties": [[0.5], [0.5]], "dare": [[0.4], [0.6]], "della": [[0.1], [0.9]]}
    whole, less = hand({name: rows[name] for name in list(rows)[:3]}), hand(rows)
    less = with_cells(less, "della", Cell(0, {"test": {"a": torch.tensor([0.1])}}), Cell(1, failed="no"))
    assert line(summarise(less), "ties").against == line(summarise(whole), "ties").against
