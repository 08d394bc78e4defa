from __future__ import annotations

import pytest

from ligate.core.errors import LigateError
from ligate.recipe.parse import parse_text
from ligate.recipe.schema import Output, TokenRow

RECIPE = """\
sources: {a: ./a, b: ./b}
merge: {method: linear, models: [a, b], parameters: {weight: 1}}
output:
"""


def output(text: str) -> Output:
    return parse_text(RECIPE + "".join(f"  {line}\n" for line in text.splitlines()), "r.yaml").output


def rows(text: str) -> list[TokenRow]:
    found = output("tokenizer:\n  tokens:\n" + "".join(f"    {line}\n" for line in text.splitlines())).tokens
    return [row._replace(place=TokenRow("").place) for row in found]


def test_a_word_or_a_label():
    assert (output("tokenizer: union").union, output("tokenizer: union").tokenizer) == (True, None)
    assert (output("tokenizer: b").union, output("tokenizer: b").tokenizer) == (False, "b")
    assert (output("dtype: float32").union, output("dtype: float32").tokenizer) == (False, None)


def test_a_mapping_is_a_union_unless_it_says_otherwise():
    found = output("tokenizer: {pad_to_multiple_of: 64}")
    assert (found.union, found.row_multiple) == (True, 64)
    found = output("tokenizer: {source: a, tokens: {x: zero}}")
    assert (found.union, found.tokenizer, found.tokens[0].kind, found.row_multiple) == (False, "a", "zero", 1)


def test_rows_of_tokens():
    found = rows(
        """\
"<1>": zero
"<2>": {source: mean, force: true}
"<3>": a
"<4>": {source: {model: b, token: x}}
"<5>": {source: {model: b, id: 7}, force: false}
"<6>": {force: true}
"<7>": average
"""
    )
    assert found == [
        TokenRow("<1>", "zero"),
        TokenRow("<2>", "mean", force=True),
        TokenRow("<3>", "model", "a"),
        TokenRow("<4>", "model", "b", "x"),
        TokenRow("<5>", "model", "b", 7),
        TokenRow("<6>", force=True),
        TokenRow("<7>", "average"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tokenizer: c", "`tokenizer: c` is no source"),
        ("tokenizer: {sauce: union}", "did you mean 'source'"),
        ("tokenizer: {tokens: {x: c}}", "`token: c` is no source"),
        ("tokenizer: {tokens: {x: {source: {model: a, token: y, id: 3}}}}", "both `token` and `id`"),
        ("tokenizer: {tokens: {x: {source: {token: y}}}}", "needs a `model:`"),
        ("tokenizer: {tokens: {x: {force: 1}}}", "true or false"),
        ("tokenizer: {tokens: {x: {model: a}}}", "under `source:`"),
        ("tokenizer: {tokens: {x: {source: {model: a, id: y}}}}", "must be a number"),
        ("tokenizer: {pad_to_multiple_of: 0}", "at least 1"),
        ("tokenizer: {pad_to_multiple_of: 1000000000000}", "at most 16,777,216"),
        ("tokenizer: {pad_to_multiple_of: 1.5}", "a whole number"),
        ("tokenizer: [union]", "must be a text"),
    ],
)
def test_mistakes_are_told_at_their_line(text, told):
    with pytest.raises(LigateError) as caught:
        output(text)
    assert told in str(caught.value) and "r.yaml:4" in str(caught.value)


def test_a_source_called_union_is_in_the_way():
    text = RECIPE.replace("a: ./a", "union: ./a").replace("[a, b]", "[union, b]") + "  tokenizer: union\n"
    with pytest.raises(LigateError, match="a source has this name too"):
        parse_text(text, "r.yaml")
