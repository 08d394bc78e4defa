from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ligate.bench.weights import write_weights
from ligate.cli.main import main
from ligate.core.errors import InputError
from ligate.verbs.scan import scan

SHAPES = {"words": (80, 16), "up": (24, 16), "down": (16, 24)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, four experts of which the last moved one row far, one cut short, and a stranger."""
    place = tmp_path_factory.mktemp("scan")
    draw = torch.Generator().manual_seed(0)
    base = {name: torch.randn(shape, generator=draw) for name, shape in SHAPES.items()}
    write_weights(base, place / "base")
    for name in ("a", "b", "c", "planted"):
        state = {key: one + 0.02 * torch.randn(one.shape, generator=draw) for key, one in base.items()}
        if name == "planted":
            state["words"][11] += 1.0
        write_weights(state, place / name)
    write_weights(base, place / "short")
    weights = place / "short" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    write_weights({"other": torch.zeros(3)}, place / "stranger")
    return place


def test_the_expert_with_the_planted_row_is_flagged_and_what_cannot_be_read_is_listed(folder: Path):
    names = ["a", "b", "c", "planted", "short", "stranger"]
    found = scan([folder / name for name in names], folder / "base")
    assert [each.name for each in found.experts if each.flagged] == ["planted"]
    lines = next(each for each in found.experts[3].findings if each.screen == "lines")
    assert (lines.tensor, lines.line, lines.flagged) == ("words", "row 11", True)
    assert {each.name for each in found.skipped} == {"short", "stranger"} and found.peers == 4


def test_text_and_json_say_the_same_and_promise_nothing(folder: Path, capsys: pytest.CaptureFixture[str]):
    places = [str(folder / name) for name in ("a", "b", "c", "planted")]
    assert main(["scan", *places, "--base", str(folder / "base"), "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "planted: single lines" in told and "words, row 11" in told and "Weights prove nothing" in told
    assert main(["scan", *places, "--base", str(folder / "base"), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [each["flagged"] for each in data["experts"]] == [False, False, False, True] and not data["guarantee"]


def test_one_expert_cannot_be_compared(folder: Path):
    with pytest.raises(InputError, match="fewer than two experts"):
        scan([folder / "a", folder / "short"], folder / "base")
