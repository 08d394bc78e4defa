"""Configs of the shapes of mergekit's examples: checked and merged on the command line, with mergekit's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import grid
import numpy as np
import pytest
import torch
from examples import EXAMPLES, Example
from safetensors.torch import load_file
from tiny_llama import read_model

from ligate.cli.main import main

NUMBERS = grid.of_examples()
STORED = {"float16": torch.float16, "bfloat16": torch.bfloat16}
ONCE = {"float16": {"rtol": 2**-11, "atol": 2**-25}, "bfloat16": {"rtol": 2**-8, "atol": 0.0}}  # half a last place


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    room = tmp_path_factory.mktemp("examples")
    grid.write_models(room)
    return room


def merged(text: str, room: Path, out: Path, monkeypatch) -> Path:
    monkeypatch.chdir(room)
    config = out.with_suffix(".yml")
    config.write_text(text)
    assert main(["check", str(config)]) == 0
    assert main(["merge", str(config), str(out), "--quiet"]) == 0
    return out


@pytest.mark.parametrize("example", [one for one in EXAMPLES if not one.random], ids=lambda example: example.name)
def test_an_example_has_mergekits_numbers(example: Example, room, tmp_path, monkeypatch):
    out = merged(example.text, room, tmp_path / "out", monkeypatch)
    found, expected = grid.fingerprint(read_model(out)), NUMBERS[example.name]
    assert set(found) == set(expected)
    for group, number in expected.items():
        np.testing.assert_allclose(found[group], number, rtol=1e-8, atol=1e-8, err_msg=group)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_is_written_in_its_dtype_rounded_once(example: Example, room, tmp_path, monkeypatch):
    whole = load_file(merged(example.text, room, tmp_path / "whole", monkeypatch) / "model.safetensors")
    text = f"{example.text}dtype: {example.dtype}\n"  # of the last merge
    out = merged(text, room, tmp_path / "out", monkeypatch)
    stored = load_file(out / "model.safetensors")
    assert set(stored) == set(whole)
    for name, tensor in whole.items():
        assert stored[name].dtype == STORED[example.dtype]
        np.testing.assert_allclose(stored[name].double(), tensor, err_msg=name, **ONCE[example.dtype])
    config = json.loads((out / "config.json").read_text())
    assert config["num_hidden_layers"] == example.layers
    assert (config.get("dtype") or config["torch_dtype"]) == example.dtype
