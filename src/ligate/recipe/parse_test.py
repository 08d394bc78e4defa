from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .nodes import Documents, read_all
from .parse import data_text


def read_back(text: str) -> tuple[str, str]:
    """A text as a key and as a value."""
    found: Documents = read_all(data_text({"as": {"key": {text: text}}}), "recipe")
    assert not found.problems
    ((key, item),) = found.items[0].value["as"].value["key"].value.items()
    return key, item.text


@pytest.mark.parametrize("text", ["\u2028", "a\u2029b", "\x7f", "\x85", "\uffff", "\U0001f600", "\ufeff", "\t\n", "<<"])
def test_any_token_is_read_back_as_it_is(text):
    assert read_back(text) == (text, text)


@given(st.text(max_size=20))
def test_any_text_is_read_back_as_it_is(text):
    assert read_back(text) == (text, text)
