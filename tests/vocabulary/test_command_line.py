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


STEPS = """\
sources: {a: ./a, b: ./b, wide: ./wide}
steps:
  - {name: mean, method: linear, models: [a, b], parameters: {weight: 1}}
  - {method: task_arithmetic, base: b, models: [mean, wide], parameters: {weight: 1, scale: 0.5}}
output: {tokenizer: union, donor: wide, chat_template: "{{ x }}"}
"""


def test_all_steps_speak_the_vocabulary_of_the_result(desk, told):
    """Numbers go by the last step's base; the config's come from a donor that numbers them otherwise."""
    (desk / "recipe.yaml").write_text(STEPS)
    code, error = told("merge", "recipe.yaml", "out")
    assert code == 0, error
    own = {label: tokens(desk / label) for label in ("a", "b", "wide", "out")}
    rows = {label: tensors(desk / label)[EMBEDDING].astype(np.float64) for label in own}
    assert {token: own["out"][token] for token in own["b"]} == own["b"]
    for token, number in own["out"].items():
        at = {label: rows[label][own[label][token]] for label in ("a", "b", "wide") if token in own[label]}
        fill = at["b"] if "b" in at else np.mean([at["a"], at["wide"]], axis=0)
        a, b, wide = (at.get(label, fill) for label in ("a", "b", "wide"))
        expected = b + 0.5 * (((a + b) / 2 - b) + (wide - b))
        np.testing.assert_allclose(rows["out"][number], expected, rtol=2e-6, atol=1e-7, err_msg=token)
    found = config(desk / "out")
    assert found["vocab_size"] == len(rows["out"])
    assert (found["bos_token_id"], found["eos_token_id"]) == (own["out"]["<s>"], own["out"]["</s>"])
    assert (desk / "out" / "chat_template.jinja").read_text() == "{{ x }}"
    assert told("replay", "out", "again")[0] == 0


def test_slices_take_the_rows_of_their_models_in_the_vocabulary_of_the_result(desk, told):
    slices = "slices: [{layers: {a: [0, 1]}}, {layers: {b: [1, 2]}}]"
    (desk / "recipe.yaml").write_text(
        f"sources: {{a: ./a, b: ./b}}\nmerge: {{method: passthrough, {slices}}}\noutput: {{tokenizer: union}}\n"
    )
    code, error = told("merge", "recipe.yaml", "out")
    assert code == 0, error
    first, last, out = (tensors(desk / label) for label in ("a", "b", "out"))
    own = {label: tokens(desk / label) for label in ("a", "b", "out")}
    for token, number in own["out"].items():
        embedding = first[EMBEDDING][own["a"][token]] if token in own["a"] else last[EMBEDDING][own["b"][token]]
        head = (
            last["lm_head.weight"][own["b"][token]] if token in own["b"] else first["lm_head.weight"][own["a"][token]]
        )
        np.testing.assert_array_equal(out[EMBEDDING][number], embedding)
        np.testing.assert_array_equal(out["lm_head.weight"][number], head)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of peft, at transformers
def test_an_adapter_is_applied_before_rows_move(desk, told):
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    model = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(desk / "b"),
        peft.LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"], init_lora_weights=False),
    )
    torch.manual_seed(1)
    model.save_pretrained(desk / "adapter", save_embedding_layers=False)
    whole = model.merge_and_unload().model.embed_tokens.weight.detach().double().numpy()
    (desk / "recipe.yaml").write_text(RECIPE.replace("./b", "{path: ./b, adapter: ./adapter}"))
    code, error = told("merge", "recipe.yaml", "out", "--tokenizer", "a")
    assert code == 0, error
    found, first = (tensors(desk / label)[EMBEDDING].astype(np.float64) for label in ("out", "a"))
    own, others = tokens(desk / "a"), tokens(desk / "b")
    for token, number in own.items():
        other = whole[others[token]] if token in others else first[number]
        np.testing.assert_allclose(found[number], (first[number] + other) / 2, rtol=1e-5, atol=1e-6, err_msg=token)


def rewritten(change: Callable[[dict], object]) -> Callable[[str], str]:
    def change_text(text: str) -> str:
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return change_text


BROKEN = {
    "cut off": (lambda text: text[: len(text) // 2], "no valid JSON"),
    "not an object": (lambda text: "[]", "an object `{...}` is expected"),
    "no model": (rewritten(lambda content: content.pop("model")), "no vocabulary that is understood"),
    "numbers as text": (rewritten(lambda content: content["model"].update(vocab={"x": "1"})), "no vocabulary"),
    "a merge of three": (rewritten(lambda content: content["model"]["merges"].append("a b c")), "its merges or pieces"),
    "a number beyond all": (
        rewritten(lambda content: content["model"]["vocab"].update({"far": 10**15})),
        "the token 'far' has the number 1000000000000000",
    ),
    "a negative number": (rewritten(lambda content: content["model"]["vocab"].update(less=-1)), "has the number -1"),
    "added tokens without a number": (rewritten(lambda content: content.update(added_tokens=[{"content": "x"}])), ""),
    "odd components": (
        rewritten(lambda content: content.update(pre_tokenizer={"pretokenizers": 3}, decoder=7)),
        "ByteLevel",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_tokenizer_file_is_named_and_nothing_is_left(desk, told, models, kind):
    spoil, words = BROKEN[kind]
    (desk / "b").unlink()
    shutil.copytree(models / "b", desk / "b")
    path = desk / "b" / "tokenizer.json"
    path.write_text(spoil(path.read_text()))
    code, error = told("merge", "recipe.yaml", "out", "--tokenizer", "union")
    assert code == (3 if words else 0), error
    assert words in error
    assert not words or ("tokenizer.json" in error and not (desk / "out").exists())


def test_a_union_that_prepares_text_otherwise_than_one_of_its_models_says_so(desk, told, models):
    (desk / "b").unlink()
    shutil.copytree(models / "b", desk / "b")
    path = desk / "b" / "tokenizer.json"
    path.write_text(rewritten(lambda content: content.update(normalizer={"type": "NFKC"}))(path.read_text()))
    code, error = told("merge", "recipe.yaml", "out", "--tokenizer", "union")
    assert code == 0
    assert "text is prepared as `a` does it (unchanged), not as `b` does (NFKC)" in error


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


@pytest.mark.parametrize(("policy", "changed"), [("union", "b"), ("a", "a"), ("a", "b")])
def test_an_interrupted_merge_goes_on_to_the_same_bytes_unless_a_tokenizer_has_changed(
    desk, told, models, policy, changed
):
    (desk / changed).unlink()
    shutil.copytree(models / changed, desk / changed)
    assert told("merge", "recipe.yaml", "whole", "--tokenizer", policy)[0] == 0
    for out in ("out", "other"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(execute, "write_sidecars", _stopped)
            assert told("merge", "recipe.yaml", out, "--tokenizer", policy)[0] != 0
    assert told("resume", "out")[0] == 0
    for name in ("model.safetensors", "tokenizer.json", "ligate.json"):
        assert (desk / "out" / name).read_bytes() == (desk / "whole" / name).read_bytes()
    path = desk / changed / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    code, error = told("resume", "other")
    assert code == 3
    assert "tokenizer.json" in error and "has changed" in error


def _stopped(*_: object) -> None:
    raise KeyboardInterrupt
