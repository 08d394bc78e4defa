from __future__ import annotations

import json
from pathlib import Path

import pytest

from ligate.core.errors import InputError

from .vocabulary import vocabulary_difference


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


def test_equal_vocabularies_in_files_that_differ(tmp_path):
    one = folder(tmp_path / "a", tokenizer_json=fast("x", "y", added=((2, "<s>"),)))
    other = folder(tmp_path / "b", tokenizer_json={**fast("x", "y", "<s>"), "padding": None})
    assert vocabulary_difference(one, other) is None


@pytest.mark.parametrize("unigram", [False, True])
def test_another_order_is_told_with_the_first_number(tmp_path, unigram):
    one = folder(tmp_path / "a", tokenizer_json=fast("x", "y", "z", unigram=unigram))
    other = folder(tmp_path / "b", tokenizer_json=fast("x", "z", "y", unigram=unigram))
    assert vocabulary_difference(one, other) == "number 1 is 'z' here, 'y' there, and 1 more"


def test_tokens_that_the_wanted_tokenizer_lacks_do_not_matter(tmp_path):
    small = folder(tmp_path / "a", tokenizer_json=fast("x", "y"))
    large = folder(tmp_path / "b", tokenizer_json=fast("x", "y", added=((2, "<pad>"),)))
    assert vocabulary_difference(small, large) is None
    assert vocabulary_difference(large, small) == "number 2 is no token here, '<pad>' there"


def test_a_table_with_added_tokens_and_a_list_of_lines(tmp_path):
    one = folder(tmp_path / "a", vocab_json={"x": 0}, added={"<s>": 1})
    other = folder(tmp_path / "b", vocab_json={"x": 0}, added={"<t>": 1})
    assert vocabulary_difference(one, other) == "number 1 is '<t>' here, '<s>' there"
    lines = folder(tmp_path / "c", vocab_txt="x\ny\n")
    assert vocabulary_difference(lines, folder(tmp_path / "d", vocab_txt="x\nz\n")) == "number 1 is 'z' here, 'y' there"


def test_files_that_are_not_understood_must_be_equal(tmp_path):
    one, same = folder(tmp_path / "a", tokenizer_model="bytes"), folder(tmp_path / "b", tokenizer_model="bytes")
    assert vocabulary_difference(one, same) is None
    other = folder(tmp_path / "c", tokenizer_model="others")
    assert vocabulary_difference(one, other) == "the files `tokenizer.model` differ"


def test_nothing_to_compare_is_no_difference_but_two_formats_are(tmp_path):
    one = folder(tmp_path / "a", tokenizer_json=fast("x"))
    assert vocabulary_difference(one, folder(tmp_path / "b")) is None
    assert "cannot be compared" in (vocabulary_difference(one, folder(tmp_path / "c", vocab_txt="x")) or "")


def test_a_broken_file_is_named(tmp_path):
    one = folder(tmp_path / "a", tokenizer_json=fast("x"))
    with pytest.raises(InputError, match="no vocabulary") as caught:
        vocabulary_difference(one, folder(tmp_path / "b", tokenizer_json={"model": {"vocab": {"x": "0"}}}))
    assert "tokenizer.json" in str(caught.value)
