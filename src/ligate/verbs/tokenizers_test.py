from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ligate.core.errors import InputError

from .merge import merge

RECIPE = {"sources": {"a": "a", "b": "b", "c": "c"}, "merge": {"method": "linear", "models": ["a", "b", "c"]}}


@pytest.fixture(autouse=True)
def _models(tmp_path, monkeypatch):
    """a and b agree on tokens and templates; c has other tokens and another template."""
    monkeypatch.chdir(tmp_path)
    for label, words, template in (("a", "xy", "T1"), ("b", "xy", "T2"), ("c", "yx", "T2")):
        folder = tmp_path / label
        folder.mkdir()
        save_file({"w": np.ones(2, np.float32)}, folder / "model.safetensors")
        vocab = {word: number for number, word in enumerate(words)}
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": label, "chat_template": template}))


def merged(**output: str) -> Path:
    merge({**RECIPE, "output": output}, "out", overwrite=True)
    return Path("out")


def test_a_model_with_another_vocabulary_is_named_when_a_tokenizer_is_asked_for():
    with pytest.raises(InputError) as caught:
        merged(tokenizer="a")
    assert "model c" in str(caught.value) and "number 0 is 'y' here, 'x' there" in str(caught.value)
    assert not Path("out").exists()


def test_nothing_is_compared_when_no_tokenizer_is_asked_for():
    assert json.loads((merged() / "tokenizer_config.json").read_text())["eos_token"] == "a"


def test_a_model_without_tokenizer_has_none_to_give():
    for name in ("tokenizer.json", "tokenizer_config.json"):
        Path("c", name).unlink()
    with pytest.raises(InputError, match="holds no tokenizer"):
        merged(tokenizer="c")
    with pytest.raises(InputError, match="no tokenizer for the chat template"):
        merged(donor="c", chat_template="{{ x }}")


def test_a_chat_template_takes_the_place_of_the_donors():
    out = merged(chat_template="{{ x }}")
    assert (out / "chat_template.jinja").read_text() == "{{ x }}"
    assert json.loads((out / "tokenizer_config.json").read_text()) == {"eos_token": "a"}


def test_auto_takes_the_template_that_most_of_the_models_have():
    assert (merged(chat_template="auto") / "chat_template.jinja").read_text() == "T2"


def test_auto_without_any_template_writes_none():
    for label in "abc":
        Path(label, "tokenizer_config.json").write_text("{}")
    assert not (merged(chat_template="auto") / "chat_template.jinja").exists()
