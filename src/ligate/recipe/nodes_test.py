from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ligate.core.errors import LigateError, Problems, RecipeError

from .nodes import Reading, plain, read


def test_every_value_knows_the_line_of_its_key():
    (top,) = read("a: 1\nb:\n  c:\n    - x\n    - 2.5\n", "f.yaml")
    assert top.value["a"].place == ("f.yaml", 1)
    assert top.value["b"].value["c"].place == ("f.yaml", 3)
    assert [entry.place.line for entry in top.value["b"].value["c"].value] == [4, 5]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("12", 12),
        ("+.inf", math.inf),
        ("true", True),
        ("off", False),
        ("~", None),
        ("none", "none"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("2024-01-01", "2024-01-01"),
        ("inf", "inf"),
    ],
)
def test_plain_values_mean_what_people_mean(text, value):
    assert plain(text) == value


def test_quotes_make_a_text_of_a_number():
    (top,) = read("a: '12'\n", "f.yaml")
    assert top.value["a"].value == "12"


def test_a_duplicate_key_names_both_lines():
    with pytest.raises(RecipeError, match=r"f.yaml:3: `a` stands here a second time \(first in line 1\)"):
        read("a: 1\nb: 2\na: 3\n", "f.yaml")


def test_aliases_and_merge_keys_are_read():
    (top,) = read("one: &one {x: 1, y: 2}\ntwo:\n  <<: *one\n  y: 3\n", "f.yaml")
    assert {key: item.value for key, item in top.value["two"].value.items()} == {"x": 1, "y": 3}


def test_aliases_that_multiply_are_refused_before_they_fill_the_memory():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    with pytest.raises(RecipeError, match="more than 500,000 values"):
        read("\n".join(lines), "f.yaml")


def test_an_alias_to_itself_is_refused():
    with pytest.raises(RecipeError, match="more than 64 levels"):
        read("a: &a [*a]\n", "f.yaml")


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{b: " * 3000, "- " * 20000])
def test_deep_nesting_is_refused(text):
    with pytest.raises(RecipeError):
        read(text, "f.yaml")


def test_objects_are_never_made():
    with pytest.raises(RecipeError, match=r"f.yaml:1: the tag .*python/object.* is not plain data"):
        read("a: !!python/object/apply:os.system ['true']\n", "f.yaml")


def test_a_pattern_without_quotes_gets_the_remedy():
    with pytest.raises(RecipeError, match="begins with `\\*` needs quotes") as told:
        read("a: 1\nmatch: *.mlp.*\n", "f.yaml")
    assert "f.yaml:2" in str(told.value)


def test_an_empty_recipe_is_told():
    with pytest.raises(RecipeError, match="empty"):
        read("# nothing\n", "f.yaml")


@given(st.text(max_size=200) | st.text(alphabet="a:-[]{}&*!|>'\"\n \t#%@`?,<0.", max_size=60))
def test_any_text_is_read_or_refused_with_a_message(text):
    told = "f.yaml"
    try:
        read(text, "f.yaml")
    except LigateError as error:
        told = str(error)
    assert "f.yaml" in told


def test_a_reading_collects_every_problem():
    (top,) = read("numbr: 1\ntext: [1]\nwhole: 1.5\nlist: {a: 1}\n", "f.yaml")
    reading = Reading()
    fields = reading.fields(top, "a thing", ("number", "text", "whole", "list"))
    reading.text(fields["text"], "`text`")
    reading.whole(fields["whole"], "`whole`", 0)
    reading.entries(fields["list"], "`list`")
    assert str(Problems(reading.problems)).splitlines() == [
        "f.yaml:1: a thing has no key `numbr`",
        "  -> did you mean 'number'?",
        "f.yaml:2: `text` must be a text, not a list",
        "f.yaml:3: `whole` must be a whole number, not a number",
        "f.yaml:4: `list` must be a list, not a mapping",
    ]
