"""Whose child a model is, by what the user's models say of the user's inputs: verb and command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_folders as made
from ligate.cli.main import main
from ligate.core.errors import RecipeError
from ligate.verbs.trace_inputs import trace_by_inputs

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and its child, a stranger of the same shape and the base with its hidden units in another order."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models")
    made.encoders(folder)
    torch.manual_seed(5)
    stranger: Any = BertModel(BertConfig(vocab_size=len(made.tokenizer()), **made.SHAPE))
    moved: Any = BertModel.from_pretrained(folder / "base")
    for layer in moved.encoder.layer:
        order = torch.randperm(made.SHAPE["intermediate_size"])
        with torch.no_grad():
            for value in (layer.intermediate.dense.weight, layer.intermediate.dense.bias):
                value.copy_(value[order].clone())
            layer.output.dense.weight.copy_(layer.output.dense.weight[:, order].clone())
    tuned: Any = made.nudged(BertModel.from_pretrained(folder / "base"), 7, 0.004)
    for name, model in {"stranger": stranger, "moved": moved, "tuned": tuned}.items():
        model.save_pretrained(folder / name)
        made.tokenizer().save_pretrained(folder / name)
    made.write_csv(folder / "colour.csv", made.rows("colour", 40))
    text = "data: {kind: classification, tasks: {colour: {data: colour.csv, classes: [red, green, blue]}}}\n"
    (folder / "data.yaml").write_text(text, "utf-8")
    return folder


@pytest.fixture(autouse=True)
def _inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def test_the_base_is_found_among_strangers_and_the_step_explains_it():
    found = trace_by_inputs("tuned", ["stranger", "base"], "data.yaml", inputs=8)
    assert found.parent == "base"
    assert found.inputs == 8
    parent, stranger = found.candidates
    assert parent.explained is not None
    assert stranger.explained is not None
    assert parent.explained > 0.5 > stranger.explained
    assert parent.score > parent.plain


def test_a_base_in_another_order_is_brought_back():
    found = trace_by_inputs("tuned", ["stranger", "moved"], "data.yaml", inputs=8)
    assert found.parent == "moved"
    assert found.reordered == ("moved",)
    assert found.candidates[0].explained is not None
    assert found.candidates[0].explained > 0.5


def test_without_the_step_it_is_plain_similarity():
    found = trace_by_inputs("tuned", ["stranger", "base"], "data.yaml", inputs=8, approximation="none")
    assert all(each.score == each.plain for each in found.candidates)


def test_the_command_line_tells_and_writes(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    out = tmp_path / "told.json"
    assert main(["trace", "tuned", "--parents", "base", "stranger", "--data", "data.yaml", "--json", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tuned:")
    assert lines[1].split()[0] == "base"
    assert "the step, which explains" in lines[1]
    told = json.loads(out.read_text("utf-8"))
    assert told["parent"] == "base"
    assert [each["name"] for each in told["candidates"]] == ["base", "stranger"]


def test_what_does_not_go_together_is_refused():
    with pytest.raises(RecipeError, match="needs inputs"):
        trace_by_inputs("tuned", [], "data.yaml")
    assert main(["trace", "--tree", ".", "--data", "data.yaml"]) == 2
    assert main(["trace", "tuned", "--parents", "base", "--data", "data.yaml", "--similarity", "cosin"]) == 2
