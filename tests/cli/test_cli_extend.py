"""`ligate extend`: an OPCM merge goes on where it ended."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ligate.verbs.extend import extend

SHAPES = {"a[0].w": (12, 20), "b": (7,), "c.w": (9, 4)}


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    base = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()}
    for label in ("base", "other-base", "one", "two", "three", "four"):
        (tmp_path / label).mkdir()
        step = 0.0 if label == "base" else 0.1
        moved = {n: t + step * torch.randn(t.shape, generator=generator, dtype=torch.float64) for n, t in base.items()}
        save_file(moved, tmp_path / label / "model.safetensors")
    return tmp_path


def weights(folder):
    return load_file(folder / "model.safetensors")


OPCM = ("merge", "--method", "opcm", "--base", "base")


def test_in_three_goes_it_is_the_merge_of_all_at_once(models, fine):
    fine(*OPCM, "one", "two", "three", "four", "-o", "whole")
    fine(*OPCM, "one", "two", "-o", "first")
    fine("extend", "first", "three", "-o", "second")
    ran = fine("extend", "second", "four", "-o", "third", "--base", "base", "--json")
    assert json.loads(ran.out)["tensors"] == len(SHAPES)
    whole, third = weights(models / "whole"), weights(models / "third")
    for name in SHAPES:
        torch.testing.assert_close(third[name], whole[name], rtol=1e-9, atol=1e-11)
    fine("verify", "third")
    fine("replay", "third", "again")


def test_only_opcm_of_scale_one_goes_on(models, fine, ligate):
    fine("merge", "--method", "ties", "--base", "base", "one", "two", "-o", "ties")
    fine(*OPCM, "one", "two", "--set", "scale=0.5", "-o", "half")
    for out, words in (
        ("ties", "only OPCM and learned merges"),
        ("half", "scale other than 1"),
        ("one", "no ligate.json"),
    ):
        ran = ligate("extend", out, "three", "-o", "next")
        assert ran.code in (2, 3) and words in ran.err
        assert not (models / "next").exists()


def test_another_base_and_a_lost_one_are_told(models, fine, ligate):
    fine(*OPCM, "one", "two", "-o", "first")
    ran = ligate("extend", "first", "three", "-o", "next", "--base", "other-base")
    assert ran.code == 6 and "the base differs" in ran.err
    (models / "first.log.json").unlink()
    ran = ligate("extend", "first", "three", "-o", "more")
    assert ran.code == 3 and "--base PATH" in ran.err


def test_a_model_of_another_shape_is_told_without_what_follows_from_it(models, fine, ligate):
    fine(*OPCM, "one", "two", "-o", "first")
    save_file(
        {**load_file(models / "three" / "model.safetensors"), "c.w": torch.ones(9, 5)}, models / "wide.safetensors"
    )
    ran = ligate("extend", "first", "wide.safetensors", "-o", "next")
    assert (ran.code, ran.err.count("->")) == (3, 1)
    assert "c.w: shape [9, 5] here" in ran.err


def test_in_python_one_model_is_no_list_of_letters(models, fine):
    fine(*OPCM, "one", "two", "-o", "first")
    assert extend("first", "three", "second", base="base").tensors == len(SHAPES)


@pytest.fixture
def encoders(tmp_path, monkeypatch):
    """A base and three encoders that answer two tasks, with the questions of each."""
    import tiny_folders

    monkeypatch.chdir(tmp_path)
    tiny_folders.encoders(tmp_path, ("colour", "size", "third"))
    for task in tiny_folders.CLASSES:
        tiny_folders.write_csv(tmp_path / f"{task}.csv", tiny_folders.rows(task, 60))

    def data(name, tasks):
        lines = [f"    {task}: {{data: {file}.csv, classes: [{', '.join(tiny_folders.CLASSES[file])}]}}"
                 for task, file in tasks.items()]  # fmt: skip
        (tmp_path / name).write_text("\n".join(["data:", "  kind: classification", "  tasks:", *lines]) + "\n")

    data("old.yaml", {"colour": "colour"})
    data("new.yaml", {"colour": "colour", "size": "size"})
    data("last.yaml", {"colour": "colour", "size": "size", "third": "size"})
    (tmp_path / "first.yaml").write_text(
        "sources: {base: ./base, colour: ./colour}\n"
        "merge: {method: learn/adamerging_task, base: base, models: [colour], parameters: {steps: 3, rate: 0.01}}\n"
        + (tmp_path / "old.yaml").read_text()
    )
    return tmp_path


def test_three_models_arrive_one_by_one_and_coefficients_are_learned(encoders, fine):
    fine("merge", "first.yaml", "first")
    fine("extend", "first", "size", "-o", "second", "--data", "new.yaml")
    fine("extend", "second", "third", "-o", "third-merge", "--data", "last.yaml")
    record = json.loads((encoders / "second" / "ligate.json").read_text())["recipe"]
    assert record["merge"]["models"] == ["earlier", "size"]
    learned = record["learned"]
    assert learned["preset"] == "learn/adamerging_task"
    assert (learned["settings"]["steps"], learned["settings"]["rate"]) == (3, 0.01), "the settings go on"
    told = record["merge"]["parameters"]["weight"]
    weight = next(one["value"] for one in told if one["match"] == "embeddings.word_embeddings.weight")
    assert 0.9 < weight["earlier"] <= 1, "what is merged already begins as it is"
    assert 0.2 < weight["size"] < 0.4
    base, first, size, second = (weights(encoders / name) for name in ("base", "first", "size", "second"))
    for name in ("encoder.layer.0.output.dense.weight", "embeddings.word_embeddings.weight"):
        expected = (base[name] + weight["earlier"] * (first[name] - base[name])
                    + weight["size"] * (size[name] - base[name]))  # fmt: skip
        torch.testing.assert_close(second[name], expected, rtol=1e-5, atol=1e-6)
    for out in ("second", "third-merge"):
        fine("verify", out)
    (encoders / "colour").rename(encoders / "elsewhere")  # which the last merge has not read
    fine("replay", "third-merge", "again")


def test_any_merge_with_a_base_goes_on_by_learning_when_that_is_asked_for(encoders, fine, ligate):
    fine("merge", "--method", "ties", "--base", "base", "colour", "size", "-o", "ties")
    ran = ligate("extend", "ties", "third", "-o", "next")
    assert ran.code == 2 and "--method learn/..." in ran.err
    ran = ligate("extend", "ties", "third", "-o", "next", "--method", "learn/expert_merging")
    assert ran.code == 2 and "has no data" in ran.err
    ran = ligate("extend", "ties", "third", "-o", "next", "--method", "ties", "--data", "last.yaml")
    assert ran.code == 2 and "cannot go on by `ties`" in ran.err
    ran = ligate("extend", "ties", "third", "-o", "next", "--method", "learn/adamergin", "--data", "last.yaml")
    assert ran.code == 2 and "did you mean 'adamerging'" in ran.err
    ran = ligate("extend", "ties", "third", "-o", "next", "--method", "learn/adamerging", "--data", "ties.csv")
    assert ran.code == 2 and "no such" in ran.err
    assert not (encoders / "next").exists()
    ran = fine("extend", "ties", "third", "-o", "next", "--method", "learn/adamerging_task", "--data", "last.yaml")
    assert "learned 2 numbers" in ran.err


def test_the_earlier_result_teaches_what_it_can(encoders, fine):
    fine("merge", "--method", "ties", "--base", "base", "colour", "size", "-o", "ties")
    old = (encoders / "old.yaml").read_text().replace("colour: {", "earlier: {")
    third = next(line for line in (encoders / "last.yaml").read_text().splitlines() if "third" in line)
    (encoders / "taught.yaml").write_text(f"{old}{third}\n")
    options = ("--method", "learn/expert_merging", "--data", "taught.yaml", "--set", "steps=2", "--set", "parts=1")
    fine("extend", "ties", "third", "-o", "next", *options)
    record = json.loads((encoders / "next" / "ligate.json").read_text())["recipe"]
    assert record["learned"]["settings"]["first_at"] == 0.95
    told = record["merge"]["parameters"]["weight"]
    assert all(one["value"]["earlier"] > one["value"]["third"] for one in told[:-1])


def test_opcm_goes_on_without_data(models, fine, ligate):
    fine(*OPCM, "one", "two", "-o", "first")
    (models / "data.yaml").write_text("data: {kind: causal-lm, tasks: {three: texts.jsonl}}\n")
    ran = ligate("extend", "first", "three", "-o", "next", "--data", "data.yaml")
    assert ran.code == 2 and "OPCM goes on without learning" in ran.err
