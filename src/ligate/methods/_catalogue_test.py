from __future__ import annotations

import subprocess
import sys

import pytest

from ligate.core.errors import RecipeError
from ligate.methods import _catalogue

RULE = '''
from __future__ import annotations
from ligate.core.method import method

@method(title="Last", source="none", base="unused")
def last(base, tuned, *, site=None, share: float = 1.0):
    """The last model."""
    return tuned[-1] * share
'''


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch):
    monkeypatch.setattr(_catalogue, "_plugins", {})


def test_ids_are_paths():
    assert {"merge/linear", "merge/ties", "merge/dare_ties"} <= set(_catalogue.ids())
    assert list(_catalogue.ids()) == sorted(_catalogue.ids())


def test_every_card_lies_where_its_id_says():
    for name in _catalogue.ids():
        assert _catalogue.load(name).id == name


def test_the_last_part_is_enough_while_nobody_else_has_it(tmp_path):
    assert _catalogue.load("ties") is _catalogue.load("merge/ties")
    (tmp_path / "mine.py").write_text(RULE.replace("def last", "def ties"))
    _catalogue.load_plugin(tmp_path / "mine.py")
    with pytest.raises(RecipeError, match="'ties' may be merge/ties or plugin/ties"):
        _catalogue.load("ties")


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("tiez", "ties"), ("merge/tie", "merge/ties"), ("darelinear", "dare_linear")]
)
def test_a_miss_suggests_the_nearest(wrong, nearest):
    with pytest.raises(RecipeError, match=f"there is no method '{wrong}'") as error:
        _catalogue.load(wrong)
    assert nearest in error.value.hint


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(RULE)
    (card,) = _catalogue.load_plugin(tmp_path / "mine.py")
    assert card.id == "plugin/last" and card.params["share"].default == 1.0
    assert _catalogue.load("last") is card and "plugin/last" in _catalogue.ids()


@pytest.mark.parametrize(
    ("text", "message"),
    [("x = 1", "defines no method"), ("1 / 0", "ZeroDivisionError"), ("def", "SyntaxError")],
)
def test_a_file_that_cannot_be_used_is_named(text, message, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(RecipeError, match=message) as error:
        _catalogue.load_plugin(tmp_path / "mine.py")
    assert "mine.py" in str(error.value)
    with pytest.raises(RecipeError, match="there is no file"):
        _catalogue.load_plugin(tmp_path / "other.py")


class Entry:
    def __init__(self, name, value, loaded):
        self.name, self.value, self.load = name, value, lambda: loaded


def test_an_installed_package_may_add_methods(monkeypatch):
    from ligate.methods.merge.linear import linear

    entries = {"acme/mean": Entry("acme/mean", "acme:mean", linear), "acme/odd": Entry("acme/odd", "acme:odd", 7)}
    monkeypatch.setattr(_catalogue, "_installed", lambda: entries)
    assert _catalogue.load("mean").id == "acme/mean" and "acme/mean" in _catalogue.ids()
    with pytest.raises(RecipeError, match="no function decorated"):
        _catalogue.load("acme/odd")


def test_cards_are_read_without_touching_torch():
    """A stand-in that fails when anything is asked of it takes torch's place."""
    code = """
import sys, types
class Untouchable(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        raise SystemExit(f"torch.{name} was touched")
sys.modules["torch"] = Untouchable("torch")
from ligate.methods import _catalogue
for name in _catalogue.ids():
    _catalogue.load(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
