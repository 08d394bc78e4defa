"""The pages under docs/methods are what `make docs` writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_method_pages_are_up_to_date(generate: ModuleType):
    written = {path.name: path.read_text("utf-8") for path in (DOCS / "methods").glob("*.md")}
    assert written == dict(generate.pages()), "run `make docs` and commit docs/methods/"


def test_equations_and_examples_become_markdown(generate: ModuleType):
    doc = "Title.\n\n.. math::\n    a = b\n    + c\n\nwith :math:`a` = ``b``.\n\n>>> 1 + 1\n2\n"
    assert generate.markdown(doc) == (
        "Title.\n\n$$\na = b\n+ c\n$$\n\nwith $a$ = `b`.\n\n```python\n>>> 1 + 1\n2\n```\n"
    )


def test_labels_become_paragraphs_and_errors_a_list(generate: ModuleType):
    errors = "Raises:\n    InputError: no\n        base.\n    RecipeError: bad.\n"
    doc = f"Shapes: [*S].\nDiffers: in one\n    thing.\n\n{errors}"
    assert generate.markdown(doc).strip() == (
        "**Shapes:** [\\*S].\n\n**Differs:** in one\nthing.\n\n"
        "**Raises:**\n\n- `InputError`: no\n  base.\n- `RecipeError`: bad."
    )
