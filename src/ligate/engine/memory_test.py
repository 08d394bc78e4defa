from __future__ import annotations

import pytest

from ligate.core.errors import RecipeError
from ligate.engine.memory import parse_bytes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("4G", 4 * 10**9),
        ("512MB", 512 * 10**6),
        ("1.5GiB", 3 * 2**29),
        ("1000", 1000),
        (" 2 k ", 2000),
        ("1TB", 10**12),
    ],
)
def test_amounts_of_bytes(text, nbytes):
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "many", "-1G", "4 gigs", "1e9", "G"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(RecipeError, match="amount of bytes"):
        parse_bytes(text)
