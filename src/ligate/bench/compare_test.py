from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import stats

from ligate.bench.compare import Change, compare
from ligate.bench.results import Cell, Results
from ligate.bench.suite import BITS_PER_BYTE, Paper, Task
from ligate.bench.synthetic_test import hand, many

BEFORE = [1.0, 0.0, 0.0, 0.0]
AFTER = [1.0, 1.0, 0.0, 0.0]


def change(one: Results, other: Results, name: str = "ties") -> Change:
    return next(each for each in compare(one, other).changes if each.row.id == name)


def test_the_same_questions_and_seeds_are_compared_answer_by_answer():
    told = change(hand({"ties": [BEFORE]}), hand({"ties": [AFTER]}))
    assert told.paired and not told.note
    assert told.difference.mean == 0.25  # the second minus the first
    assert told.difference.error == pytest.approx(stats.sem([0, 1, 0, 0]))
    assert (told.one.mean, told.other.mean) == (0.25, 0.5)


def test_seeds_are_paired_by_their_number_whatever_their_order():
    one, other = hand({"ties": [BEFORE, AFTER]}), hand({"ties": [BEFORE, AFTER]})
    turned = replace(other, rows=[replace(other.rows[0], cells=other.rows[0].cells[::-1])])
    told = change(one, turned)
    assert told.paired and told.difference.mean == 0 and told.difference.error == 0


def test_other_questions_are_not_paired_and_it_is_said():
    told = change(hand({"ties": [BEFORE]}), hand({"ties": [AFTER]}, digest="d2"))
    assert not told.paired and told.note == "other questions: unpaired"
    assert told.difference.mean == 0.25
    assert told.difference.error == pytest.approx((stats.sem(BEFORE) ** 2 + stats.sem(AFTER) ** 2) ** 0.5)


def test_an_equal_digest_over_other_sources_is_not_trusted():
    other = hand({"ties": [AFTER]}, papers={"test": Paper({"a": torch.tensor([0, 0, 1, 1])})})
    assert not change(hand({"ties": [BEFORE]}), other).paired


def test_other_seeds_are_not_paired_and_it_is_said():
    one = hand({"ties": [BEFORE, BEFORE]})
    moved = [Cell(5, cell.answers) for cell in one.rows[0].cells]
    told = change(one, replace(one, rows=[replace(one.rows[0], cells=moved)]))
    assert not told.paired and told.note == "other seeds: unpaired"
    assert told.difference.mean == 0 and told.difference.error > 0


def test_averages_over_other_tasks_have_no_difference():
    told = change(many(1, 40, tasks=["en", "de"]), many(1, 40, tasks=["en", "fr"]))
    assert told.difference is None and told.note == "averages over other tasks"


def test_other_metrics_have_no_difference():
    told = change(hand({"ties": [BEFORE]}), hand({"ties": [BEFORE]}, metric=BITS_PER_BYTE))
    assert told.difference is None and told.note == "another metric"


def test_a_row_that_failed_in_one_of_them_is_told():
    one, other = hand({"ties": [BEFORE]}), hand({"ties": [BEFORE]})
    failed = replace(other, rows=[replace(other.rows[0], cells=[Cell(0, failed="no")])])
    assert change(one, failed).note == "only the first has an average"
    assert change(failed, one).note == "only the second has an average"
    assert change(failed, failed).note == "neither has an average"


def test_rows_of_only_one_are_listed():
    told = compare(hand({"ties": [BEFORE], "dare": [BEFORE]}), hand({"ties": [BEFORE], "iso": [BEFORE]}))
    assert [row.id for row in told.only_one] == ["dare"]
    assert [row.id for row in told.only_other] == ["iso"]
    assert [each.row.id for each in told.changes] == ["ties"]


def test_settings_and_facts_that_differ_are_told_and_others_not():
    one = hand({"ties": [BEFORE]}, facts={"Data": "x", "Model": "m"})
    other = hand(
        {"ties": [BEFORE]}, facts={"Data": "y", "Threads": "2"}, tier="full", digest="d2", tasks=[Task("a", None)]
    )
    told = {setting.name: (setting.one, setting.other) for setting in compare(one, other).settings}
    assert told == {
        "tier": ("smoke", "full"),
        "Data": ("x", "y"),
        "Model": ("m", ""),
        "Threads": ("", "2"),
        "questions and scoring": ("digest d1", "digest d2"),
    }


def test_a_result_does_not_differ_from_itself():
    made = many(2, 40)
    told = compare(made, made)
    assert not told.settings and not told.only_one and not told.only_other
    assert all(each.paired and each.difference.mean == 0 and not each.difference.resolved for each in told.changes)


def test_a_coefficient_that_moved_is_told():
    one = hand({"ties": [BEFORE]})
    moved = [replace(cell, chosen=0.8, at_edge=True) for cell in one.rows[0].cells]
    told = change(one, replace(one, rows=[replace(one.rows[0], cells=moved)]))
    assert told.chosen == ("", "0.8*")


def test_a_seed_that_only_one_has_moves_no_coefficient():
    both = hand({"ties": [BEFORE, BEFORE]})
    cells = [replace(cell, chosen=value) for cell, value in zip(both.rows[0].cells, (0.4, 0.6), strict=True)]
    two = replace(both, rows=[replace(both.rows[0], cells=cells)])
    one = replace(both, rows=[replace(both.rows[0], cells=cells[:1])])
    assert change(two, one).chosen == ("0.4", "0.4")
