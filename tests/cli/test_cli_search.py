"""`ligate search`: on tiny models and files of questions, from the command line."""

from __future__ import annotations

import json

import pytest

from tiny_folders import CLASSES, classifiers, encoders, language_models, rows, write_csv

MODELS = {"classification": encoders, "sequence-classification": classifiers, "causal-lm": language_models}
CHOICES = {"classification": "classes: [{}]", "sequence-classification": "", "causal-lm": "columns: {{text: text}}"}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Models, data and a recipe of a kind in the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(kind, search, data="", method="task_arithmetic"):
        MODELS[kind](tmp_path)
        tasks = []
        for task, names in CLASSES.items():
            write_csv(tmp_path / f"{task}.csv", rows(task, 40))
            more = CHOICES[kind].format(", ".join(names))
            tasks.append(f"    {task}: {{data: {task}.csv{', ' if more else ''}{more}}}")
        prefix = "bert." if kind == "sequence-classification" else ""
        sources = [f"  {label}: {{path: ./{label}, strip_prefix: '{prefix}'}}" for label in CLASSES]
        lines = [
            "sources:",
            "  base: ./base",
            *sources,
            "data:",
            f"  kind: {kind}",
            *([f"  {data}"] if data else []),
            "  tasks:",
        ]
        lines += [*tasks, "merge:", f"  method: {method}", "  base: base", f"  models: [{', '.join(CLASSES)}]"]
        if kind == "sequence-classification":
            lines += ["output: {drop: ['classifier.*']}"]
        (tmp_path / "my.yaml").write_text("\n".join([*lines, search]) + "\n")

    return write


SCALE = "search: {parameters: {scale: {low: 0.1, high: 2, log: true}}, budget: 4}"


@pytest.mark.parametrize("kind", MODELS)
def test_the_tasks_of_the_data_choose(kind, written, tmp_path, fine):
    written(kind, SCALE)
    ran = fine("search", "my.yaml", "out", "--json")
    told = json.loads(ran.out)
    assert told["trials"] == 4 and told["failed"] == 0
    assert set(told["values"]) == set(told["checked"]) == {"mean of the tasks", *CLASSES}
    record = json.loads((tmp_path / "out" / "ligate.json").read_text())["recipe"]["learned"]["search"]
    assert record["data"]["tasks"]["colour"]["digest"]
    goal = record["goals"][0]["better"]
    assert goal == ("lower" if kind == "causal-lm" else "higher")
    trials = [json.loads(line) for line in (tmp_path / "out.search" / "trials.jsonl").read_text().splitlines()][1:]
    best = (min if goal == "lower" else max)(trial["values"]["mean of the tasks"] for trial in trials)
    assert told["values"]["mean of the tasks"] == best
    fine("verify", "out")
    fine("replay", "out", "again")
    fine("merge", "out.search/recipe.yaml", "other")


def test_it_says_what_it_found_and_goes_on_with_a_greater_budget(written, tmp_path, fine, ligate):
    written("classification", "search: {parameters: {density: {low: 0.1, high: 1}}, budget: 2}", method="ties")
    ran = fine("search", "my.yaml", "out")
    assert "density: " in ran.out and "best of 2 trials: mean of the tasks 0." in ran.out
    assert "on examples that chose nothing: " in ran.out
    assert ligate("search", "my.yaml", "out", "--budget", "3").code == 5, "OUT is there"
    (tmp_path / "out").rename(tmp_path / "first")
    before = (tmp_path / "out.search" / "trials.jsonl").read_text()
    fine("search", "my.yaml", "out", "--budget", "3")
    assert (tmp_path / "out.search" / "trials.jsonl").read_text().startswith(before)
    (tmp_path / "out").rename(tmp_path / "second")
    ran = ligate("search", "my.yaml", "out", "--seed", "7")
    assert ran.code == 3 and "differs in seed" in ran.err


def test_a_front_from_the_command_line(written, tmp_path, fine):
    written("classification", SCALE)
    fine("search", "my.yaml", "out", "--front", "--budget", "3")
    assert json.loads((tmp_path / "out.search" / "front.json").read_text())["goals"][1]["name"] == "size"
    assert (tmp_path / "out.search" / "front.svg").exists()


def test_a_recipe_that_searches_is_checked_but_not_merged(written, fine, ligate):
    written("classification", SCALE)
    fine("check", "my.yaml")
    ran = ligate("merge", "my.yaml", "out")
    assert ran.code == 2 and "`ligate search RECIPE out`" in ran.err


@pytest.mark.parametrize(
    ("search", "data", "options", "words"),
    [
        (SCALE, "test_inputs: true", (), "no `test_inputs`"),
        ("search: {parameters: {scal: {low: 0, high: 1}}}", "", (), "no parameter `scal`"),
        (SCALE, "", ("--sampler", "tpa"), "did you mean 'tpe'"),
        (SCALE, "", ("--sampler", "cma"), "two numbers or more"),
    ],
)
def test_what_is_wrong_is_told(search, data, options, words, written, ligate, tmp_path):
    written("classification", search, data)
    ran = ligate("search", "my.yaml", "out", *options)
    assert ran.code == 2 and words in ran.err
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.search").exists()
