from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from ligate.bench import compare, screen
from ligate.bench.results import Results
from ligate.bench.suite import BITS_PER_BYTE
from ligate.bench.synthetic_test import TASKS, hand, many, mechanics


def shown(results: Results, width: int = 100) -> str:
    return printed(screen.tables(results), width)


def printed(parts: Iterable[RenderableType], width: int = 100) -> str:
    console = Console(width=width, file=StringIO())
    for each in parts:
        console.print(each)
    return console.file.getvalue()


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


@pytest.mark.parametrize("width", [100, 140])
def test_every_line_fits_and_nothing_is_cut(width: int):
    text = shown(many(count=60), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text
    words = text.replace("works-\n", "works-")
    assert all(name in words for name in TASKS if "-" not in name)


def test_a_table_too_wide_goes_on_below_with_every_column():
    tasks = [f"task number {n} of a suite" for n in range(12)]
    text = shown(many(seeds=1, count=20, tasks=tasks), 80)
    assert "By task, accuracy, %, continued" in text
    assert text.count("Task arithmetic  ") >= 4
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_a_difference_within_noise_stands_in_brackets():
    text = shown(hand({"average": [[1.0, 0.0, 0.0, 0.0]], "ties": [[1.0, 1.0, 0.0, 0.0]]}))
    assert "(+25.0 ± 79.6)" in line_of(text, "ties")  # t of 3 degrees times the standard error of 0, 1, 0, 0
    assert "its lead over average is not resolved" in text


def test_a_resolved_difference_does_not():
    text = shown(hand({"average": [[0.0] * 20], "ties": [[1.0] * 19 + [0.0]]}))
    assert "+95.0 ± 10.5" in line_of(text, "ties") and "(+95" not in text
    assert "its lead over each of them is resolved" in text


def test_lower_is_better_is_said_and_the_lowest_leads():
    text = shown(hand({"average": [[1.0] * 20], "ties": [[0.0] * 19 + [1.0]]}, metric=BITS_PER_BYTE))
    assert "bits per byte, lower is better" in text
    assert "ties came out first" in text
    assert "−0.950 ± 0.105" in line_of(text, "ties")


def test_failures_are_told_with_seed_and_reason():
    text = shown(many(count=40))
    assert "`encoder.layer.3` & stops <here>" in text
    assert "only seeds 0 and 2" in text


def test_each_row_says_what_it_used():
    text = shown(many(count=40))
    assert "training data" in line_of(text, "Joint training")
    assert "validation labels" in line_of(text, "TIES")
    assert line_of(text, "Average").rstrip().endswith("nothing")


def test_a_coefficient_at_the_end_of_its_range_has_a_star():
    text = shown(many(count=40))
    assert "lambda 3*" in text and "a better value may lie outside" in text


def test_a_suite_that_must_not_rank_says_so_first_and_ranks_nothing():
    text = shown(mechanics())
    assert text.startswith("This suite checks that things work.")
    assert "came out first" not in text
    assert "barrier" in text


def test_names_with_markup_are_shown_as_they_are():
    made = hand({"average": [[0.0, 1.0]]})
    odd = replace(made, rows=[replace(made.rows[0], title="[bold]odd[/bold]", uses=())], suite="[red]x")
    assert "[bold]odd[/bold]" in shown(odd) and "[red]x" in shown(odd)
    two = hand({"average": [[0.0, 1.0]], "ties": [[0.0, 1.0]]})
    named = [replace(row, title=f"[i]{row.id}[/i]") for row in two.rows]
    assert "minus [i]average[/i]" in shown(replace(two, rows=named), 140)


def compared(one: Results, other: Results) -> str:
    return printed(screen.compared(compare.compare(one, other)))


def test_a_comparison_tells_settings_rows_and_changes():
    one = hand({"average": [[0.0] * 20], "gone": [[0.0] * 20]})
    other = hand({"average": [[1.0] * 19 + [0.0]], "came": [[0.0] * 20]}, budget=9, facts={"Data": "other"})
    text = compared(one, other)
    assert "9 coefficients" in text and "other" in text
    assert "Only in the first: gone." in text and "Only in the second: came." in text
    assert "+95.0 ± 10.5" in line_of(text, "average")


def test_a_comparison_with_itself_says_that_nothing_changed():
    same = hand({"average": [[0.0, 1.0]]})
    text = compared(same, same)
    assert "are the same" in text
    assert "0.0" in line_of(text, "average")
