from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ligate.core.errors import InputError, LigateError, Problems

from .check import check
from .merge import merge
from .replay import replay
from .verify import verify

ROWS, HEAD = "embed_tokens.weight", "lm_head.weight"
ENGLISH = {"the": 0, "a": 1, "of": 2, "one": 3}
GERMAN = {"das": 0, "a": 1, "the": 2, "ein": 3, "<pad>": 5}
RECIPE = {"sources": {"large": "large", "small": "small"}, "merge": {"method": "passthrough", "models": ["large"]}}


def _folder(label: str, tokens: dict[str, int], tensors: dict[str, np.ndarray], **config: Any) -> None:
    folder = Path(label)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": tokens}}))
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(autouse=True)
def _models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the small model `das` is (3, 4) between `a` = (1, 0) and `the` = (0, 1); `ein` is `a`, `<pad>` is nothing."""
    monkeypatch.chdir(tmp_path)
    rows = np.float32([[0, 7, 1], [7, 0, 2], [5, 5, 5], [6, 6, 6]])
    large = {ROWS: rows, HEAD: 10 * rows, "layers.0.w": np.float32([1, 2])}
    _folder("large", ENGLISH, large, vocab_size=4, hidden_size=3, eos_token_id=1)
    small = {ROWS: np.float32([[3, 4], [1, 0], [0, 1], [2, 0], [9, 9], [0, 0]]), "layers.0.w": np.float32([8, 9, 9])}
    _folder("small", GERMAN, small, vocab_size=6, hidden_size=2)


def _grow(**tokenizer: Any) -> None:
    merge({**RECIPE, "output": {"tokenizer": {"source": "small", "like": "small", **tokenizer}}}, "out", overwrite=True)


def _grown(**tokenizer: Any) -> dict[str, np.ndarray]:
    _grow(**tokenizer)
    return load_file("out/model.safetensors")


def test_a_large_model_gets_the_vocabulary_of_a_small_one():
    """`das` is 3/7 of `a` and 4/7 of `the`, `ein` is `a`; `<pad>` is like none; row 4 stands for no token."""
    found = _grown()
    np.testing.assert_allclose(found[ROWS][:4], [[3, 4, 10 / 7], [7, 0, 2], [0, 7, 1], [7, 0, 2]], rtol=1e-6)
    np.testing.assert_allclose(found[ROWS][5], [3.5, 3.5, 1.5])
    assert found[ROWS].shape == (6, 3)
    np.testing.assert_allclose(found[HEAD], 10 * found[ROWS], rtol=1e-6)
    np.testing.assert_array_equal(found["layers.0.w"], [1, 2])


def test_the_files_are_those_of_the_new_vocabulary():
    _grown()
    assert json.loads(Path("out/tokenizer.json").read_text())["model"]["vocab"] == GERMAN
    assert json.loads(Path("out/config.json").read_text()) == {"vocab_size": 6, "hidden_size": 3, "eos_token_id": 1}


def test_copied_rows_are_the_same_bits_and_bfloat16_stays():
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    save({ROWS: rows}, "large/model.safetensors")
    _grow()
    found = load("out/model.safetensors")[ROWS]
    assert found.dtype == torch.bfloat16
    assert torch.equal(found[[1, 2]], rows[[1, 0]])
    wanted = (3 * rows[1].double() + 4 * rows[0].double()) / 7
    assert torch.equal(found[0], wanted.float().bfloat16())


def test_only_the_nearest():
    found = _grown(nearest=1)
    np.testing.assert_allclose(found[ROWS][0], [0, 7, 1])  # `the` alone


def test_what_is_said_of_a_token_goes_first():
    found = _grown(tokens={"das": "zero", "ein": {"source": {"model": "large", "token": "one"}}})
    np.testing.assert_array_equal(found[ROWS][[0, 3]], [[0, 0, 0], [6, 6, 6]])


def test_check_tells_what_is_made_of_what():
    told = check({**RECIPE, "output": {"tokenizer": {"source": "small", "like": "small"}}}).notes
    assert any("large: 3 tokens that it lacks get sums of its rows of 2 tokens" in note for note in told)
    assert any("1 are like none" in note for note in told)
    assert not any("zero" in note or "other models" in note for note in told)


def test_it_is_recorded_and_can_be_made_again():
    _grown(nearest=2)
    record = json.loads(Path("out/ligate.json").read_text())
    assert '"nearest": 2' in json.dumps(record)
    verify("out")
    replay("out", "again")
    assert Path("again/model.safetensors").read_bytes() == Path("out/model.safetensors").read_bytes()


def test_every_model_that_is_merged_gets_its_own_rows():
    """Both lack `das`, `ein` and `<pad>`; each makes them of its rows, and the rows of the mean are the mean rows."""
    rows = np.float32([[2, 2, 2], [4, 0, 0]])
    _folder("other", {"the": 0, "a": 1}, {ROWS: rows, HEAD: rows, "layers.0.w": np.float32([3, 4])})
    two = {"method": "linear", "models": ["large", "other"], "parameters": {"weight": 0.5}}
    sources = {**RECIPE["sources"], "other": "other"}
    merge({"sources": sources, "merge": two, "output": {"tokenizer": {"source": "small", "like": "small"}}}, "out")
    found = load_file("out/model.safetensors")[ROWS]
    np.testing.assert_allclose(found[0], (np.float64([3, 4, 10 / 7]) + (3 * rows[1] + 4 * rows[0]) / 7) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("tokenizer", "told"),
    [
        ({"source": "small", "nearest": 3}, "`nearest` says nothing without `like`"),
        ({"source": "small", "like": "small", "nearest": 0}, "at least 1"),
        ({"source": "small", "like": "samll"}, "`like: samll` is no source"),
    ],
)
def test_mistakes_are_told_at_their_line(tokenizer: dict[str, Any], told: str):
    with pytest.raises((LigateError, Problems), match=told):
        merge({**RECIPE, "output": {"tokenizer": tokenizer}}, "out")


def test_a_model_without_rows_cannot_say_what_is_alike():
    save_file({"layers.0.w": np.float32([1])}, "small/model.safetensors")
    with pytest.raises(LigateError, match="cannot say which tokens are alike"):
        _grown()


def test_no_token_in_common_is_told_with_both_names():
    vocab = {word.upper(): number for word, number in GERMAN.items()}
    Path("small/tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    with pytest.raises(InputError, match="models large, small"):
        _grown()
