from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ligate.core.errors import InputError, Problems
from ligate.recipe.parse import parse_text

from .merge import merge

RECIPE = {"sources": {"a": "a", "b": "b", "c": "c"}, "merge": {"method": "linear", "models": ["a", "b", "c"]}}
ROWS = "embed_tokens.weight"


@pytest.fixture(autouse=True)
def _models(tmp_path, monkeypatch):
    """a and b agree on tokens and templates; c has its tokens the other way round and another template."""
    monkeypatch.chdir(tmp_path)
    for label, words, template in (("a", "xy", "T1"), ("b", "xy", "T2"), ("c", "yx", "T2")):
        folder = tmp_path / label
        folder.mkdir()
        rows = np.float32([[ord(word)] for word in words])
        save_file({ROWS: rows, "w": np.ones(2, np.float32)}, folder / "model.safetensors")
        vocab = {word: number for number, word in enumerate(words)}
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": label, "chat_template": template}))


def merged(recipe: dict | None = None, **output: object) -> Path:
    merge({**(recipe or RECIPE), "output": output}, "out", overwrite=True)
    return Path("out")


def test_without_a_policy_a_model_that_means_other_tokens_is_named_with_the_first_of_them():
    with pytest.raises(InputError) as caught:
        merged()
    told = str(caught.value)
    assert "model c" in told and "that of `a`: number 0 is 'y' here, 'x' there, and 1 more" in told
    assert "tokenizer: union" in told
    assert not Path("out").exists()


def test_two_models_that_use_a_number_otherwise_are_named_even_where_the_lead_does_not_use_it():
    for label, words in (("a", "x"), ("b", "xy"), ("c", "xz")):
        vocab = {word: number for number, word in enumerate(words)}
        Path(label, "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    for _ in range(2):
        with pytest.raises(InputError, match=r"model c.*that of `b`: number 1 is 'z' here, 'y' there"):
            merged()
        Path("a", "tokenizer.json").unlink(missing_ok=True)  # then nobody knows what it means


def test_a_donor_that_takes_no_part_must_mean_the_same_tokens():
    alone = {"sources": RECIPE["sources"], "merge": {"method": "linear", "models": ["a", "b"]}}
    with pytest.raises(InputError, match=r"model c.*that of `a`"):
        merged(alone, donor="c")


@pytest.mark.parametrize("words", ["xy", "xz"])
def test_the_config_of_a_donor_that_takes_no_part_gets_the_numbers_of_the_result(words):
    alone = {"sources": RECIPE["sources"], "merge": {"method": "linear", "models": ["a", "b"]}}
    vocab = {word: number for number, word in enumerate(words)}
    Path("b", "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    save_file({ROWS: np.ones((5, 1), np.float32), "w": np.ones(2, np.float32)}, Path("c", "model.safetensors"))
    Path("c", "config.json").write_text(json.dumps({"text_config": {"vocab_size": 5, "eos_token_id": 0}}))
    found = json.loads((merged(alone, donor="c", tokenizer="a") / "config.json").read_text())
    assert found == {"text_config": {"vocab_size": 2, "eos_token_id": 1}}


def test_models_that_are_not_there_are_told_though_the_tokenizer_is():
    recipe = {
        **RECIPE,
        "sources": {"a": "lost", "b": "gone", "c": "c"},
        "merge": {**RECIPE["merge"], "models": ["a", "b"]},
    }
    with pytest.raises(Problems, match="lost"):
        merged(recipe, tokenizer={"source": "c", "pad_to_multiple_of": 8})


def test_the_folder_one_stands_in_is_no_models(tmp_path):
    Path("tokenizer.json").write_text("{broken")
    recipe = {**RECIPE, "sources": {"a": "a", "b": "b/model.safetensors", "c": "c"}}
    assert merged(recipe, tokenizer={"source": "a", "tokens": {"n": "zero"}}).is_dir()


def test_rows_of_a_tokenizer_that_was_asked_for_stand_in_its_order():
    assert load_file(merged(tokenizer="a") / "model.safetensors")[ROWS].ravel().tolist() == [120, 121]
    out = merged(tokenizer="c")
    assert load_file(out / "model.safetensors")[ROWS].ravel().tolist() == [121, 120]
    assert json.loads((out / "tokenizer_config.json").read_text())["eos_token"] == "c"


def test_nothing_is_compared_where_no_tensor_has_a_row_per_token():
    for label in "abc":
        save_file({"w": np.ones(2, np.float32)}, Path(label) / "model.safetensors")
    assert json.loads((merged() / "tokenizer_config.json").read_text())["eos_token"] == "a"
    with pytest.raises(InputError, match="no tensor with a row per token is known"):
        merged(tokenizer="a")


def test_a_model_without_tokenizer_has_none_to_give():
    for name in ("tokenizer.json", "tokenizer_config.json"):
        Path("c", name).unlink()
    with pytest.raises(InputError, match="holds no tokenizer"):
        merged(tokenizer="c")
    with pytest.raises(InputError, match="no tokenizer for the chat template"):
        merged(donor="c", chat_template="{{ x }}")


def test_a_chat_template_takes_the_place_of_the_donors():
    out = merged(tokenizer="a", chat_template="{{ x }}")
    assert (out / "chat_template.jinja").read_text() == "{{ x }}"
    assert json.loads((out / "tokenizer_config.json").read_text()) == {"eos_token": "a"}


def test_auto_takes_the_template_that_most_of_the_models_have():
    assert (merged(tokenizer="a", chat_template="auto") / "chat_template.jinja").read_text() == "T2"


def test_auto_without_any_template_writes_none():
    for label in "abc":
        Path(label, "tokenizer_config.json").write_text("{}")
    assert not (merged(tokenizer="a", chat_template="auto") / "chat_template.jinja").exists()


def test_a_policy_is_written_so_that_it_is_read_back_the_same():
    tokens = {
        "x": {"source": {"model": "c", "token": "y"}, "force": True},
        "<n>": {"source": {"model": "a", "id": 1}},
        "<m>": "mean",
        "<z>": {"source": "zero", "force": False},
    }
    out = merged(tokenizer={"source": "a", "tokens": tokens, "pad_to_multiple_of": 8})
    record = json.loads((out / "ligate.json").read_text())["recipe"]
    again, before = (parse_text(json.dumps(one), "").output for one in (record, {**RECIPE, "output": record["output"]}))
    assert again.tokens == before.tokens
    assert record["output"]["tokenizer"]["tokens"]["x"] == tokens["x"]
    assert [row.kind for row in again.tokens] == ["model", "model", "mean", "zero"]
    rows = load_file(out / "model.safetensors")[ROWS].ravel()
    c_y, a_y = 121, 121
    mean = np.mean([c_y, 121, a_y, 0])
    np.testing.assert_allclose(rows, [c_y, 121, a_y, mean, 0, mean, mean, mean], rtol=1e-6)
    assert tokens_of_result(out) == {"x": 0, "y": 1, "<n>": 2, "<m>": 3, "<z>": 4}


def test_files_that_would_contradict_a_union_stay_behind_and_the_config_knows_its_added_tokens():
    entry = {"content": "<c>", "special": True}
    content = {"model": {"vocab": {"x": 0, "y": 1}}, "added_tokens": [{"id": 2, **entry}]}
    Path("c", "tokenizer.json").write_text(json.dumps(content))
    save_file({ROWS: np.ones((3, 1), np.float32), "w": np.ones(2, np.float32)}, Path("c", "model.safetensors"))
    for name in ("vocab.json", "merges.txt", "added_tokens.json", "tokenizer.model", "special_tokens_map.json"):
        Path("a", name).write_text("{}")
    told = {"added_tokens_decoder": {"1": {"content": "y"}}}
    Path("a", "tokenizer_config.json").write_text(json.dumps(told))
    out = merged(tokenizer="union")
    left = {path.name for path in out.iterdir()} - {"ligate.json", "README.md", "model.safetensors"}
    assert left == {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    decoder = json.loads((out / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert decoder == {"1": {"content": "y"}, "2": entry}
    assert tokens_of_result(out) == {"x": 0, "y": 1, "<c>": 2}
    merged(tokenizer="a")
    assert {"vocab.json", "merges.txt", "tokenizer.model"} <= {path.name for path in out.iterdir()}


def tokens_of_result(out: Path) -> dict[str, int]:
    content = json.loads((out / "tokenizer.json").read_text())
    return content["model"]["vocab"] | {entry["content"]: entry["id"] for entry in content["added_tokens"]}
