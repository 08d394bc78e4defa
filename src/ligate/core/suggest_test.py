from __future__ import annotations

from ligate.core.suggest import nearest


def test_the_nearest_name_or_all_names():
    assert nearest("densty", ("weight", "density")) == "did you mean 'density'?"
    assert nearest("zzz", ("weight", "density")) == "known: density, weight"
    assert nearest("zzz", ()) == "nothing is known here"


def test_capitals_do_not_hide_a_name():
    assert nearest("TIES", ("tsv", "ties")) == "did you mean 'ties'?"


def test_a_long_list_is_cut():
    hint = nearest("zzz", (f"layers.{i:04}.weight" for i in range(1500)))
    assert hint.endswith("layers.0019.weight and 1,480 more")
