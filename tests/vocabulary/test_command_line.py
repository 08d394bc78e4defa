"""Policies for vocabularies through the command line: what is asked for, what is wrong, and that nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import talkers
from talkers import CHAT, CODE, PROSE, SPECIAL, bpe, config, tensors, tokens, unigram

from ligate.cli.main import main
from ligate.verbs import execute

EMBEDDING = "model.embed_tokens.weight"
RECIPE = """\
sources: {a: ./a, b: ./b}
merge: {method: linear, models: [a, b], parameters: {weight: 1}}
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """a, b (more special tokens), pieces (another kind of tokenizer), wide (as a, with padding rows)."""
    room = tmp_path_factory.mktemp("models")
    prose = bpe(PROSE, 300)
    talkers.write_llama(room / "a", prose, 1, pad_token_id=0)
    talkers.write_llama(room / "b", bpe(CODE, 290, (*CHAT, *SPECIAL)), 2)
    talkers.write_llama(room / "pieces", unigram(PROSE, 120), 3)
    talkers.write_llama(room / "wide", prose, 4, rows=320)
    return room


@pytest.fixture
def desk(models, tmp_path, monkeypatch) -> Path:
    for folder in models.iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def told(capsys) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(list(arguments))
        return code, capsys.readouterr().err

    return run


def test_the_option_says_what_the_recipe_says(desk, told):
    (desk / "union.yaml").write_text(RECIPE + "output: {tokenizer: union}\n")
    assert told("merge", "union.yaml", "one")[0] == 0
    assert told("merge", "recipe.yaml", "two", "--tokenizer", "union")[0] == 0
    assert told("merge", "--method", "linear", "a", "b", "-o", "three", "--tokenizer", "union")[0] == 0
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert len({(desk / out / name).read_bytes() for out in ("one", "two", "three")}) == 1


@pytest.mark.parametrize(("asked", "lead"), [("b", "b"), ("base", "a")])
def test_one_models_tokenizer_comes_with_all_its_files_and_numbers(desk, told, asked, lead):
    assert told("merge", "recipe.yaml", "out", "--tokenizer", asked)[0] == 0
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (desk / "out" / name).read_bytes() == (desk / lead / name).read_bytes()
    found, own = config(desk / "out"), tokens(desk / lead)
    assert found["vocab_size"] == len(own) == len(tensors(desk / "out")[EMBEDDING])
    for key, token in (("bos_token_id", "<s>"), ("eos_token_id", "</s>"), ("pad_token_id", "<pad>")):
        assert found[key] == own[token]
    generation = json.loads((desk / "out" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == own["</s>"]


def test_check_tells_what_a_policy_means_before_anything_runs(desk, told, capsys):
    assert main(["check", "recipe.yaml", "--tokenizer", "union"]) == 0
    shown = "".join(capsys.readouterr())
    assert "tokens are not its own" in shown
    assert not (desk / "out").exists()


def test_without_a_policy_both_models_their_sizes_and_the_first_other_token_are_told(desk, told):
    code, error = told("merge", "recipe.yaml", "out")
    assert code == 3
    assert "model b" in error and "`a`" in error
    assert "number 0 is '<|start|>' here, '<pad>' there" in error
    rows = [len(tokens(desk / label)) for label in "ba"]
    assert f"{rows[0]} rows here, {rows[1]} in `a`" in error
    assert "tokenizer: union" in error


def test_a_union_of_tokenizers_that_spell_differently_is_refused_and_one_of_them_may_be_taken(desk, told):
    (desk / "recipe.yaml").write_text(RECIPE.replace("./b", "./pieces"))
    code, error = told("merge", "recipe.yaml", "out", "--tokenizer", "union")
    assert code == 3
    assert "kind: 'Unigram' here, 'BPE' there" in error and "tokenizer: a" in error
    assert told("merge", "recipe.yaml", "out", "--tokenizer", "a")[0] == 0
    assert tokens(desk / "out") == tokens(desk / "a")


def test_padding_rows_stay(desk, told):
    """One model has rows beyond its tokens: the others get theirs there, and the lead's number of rows holds."""
    (desk / "recipe.yaml").write_text(RECIPE.replace("a: ./a", "a: ./wide"))
    assert told("merge", "recipe.yaml", "out", "--tokenizer", "a")[0] == 0
    rows = {label: tensors(desk / label)[EMBEDDING].astype(np.float64) for label in ("wide", "b", "out")}
    assert len(rows["out"]) == config(desk / "out")["vocab_size"] == 320
    own, others = tokens(desk / "wide"), tokens(desk / "b")
    filled = [rows["b"][others[token]] if token in others else rows["wide"][own[token]] for token in own]
    expected = (rows["wide"][310] + np.mean(filled, axis=0)) / 2
    np.testing.assert_allclose(rows["out"][310], expected, rtol=1e-5, atol=1e-7)


def test_the_same_tokens_in_the_same_places_are_left_as_they_are(desk, told):
    (desk / "recipe.yaml").write_text(RECIPE.replace("./b", "./again"))
    talkers.write_llama(desk / "again", bpe(PROSE, 300), 9)
    assert told("merge", "recipe.yaml", "plain")[0] == 0
    for policy in ("union", "a", "b"):
        assert told("merge", "recipe.yaml", f"out-{policy}", "--tokenizer", policy)[0] == 0
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            assert (desk / "plain" / name).read_bytes() == (desk / f"out-{policy}" / name).read_bytes()


def test_a_model_without_tokenizer_is_taken_to_have_the_leads_if_it_has_as_many_rows(desk, told):
    for rows, code in ((300, 0), (290, 3)):
        folder = desk / f"bare{rows}"
        talkers.write_llama(folder, bpe(PROSE, 300), 5, rows=rows)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
        (desk / "recipe.yaml").write_text(RECIPE.replace("./b", f"./bare{rows}"))
        found, error = told("merge", "recipe.yaml", f"out{rows}", "--tokenizer", "union")
        assert found == code, error
        assert ("for which tokens its 290 rows stand" in error) == bool(code)


def test_a_tied_model_and_one_with_a_head_of_its_own_make_one_with_a_head_of_its_own(desk, told):
    from transformers import AutoModelForCausalLM

    talkers.write_llama(desk / "tied", bpe(PROSE, 300), 7, tie_word_embeddings=True)
    source = f"{{path: ./tied, alias: {{lm_head.weight: {EMBEDDING}}}}}"
    (desk / "recipe.yaml").write_text(RECIPE.replace("./a", source))
    assert told("merge", "recipe.yaml", "out", "--tokenizer", "union")[0] == 0
    assert config(desk / "out")["tie_word_embeddings"] is False
    model = AutoModelForCausalLM.from_pretrained(desk / "out")
    head, of_b = (tensors(desk / label)["lm_head.weight"] for label in ("out", "b"))
    rows = [tokens(desk / label)[CHAT[0]] for label in ("out", "b")]
    np.testing.assert_array_equal(model.lm_head.weight.detach().numpy(), head)
    np.testing.assert_array_equal(head[rows[0]], of_b[rows[1]])
    assert not np.array_equal(head, model.model.embed_tokens.weight.detach().numpy())


def test_neither_threads_nor_memory_nor_the_hash_seed_change_a_byte(desk):
    digests = set()
    for number, (threads, seed) in enumerate(((1, "1"), (2, "2"), (3, "3"))):
        command = ["merge", "recipe.yaml", f"out{number}", "--tokenizer", "union", "--threads", str(threads)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        ran = subprocess.run(
            [sys.executable, "-m", "ligate", *command], env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        names = ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json", "ligate.json")
        digests.add(tuple((desk / f"out{number}" / name).read_bytes() for name in names))
    assert len(digests) == 1


def test_an_interrupted_union_goes_on_to_the_same_bytes_unless_a_tokenizer_has_changed(desk, told, models):
    (desk / "b").unlink()
    shutil.copytree(models / "b", desk / "b")
    assert told("merge", "recipe.yaml", "whole", "--tokenizer", "union")[0] == 0
    for out in ("out", "other"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(execute, "write_sidecars", _stopped)
            assert told("merge", "recipe.yaml", out, "--tokenizer", "union")[0] != 0
    assert told("resume", "out")[0] == 0
    for name in ("model.safetensors", "tokenizer.json", "ligate.json"):
        assert (desk / "out" / name).read_bytes() == (desk / "whole" / name).read_bytes()
    path = desk / "b" / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    code, error = told("resume", "other")
    assert code == 3
    assert "tokenizer.json" in error and "has changed" in error


def _stopped(*_: object) -> None:
    raise KeyboardInterrupt
