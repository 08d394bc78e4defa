"""`ligate bench` as a person types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def played(fine, place: Path, out: str, *more: str):
    return fine(
        "bench", "run", "digits", "--tier", "smoke", "--out", str(place / out), "--cache", str(place / "c"), *more
    )


def test_a_suite_is_played_and_told(fine, place):
    told = played(fine, place, "one").out
    assert "midpoint" in told.lower() and "report.html" in told
    assert {"results.json", "answers.npz", "results.csv", "report.html"} <= {p.name for p in (place / "one").iterdir()}
    rows = list(csv.DictReader((place / "one" / "results.csv").read_text().splitlines()))
    stored = json.loads((place / "one" / "results.json").read_text())["rows"]
    (midpoint,) = (row for row in stored if row["id"] == "midpoint")
    assert {row["row"] for row in rows} >= {"parents", "midpoint"}
    assert max(midpoint["cells"][0]["extras"].values()) > 0.3  # the barrier


def test_the_same_again_is_the_same_to_the_last_digit(fine, place):
    found = [json.loads(played(fine, place, out, "--json").out) for out in ("one", "two")]
    for told in found:
        told.pop("seconds")
        for row in told["rows"].values():
            row.pop("cost")  # has times
    assert found[0] == found[1]


def test_two_runs_are_compared(fine, place):
    played(fine, place, "one")
    played(fine, place, "fewer", "--seeds", "1")
    told = json.loads(fine("bench", "compare", str(place / "one"), str(place / "fewer"), "--json").out)
    assert "seeds" in told["settings"]
    assert not told["rows"]["parents"]["paired"]
    assert "midpoint" in fine("bench", "compare", str(place / "one"), str(place / "one")).out.lower()


def test_a_report_is_made_anew(fine, place):
    played(fine, place, "one")
    before = (place / "one" / "report.html").read_text()
    (place / "one" / "report.html").unlink()
    fine("bench", "report", str(place / "one"))
    assert (place / "one" / "report.html").read_text() == before


def test_an_example_of_own_models_can_be_read_again(fine, tmp_path, ligate):
    (tmp_path / "mine.yaml").write_text(fine("bench", "example", "text.yaml").out)
    ran = ligate("bench", "run", tmp_path / "mine.yaml", "--out", tmp_path / "out")
    assert ran.code == 3 and "mine.yaml" in ran.err  # its models are not there: the file itself is right
    assert "clip8.yaml" in ligate("bench", "example", "clip9.yaml").err


def test_the_suites_are_listed(fine):
    told = fine("bench", "suites").out
    assert all(name in told for name in ("debian4", "debian8", "sametask", "digits", "lm"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "debian5", "--out", "x"), 2, "did you mean 'debian"),
        (("run", "digits", "--out", "x", "--tier", "fast"), 2, "smoke, standard, full"),
        (("run", "digits", "--out", "x", "--seeds", "0"), 2, "--seeds is 0"),
        (("run", "digits", "--out", "x", "--budget", "1"), 2, "--budget is 1"),
        (("compare", "nothing", "here"), 3, "ligate bench run SUITE --out FOLDER"),
    ],
)
def test_a_mistake_is_told_in_one_message(ligate, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    ran = ligate("bench", *arguments)
    assert ran.code == code, ran.err
    assert words in ran.err and "Traceback" not in ran.err
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_else_is_left_alone(ligate, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    ran = ligate("bench", "run", "digits", "--tier", "smoke", "--out", str(tmp_path))
    assert ran.code == 5 and "holds something else" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_apt_the_debian_suites_say_what_to_do(ligate, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = ligate("bench", "run", "debian4", "--tier", "smoke", "--out", str(tmp_path / "out"), "--cache", str(tmp_path))
    assert ran.code == 3 and "no apt-get here" in ran.err and "digits" in ran.err
