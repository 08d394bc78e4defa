from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ligate.core.errors import InputError

from .vocabulary import json_numbers
from .vocabulary_union import Tokenizer, plain_entry, read_tokenizer, to_bytes, united

PATH = Path("tokenizer.json")
MANY = 1000


def bpe(*tokens: str, merges: tuple[str, ...] = (), added: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Added tokens are numbered behind the others."""
    entries = [{**plain_entry(token), "id": len(tokens) + i, "special": True} for i, token in enumerate(added)]
    vocab = {token: number for number, token in enumerate(tokens)}
    return {"added_tokens": entries, **more, "model": {"type": "BPE", "vocab": vocab, "merges": list(merges)}}


def unigram(*pieces: tuple[str, float], added: tuple[str, ...] = ()) -> dict[str, Any]:
    content = bpe(*(piece for piece, _ in pieces), added=added)
    return {**content, "model": {"type": "Unigram", "vocab": [list(piece) for piece in pieces]}}


def tokenizer(label: str, content: dict[str, Any], rows: int = MANY) -> Tokenizer:
    return Tokenizer(label, PATH, content, json_numbers(content, PATH), rows)


def union(*contents: dict[str, Any], **wanted: dict[str, Any]) -> Any:
    first, *others = (tokenizer(label, content) for label, content in zip("abc", contents, strict=False))
    return united(first, others, wanted)


def numbers(content: dict[str, Any]) -> dict[int, str]:
    return json_numbers(content, PATH)


def test_nothing_new_is_the_first_tokenizer_itself():
    one = bpe("x", "y", added=("<s>",))
    assert union(one, bpe("y")) is one
    assert union(one, one) is one


def test_added_tokens_follow_in_the_order_of_models_and_numbers_and_leave_the_model_alone():
    first = bpe("x", "y", added=("<s>",))
    found = union(first, bpe("x", "y", added=("<b2>", "<b1>")), bpe("x", "y", added=("<c>", "<b1>")))
    assert numbers(found) == {0: "x", 1: "y", 2: "<s>", 3: "<b2>", 4: "<b1>", 5: "<c>"}
    assert found["model"] == first["model"]
    assert all(entry["special"] for entry in found["added_tokens"])


def test_new_tokens_of_a_vocabulary_join_it_with_the_merges_that_lead_to_them():
    first = bpe("x", "y", "z", "xy", merges=("x y",), added=("<s>",))
    found = union(first, bpe("z", "y", "zy", "x", "xyz", "xy", merges=("z y", "x y", "xy z", "q y")))
    assert numbers(found) == {0: "x", 1: "y", 2: "z", 3: "xy", 4: "<s>", 5: "zy", 6: "xyz"}
    assert found["model"]["merges"] == ["x y", "z y", "xy z"]
    assert found["model"]["vocab"]["<s>"] == 4  # else a loader would number it 6


def test_merges_are_pairs_where_a_token_has_a_space():
    first = bpe("x", merges=())
    other = bpe("x", " ", "x ", merges=())
    other["model"]["merges"] = [["x", " "]]
    assert union(first, other)["model"]["merges"] == [["x", " "]]


def test_pieces_follow_with_their_scores_behind_those_that_were_added():
    found = union(unigram(("x", -1.0), added=("<s>",)), unigram(("y", -2.0), ("x", -3.0), ("z", -4.0)))
    assert [piece[0] for piece in found["model"]["vocab"]] == ["x", "<s>", "y", "z"]
    assert [piece[1] for piece in found["model"]["vocab"]] == [-1.0, -100.0, -2.0, -4.0]


def test_a_token_without_a_row_in_its_model_is_none():
    first, other = tokenizer("a", bpe("x")), tokenizer("b", bpe("x", "y", added=("<s>",)), rows=2)
    assert numbers(dict(united(first, [other]))) == {0: "x", 1: "y"}


def test_a_token_that_another_model_has_added_is_added_where_it_was_an_ordinary_one():
    found = union(bpe("x", "<s>"), bpe("x", added=("<s>",)))
    assert [(entry["content"], entry["id"]) for entry in found["added_tokens"]] == [("<s>", 1)]


def test_wanted_tokens_are_added_as_told():
    first = tokenizer("a", bpe("x"))
    found = united(first, [], {"<n>": {**plain_entry("<n>"), "special": True}, "x": plain_entry("x")})
    assert found["added_tokens"] == [{**plain_entry("<n>"), "special": True, "id": 1}]


def test_a_wanted_token_that_only_a_tokenizer_without_a_row_for_it_knows_is_added():
    other = tokenizer("b", bpe("x", "y", added=("<n>",)), rows=2)
    found = united(tokenizer("a", bpe("x")), [other], {"<n>": plain_entry("<n>")})
    assert numbers(dict(found)) == {0: "x", 1: "y", 2: "<n>"}


def test_of_two_added_tokens_with_one_number_the_later_holds():
    other = bpe("x", added=("<n>", "<m>"))
    other["added_tokens"][1]["id"] = 1
    assert numbers(union(bpe("x"), other)) == {0: "x", 1: "<m>"}


@pytest.mark.parametrize("entries", [7, True, "text"])
def test_added_tokens_that_are_no_list_are_none(entries):
    assert numbers(union(bpe("x"), {**bpe("x", "y"), "added_tokens": entries})) == {0: "x", 1: "y"}


def test_inputs_are_never_changed():
    first, other = bpe("x", added=("<s>",)), bpe("y", merges=("x y",), added=("<t>",))
    before = copy.deepcopy((first, other))
    union(first, other)
    assert (first, other) == before


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (unigram(("y", -1.0)), "kind: 'Unigram' here, 'BPE' there"),
        (bpe("y", pre_tokenizer={"type": "ByteLevel"}), "ByteLevel: True here"),
        (bpe("y", pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Metaspace"}]}), "spaces as"),
        (bpe("y", normalizer={"type": "Lowercase"}), "lower case: True here"),
    ],
)
def test_tokens_that_mean_other_text_cannot_join(other, told):
    with pytest.raises(InputError, match="cannot join those of `a`") as caught:
        union(bpe("x"), other)
    assert told in str(caught.value) and "model b" in str(caught.value) and "tokenizer: a" in str(caught.value)


def test_special_tokens_join_whatever_the_kind():
    found = union(bpe("x"), unigram(("x", -1.0), added=("<s>",)))
    assert numbers(found) == {0: "x", 1: "<s>"}


def test_a_gap_in_a_list_of_pieces_cannot_be_filled():
    first = unigram(("x", -1.0))
    first["added_tokens"] = [{**plain_entry("<s>"), "id": 3}]
    with pytest.raises(InputError, match="number 1 stands for no token"):
        union(first, unigram(("y", -1.0)))


def test_the_same_bytes_each_time():
    one, other = bpe("x", added=("<s>",)), bpe("ÿ", "z", added=("<t>",))
    text = to_bytes(union(one, other))
    assert text == to_bytes(union(copy.deepcopy(one), copy.deepcopy(other)))
    assert "ÿ" in text.decode()


@pytest.mark.parametrize(
    "spoilt",
    [
        *({"merges": merges} for merges in ([["x"]], ["x"], [3], 7, {"x y": 1})),
        *({"vocab": [piece]} for piece in (["x"], ["x", "1"])),
        {"continuing_subword_prefix": 7},
    ],
)
def test_a_file_with_other_parts_is_refused_by_name(tmp_path, spoilt):
    content = bpe("x")
    (tmp_path / "tokenizer.json").write_text(json.dumps({**content, "model": {**content["model"], **spoilt}}))
    with pytest.raises(InputError, match="merges or pieces") as caught:
        read_tokenizer("a", tmp_path, 1)
    assert "tokenizer.json" in str(caught.value)


def test_a_folder_without_the_file_is_told_how_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"has no `tokenizer\.json`"):
        read_tokenizer("a", tmp_path, 1)
