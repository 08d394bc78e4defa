from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from ligate.cli.show import duration, plain, shape, size, spoken, table


@pytest.mark.parametrize(
    ("nbytes", "told"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_400, "99.4 kB"), (999_600, "1.0 MB"), (5e9, "5.0 GB")],
)
def test_sizes_have_three_digits_at_most(nbytes, told):
    assert size(nbytes) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.04, "0.0 s"), (99.94, "99.9 s"), (99.97, "1 min 40 s"), (7500, "2 h 5 min")]
)
def test_durations_are_spoken(seconds, told):
    assert duration(seconds) == told


def test_columns_are_aligned_and_never_wrapped():
    lines = table(("name", "size"), [("a" * 200, 1), ("b", 1000)], " r").splitlines()
    assert lines[2] == "a" * 200 + "     1"
    assert lines[3] == "b".ljust(200) + "  1000"


def test_a_table_without_rows_is_its_headings():
    assert table(("a", "b"), []) == "a  b\n-  -"


class Pair(NamedTuple):
    left: float
    right: tuple[int, ...]


def test_json_has_no_nan_and_keeps_the_names_of_fields():
    told = plain({"pair": Pair(float("nan"), (1, 2))})
    assert json.dumps(told, allow_nan=False) == '{"pair": {"left": "nan", "right": [1, 2]}}'


def test_values_are_spoken_as_a_recipe_writes_them():
    assert spoken([True, None, 0.5, "paper"]) == "[true, null, 0.5, paper]"


def test_a_shape_without_axes_is_a_scalar():
    assert (shape(()), shape((2, 3))) == ("scalar", "2 x 3")
