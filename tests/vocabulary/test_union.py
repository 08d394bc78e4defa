"""Two models with different tokenizers become one that knows both vocabularies, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import talkers
from talkers import CHAT, CODE, KINDS, PROSE, SPECIAL, config, tensors, tokens
from tokenizers import Tokenizer

from ligate.cli.main import main

RECIPE = """\
sources: {a: ./a, b: ./b}
merge: {method: linear, models: [a, b], parameters: {weight: {a: 0.75, b: 0.25}}}
output: {tokenizer: union}
"""
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(scope="module", params=KINDS)
def desk(request, tmp_path_factory) -> Path:
    """Models a and b that speak the same kind of tokenizer, trained on other texts; b has special tokens more."""
    room = tmp_path_factory.mktemp(request.param)
    make = KINDS[request.param]
    talkers.write_llama(room / "a", make(PROSE, 300), 1)
    talkers.write_llama(room / "b", make(CODE, 290, (*SPECIAL, *CHAT)), 2)
    (room / "recipe.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(room)
        assert main(["merge", "recipe.yaml", "out"]) == 0
    return room


@pytest.fixture(autouse=True)
def _there(monkeypatch, request):
    if "desk" in request.fixturenames:
        monkeypatch.chdir(request.getfixturevalue("desk"))


def test_the_first_models_tokens_keep_their_numbers_and_new_ones_follow_in_order(desk):
    a, b, out = (tokens(desk / label) for label in ("a", "b", "out"))
    assert {token: out[token] for token in a} == a
    new = sorted((token for token in b if token not in a), key=b.__getitem__)
    assert [out[token] for token in new] == list(range(len(a), len(out)))
    assert set(CHAT) <= set(new)


def test_rows_are_merged_by_token_and_taken_whole_where_only_one_model_has_it(desk):
    a, b, out = (tokens(desk / label) for label in ("a", "b", "out"))
    rows = {label: tensors(desk / label) for label in ("a", "b", "out")}
    for name in (EMBEDDING, HEAD):
        for token, number in out.items():
            of_a = rows["a"][name][a.get(token, 0)].astype(np.float64)
            of_b = rows["b"][name][b.get(token, 0)].astype(np.float64)
            expected = of_b if token not in a else of_a if token not in b else 0.75 * of_a + 0.25 * of_b
            np.testing.assert_array_equal(rows["out"][name][number], expected.astype(np.float32), err_msg=token)
    others = [name for name in rows["a"] if name not in (EMBEDDING, HEAD)]
    for name in others:
        wide = 0.75 * rows["a"][name].astype(np.float64) + 0.25 * rows["b"][name].astype(np.float64)
        np.testing.assert_array_equal(rows["out"][name], wide.astype(np.float32))


def test_the_config_counts_the_rows_and_transformers_loads_the_result(desk):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    count = len(tokens(desk / "out"))
    assert config(desk / "out")["vocab_size"] == count == len(tensors(desk / "out")[EMBEDDING])
    tokenizer = AutoTokenizer.from_pretrained("out")
    assert len(tokenizer) == count
    model = AutoModelForCausalLM.from_pretrained("out")
    ids = tokenizer(["We merge <|start|>lists<|end|>"], return_tensors="pt")
    assert set(map(tokenizer.convert_tokens_to_ids, CHAT)) <= set(ids["input_ids"][0].tolist())
    assert model(input_ids=ids["input_ids"]).logits.shape[-1] == count


@pytest.mark.parametrize(("label", "texts"), [("a", PROSE), ("b", CODE)])
def test_text_of_either_model_comes_back_as_that_models_tokenizer_gives_it_back(desk, label, texts):
    own, out = (Tokenizer.from_file(str(desk / name / "tokenizer.json")) for name in (label, "out"))
    for text in texts:
        assert out.decode(out.encode(text).ids) == own.decode(own.encode(text).ids)


def test_the_record_tells_the_policy_and_replay_gives_the_same_bytes(desk):
    record = json.loads((desk / "out" / "ligate.json").read_text())
    assert record["recipe"]["output"]["tokenizer"] == "union"
    assert main(["verify", "out"]) == 0
    assert main(["replay", "out", "again", "--overwrite"]) == 0
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"):
        assert (desk / "out" / name).read_bytes() == (desk / "again" / name).read_bytes()
