from __future__ import annotations

import pytest

from .errors import spoken_index


@pytest.mark.parametrize(
    ("flat", "shape", "spoken"),
    [
        (5, (2, 3), "5 ([1, 2])"),
        (23, (2, 3, 4), "23 ([1, 2, 3])"),
        (0, (2, 3), "0 ([0, 0])"),
        (7, (9,), "7"),
        (0, (), "0"),
    ],
)
def test_an_element_is_named_by_row_and_column(flat, shape, spoken):
    assert spoken_index(flat, shape) == spoken
