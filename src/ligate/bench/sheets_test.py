from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from ligate.bench import sheets
from ligate.bench.results import Cell, Results
from ligate.bench.summary import summarise
from ligate.bench.synthetic_test import hand, many

THIRD = [1.0, 0.0, 0.0]


def rows(results: Results, folder: Path) -> list[dict[str, str]]:
    sheets.write(results, folder)
    with (folder / "results.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, strict=True))


def test_a_line_per_row_seed_and_task_and_one_with_means(tmp_path: Path):
    told = rows(hand({"average": [THIRD, [1.0, 1.0, 0.0]], "ties": [THIRD, THIRD]}), tmp_path)
    assert [(each["row"], each["seed"], each["task"]) for each in told] == [
        ("average", "0", "a"), ("average", "1", "a"), ("average", "mean", "mean"),
        ("ties", "0", "a"), ("ties", "1", "a"), ("ties", "mean", "mean"),
    ]  # fmt: skip


def test_numbers_keep_their_precision(tmp_path: Path):
    made = hand({"average": [THIRD], "ties": [THIRD]})
    told = rows(made, tmp_path)
    assert float(told[0]["score"]) == 1 / 3
    mean = next(each for each in told if each["row"] == "ties" and each["seed"] == "mean")
    found = summarise(made).line("ties")
    assert (float(mean["score"]), float(mean["low"]), float(mean["high"])) == (
        found.average.mean,
        found.average.low,
        found.average.high,
    )
    assert mean["baseline"] == "average" and float(mean["difference"]) == 0 and mean["resolved"] == "no"


def test_commas_quotes_and_line_breaks_come_back(tmp_path: Path):
    made = hand({"average": [THIRD]})
    title = 'odd, "quoted"\nand broken; ünï'
    assert rows(replace(made, rows=[replace(made.rows[0], title=title)]), tmp_path)[0]["title"] == title


def test_a_failed_seed_has_a_line_with_its_reason_and_no_score(tmp_path: Path):
    made = hand({"average": [THIRD, THIRD]})
    failed = replace(made, rows=[replace(made.rows[0], cells=[made.rows[0].cells[0], Cell(1, failed="out of memory")])])
    told = [each for each in rows(failed, tmp_path) if each["seed"] == "1"]
    assert [(each["failed"], each["score"], each["task"]) for each in told] == [("out of memory", "", "")]


def test_every_paper_cost_and_coefficient_of_a_large_result_is_there(tmp_path: Path):
    made = many(count=20)
    told = rows(made, tmp_path)
    done = sum(len(row.done) for row in made.rows)
    failed = sum(len(row.cells) for row in made.rows) - done
    assert len(told) == done * (3 * 8 + 1) + failed + len(made.rows)
    iso = next(each for each in told if each["row"] == "iso_c" and each["seed"] == "1")
    assert (iso["chosen"], iso["at_edge"], iso["parameters"]) == ("3.0", "yes", "22713216")
    assert {each["metric"] for each in told} == {"accuracy"}


def test_it_can_be_given_a_file(tmp_path: Path):
    sheets.write(hand({"average": [THIRD]}), tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text(encoding="utf-8").startswith("row,title,")
