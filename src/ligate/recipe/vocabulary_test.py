from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ligate.core.tensors import Header
from ligate.io.rows import FILLED, MEAN

from .schema import TokenRow
from .vocabulary import Speaker, Target, Wishes, complaints, layouts, notes, speaker, target
from .vocabulary_tensors import vocabulary_tensors

ROWS, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def model(label: str, tokens: str, rows: int | None = None, names: Sequence[str] = (ROWS, HEAD)) -> Speaker:
    """A model with a token for each letter."""
    header = Header("F32", (len(tokens) if rows is None else rows, 2))
    tensors = vocabulary_tensors(dict.fromkeys(names, header))
    assert tensors is not None
    return speaker(label, tensors, dict(enumerate(tokens)))


def aligned(wanted: Target, *models: Speaker, base: str | None = None, **wishes: TokenRow) -> Mapping[str, list]:
    """Whence the rows of the embedding come, by model: a number, or what is averaged."""
    found = layouts(wanted, models, (), Wishes(base, wishes))
    told: dict[str, list] = {}
    for label, rows in found.items():
        if ROWS in rows:
            layout = rows[ROWS].layout
            own = layout.own.tolist()
            told[label] = [list(layout.filled[i]) if origin == FILLED else origin for i, origin in enumerate(own)]
    return told


def letters(tokens: str, rows: int = 0, multiple: int = 1) -> Target:
    return target(dict(enumerate(tokens)), rows, multiple)


def test_rows_follow_their_token_and_what_one_model_lacks_comes_from_the_other():
    found = aligned(letters("xyz"), model("a", "xy"), model("b", "zx"))
    assert found == {"a": [0, 1, [("b", 0)]], "b": [1, [("a", 1)], 0]}


def test_a_model_that_lacks_a_token_takes_the_bases_row_else_the_average_of_those_who_have_it():
    models = (model("a", "x"), model("b", "xy"), model("c", "xy"))
    assert aligned(letters("xy"), *models)["a"][1] == [("b", 1), ("c", 1)]
    assert aligned(letters("xy"), *models, base="c")["a"][1] == [("c", 1)]
    assert aligned(letters("xy"), *models, base="a")["a"][1] == [("b", 1), ("c", 1)]


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (TokenRow("y", "zero"), []),
        (TokenRow("y", "mean"), MEAN),
        (TokenRow("y", "average"), [("b", 1), ("c", 1)]),
        (TokenRow("y", "model", "b"), [("b", 1)]),
        (TokenRow("y", "model", "b", "x"), [("b", 0)]),
        (TokenRow("y", "model", "c", 2), [("c", 2)]),
    ],
)
def test_a_wish_says_whence_the_row_of_a_token_comes(wish, expected):
    models = (model("a", "x"), model("b", "xy"), model("c", "xyz"))
    found = aligned(letters("xy"), *models, base="c", y=wish)
    assert found["a"][1] == expected
    assert "b" not in found  # it has the token
    forced = aligned(letters("xy"), *models, base="c", y=wish._replace(force=True))
    assert [forced[label][1] for label in "abc"] == [expected] * 3


def test_rows_without_a_token_stay_where_both_sides_have_none_and_are_the_mean_elsewhere():
    found = aligned(letters("xy", rows=4), model("a", "xy", rows=3), model("b", "xyz", rows=5))
    assert found == {"a": [0, 1, 2, MEAN], "b": [0, 1, MEAN, 3]}


def test_there_are_never_fewer_rows_than_the_lead_has_and_always_a_multiple():
    assert letters("xyz", rows=8).rows == 8
    assert letters("xyz", rows=2).rows == 3
    assert letters("xyz", rows=2, multiple=4).rows == 4
    assert letters("xyz", rows=9, multiple=4).rows == 12


def test_rows_come_only_from_models_that_have_the_tensor():
    tied, untied = model("a", "xy", names=(ROWS,)), model("b", "x")
    assert layouts(letters("xy"), (tied, untied), (), Wishes(None, {}))["b"][HEAD].layout.filled == {1: []}


def test_what_is_asked_for_in_vain_is_told():
    one, other = model("a", "x"), model("b", "xy")
    wishes = {
        "y": TokenRow("y", "model", "a"),
        "z": TokenRow("z", "model", "b", 7),
        "q": TokenRow("q", "model", "who"),
        "n": TokenRow("n"),
        "fine": TokenRow("fine", "mean"),
    }
    told = [str(error) for error in complaints(Wishes(None, wishes), (one, other), {"a": one, "b": other})]
    assert len(told) == 4
    assert "`a` has no row for the token 'y'" in told[0]
    assert "`b` has no row 7: it has 2" in told[1]
    assert "`who` has no rows for tokens" in told[2]
    assert "no model has a row for the token 'n'" in told[3] and "mean" in told[3]


def test_a_wish_for_a_row_of_a_tensor_that_is_not_stored_is_told():
    tied, untied = model("a", "xy", names=(ROWS,)), model("b", "x")
    told = complaints(Wishes(None, {"y": TokenRow("y", "model", "a")}), (untied,), {"a": tied, "b": untied})
    assert "`a` has no `lm_head.weight`" in str(told[0]) and "alias" in told[0].hint


def test_notes_count_what_is_filled_and_name_what_nobody_has():
    told = notes(letters("xyz"), (model("a", "xy"), model("b", "x")), Wishes(None, {}))
    assert told[0].startswith("a: 1 of 3 tokens")
    assert told[1].startswith("b: 2 of 3 tokens")
    assert told[2] == "no model has a row for 1 token: z; theirs are zero"


alphabets = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8).map("".join)


@given(tokens=alphabets.filter(bool), extra=st.integers(0, 3))
def test_a_model_in_its_own_vocabulary_stays_as_it_is(tokens, extra):
    one = model("a", tokens, rows=len(tokens) + extra)
    assert layouts(letters(tokens, rows=one.tensors.rows), (one,), (), Wishes(None, {})) == {"a": {}}


def test_rows_that_stand_for_one_token_stay_apart():
    """Where the result has them at the same numbers; elsewhere the first of them is the token's row."""
    found = aligned(letters("xyx"), model("a", "xyx"), model("b", "yxx"))
    assert found == {"b": [1, 0, 2]}


@given(first=alphabets.filter(bool), other=alphabets.filter(bool))
def test_in_a_union_every_model_keeps_each_of_its_rows(first, other):
    union = first + "".join(token for token in other if token not in first)
    models = {"a": model("a", first), "b": model("b", other)}
    found = layouts(letters(union), tuple(models.values()), (), Wishes(None, {}))
    for label, one in models.items():
        own = found[label][ROWS].layout.own if found[label] else np.arange(len(union))
        assert {union[i]: own[i] for i in range(len(union)) if own[i] >= 0} == one.tokens
        for number in np.flatnonzero(own == FILLED):
            assert found[label][ROWS].layout.filled[number] == [
                ("b" if label == "a" else "a", models["b" if label == "a" else "a"].tokens[union[number]])
            ]
