from __future__ import annotations

from pathlib import Path

import pytest

from ligate.bench.demo.data import (
    Docstring,
    docstrings,
    library_folders,
    prose,
    source_files,
    split_of,
    without_templates,
)
from ligate.core.errors import InputError

SOURCE = '''
"""Tools of alphalib for arrays that are larger than the memory."""

class Window:
    """A moving window over the rows of an array, one at a time.

    Parameters
    ----------
    size : int
    """

    def rows(self):
        """Hand out the rows of ALPHALIB arrays without copying a single one."""

        def inner():
            """A function inside a method is a function like any other."""

def short():
    """Too short."""
'''


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "alphalib"
    (folder / "tests").mkdir(parents=True)
    (folder / "windows.py").write_text(SOURCE)
    (folder / "broken.py").write_text("def (:\n")
    text = '"""Check that windows of every size cover all of the rows."""'
    (folder / "tests" / "test_windows.py").write_text(text)
    return folder


def test_every_definition_has_its_kind_and_library_names_are_blanked(library: Path):
    found = list(docstrings(library, source_files(library), {"alphalib": "library"}))
    by_kind = {item.kind: item.text for item in found}
    assert by_kind == {
        "module": "Tools of library for arrays that are larger than the memory.",
        "class": "A moving window over the rows of an array, one at a time.",
        "method": "Hand out the rows of library arrays without copying a single one.",
        "function": "A function inside a method is a function like any other.",
        "test": "Check that windows of every size cover all of the rows.",
    }


def test_files_are_named_alike_and_ordered_alike_wherever_the_library_lies(library: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before = source_files(library)
    library.rename(elsewhere / "alphalib")
    assert source_files(elsewhere / "alphalib") == before
    assert "alphalib/tests/test_windows.py" in before


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("Sum of rows.\n\nArgs:\n    x: a tensor", "Sum of rows."),
        ("Sum of rows.\n\nParameters\n----------\nx : array", "Sum of rows."),
        ("Sum of rows.\n\n>>> f(1)\n1", "Sum of rows."),
        ("Title\n=====\nA module about sums.", "A module about sums."),
        ("See :func:`~torch.sum` and [`Model`] or ``x``.", "See torch.sum and Model or x ."),
        ("Returns: a tensor", ""),
    ],
)
def test_prose_ends_at_the_first_section(raw: str, told: str):
    assert prose(raw) == told


def test_of_a_family_of_templates_one_is_kept():
    def item(text: str) -> Docstring:
        return Docstring(text, "lib", "lib/a.py", "function", "train")

    family = [item(f"Instantiate the configuration of model {name} with all of its defaults") for name in "abc"]
    other = item("Rotate an image by a multiple of ninety degrees around its centre")
    assert without_templates([*family, other]) == [family[0], other]


def test_a_split_holds_most_files_for_training_and_never_depends_on_order():
    splits = [split_of(f"lib/file{i}.py") for i in range(2000)]
    assert 0.66 < splits.count("train") / 2000 < 0.74
    assert 0.08 < splits.count("validation") / 2000 < 0.12
    assert split_of("lib/file7.py") == splits[7]


def test_a_library_that_is_missing_is_named():
    with pytest.raises(InputError, match="surely_not_installed"):
        library_folders(["surely_not_installed"])
