from __future__ import annotations

import json
from pathlib import Path

import pytest

from ligate.core.errors import InputError

from .vocabulary import vocabulary, vocabulary_clash


def folder(place: Path, **files: object) -> Path:
    """`tokenizer_json={...}` is written as tokenizer.json."""
    place.mkdir()
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (place / name.replace("_", ".") if "added" not in name else place / "added_tokens.json").write_text(text)
    return place


def fast(*tokens: str, added: tuple[tuple[int, str], ...] = (), unigram: bool = False) -> dict:
    vocab = [[token, -1.0] for token in tokens] if unigram else {token: i for i, token in enumerate(tokens)}
    return {"model": {"vocab": vocab}, "added_tokens": [{"id": i, "content": token} for i, token in added]}


@pytest.mark.parametrize("unigram", [False, True])
def test_tokens_of_the_model_and_added_ones_by_their_numbers(tmp_path, unigram):
    content = fast("x", "y", added=((2, "<s>"),), unigram=unigram)
    found = vocabulary(folder(tmp_path / "a", tokenizer_json=content))
    assert found is not None
    assert found.numbers == {0: "x", 1: "y", 2: "<s>"}
    assert found.file == tmp_path / "a" / "tokenizer.json"


def test_a_table_with_added_tokens_and_a_list_of_lines(tmp_path):
    table = vocabulary(folder(tmp_path / "a", vocab_json={"x": 0}, added={"<s>": 1}))
    lines = vocabulary(folder(tmp_path / "b", vocab_txt="x\n<s>\n"))
    assert table is not None and lines is not None
    assert table.numbers == lines.numbers == {0: "x", 1: "<s>"}


def test_pieces_of_a_sentencepiece_model_with_added_tokens(tmp_path):
    place = folder(tmp_path / "a", added={"<s>": 2})
    (place / "tokenizer.model").write_bytes(b"\x0a\x03\x0a\x01x\x0a\x03\x0a\x01y")
    found = vocabulary(place)
    assert found is not None
    assert found.numbers == {0: "x", 1: "y", 2: "<s>"}


def test_a_number_far_beyond_any_vocabulary_is_refused(tmp_path):
    with pytest.raises(InputError, match="has the number 99999999"):
        vocabulary(folder(tmp_path / "a", vocab_json={"x": 99999999}))


def test_a_list_of_more_lines_than_any_vocabulary_has_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("ligate.io.vocabulary.MOST", 3)
    assert vocabulary(folder(tmp_path / "a", vocab_txt="x\ny\nz\n")) is not None
    with pytest.raises(InputError, match="more than 3 lines"):
        vocabulary(folder(tmp_path / "b", vocab_txt="\n" * 4))


def test_both_files_of_a_split_vocabulary_are_told(tmp_path):
    one = vocabulary(folder(tmp_path / "a", vocab_json={"x": 0}, added={"<s>": 1}))
    alone = vocabulary(folder(tmp_path / "b", vocab_json={"x": 0}))
    whole = vocabulary(folder(tmp_path / "c", tokenizer_json=fast("x"), added={"<s>": 1}))
    assert one is not None and alone is not None and whole is not None
    assert [path.name for path in one.files] == ["vocab.json", "added_tokens.json"]
    assert [path.name for path in (*alone.files, *whole.files)] == ["vocab.json", "tokenizer.json"]


def test_a_folder_without_tokenizer_has_no_vocabulary(tmp_path):
    assert vocabulary(folder(tmp_path / "a")) is None


def test_a_file_that_is_not_understood_is_named_with_the_way_out(tmp_path):
    with pytest.raises(InputError, match="cannot be read") as caught:
        vocabulary(folder(tmp_path / "a", tekken_json={}))
    assert "tekken.json" in str(caught.value) and "transformers" in caught.value.hint


def test_a_broken_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no vocabulary") as caught:
        vocabulary(folder(tmp_path / "b", tokenizer_json={"model": {"vocab": {"x": "0"}}}))
    assert "tokenizer.json" in str(caught.value)


def test_a_clash_is_told_with_its_first_number(tmp_path):
    one = folder(tmp_path / "a", tokenizer_json=fast("x", "y", "z"))
    other = folder(tmp_path / "b", vocab_json={"x": 0, "z": 1, "y": 2})
    assert vocabulary_clash(one, other, 3) == "number 1 is 'z' here, 'y' there, and 1 more"
    assert vocabulary_clash(one, other, 2) == "number 1 is 'z' here, 'y' there"
    assert vocabulary_clash(one, other, 1) is None  # the model has no row for it


def test_a_number_that_one_side_alone_uses_is_no_clash(tmp_path):
    small = folder(tmp_path / "a", tokenizer_json=fast("x", "y"))
    large = folder(tmp_path / "b", tokenizer_json=fast("x", "y", added=((2, "<pad>"),)))
    assert vocabulary_clash(small, large, 9) is vocabulary_clash(large, small, 9) is None


def test_what_cannot_be_read_is_no_clash(tmp_path):
    one = folder(tmp_path / "a", tokenizer_json=fast("x"))
    for name, files in (("b", {}), ("c", {"tokenizer_model": "bytes"}), ("d", {"tokenizer_json": {"of": "d"}})):
        assert vocabulary_clash(one, folder(tmp_path / name, **files), 9) is None
