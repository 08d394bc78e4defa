from __future__ import annotations

from ligate.align.axes.atoms import Atoms


def sizes(atoms: Atoms, axis) -> list[int]:
    return [atoms.size((part,)) for part in atoms.resolved(axis)]


def test_an_axis_splits_as_a_view_asks_and_stays_one():
    atoms = Atoms()
    whole = atoms.new(24)
    parts = atoms.split(whole, (2, 3, 4))
    assert parts is not None
    assert [atoms.size(part) for part in parts] == [2, 3, 4]
    assert sizes(atoms, whole) == [2, 3, 4]


def test_a_view_that_cuts_across_atoms_has_no_answer():
    atoms = Atoms()
    axis = (*atoms.new(3), *atoms.new(4))
    assert atoms.split(axis, (4, 3)) is None
    assert atoms.split(axis, (3, 2, 2)) is not None


def test_equal_axes_are_one_whichever_way_they_are_factored():
    atoms = Atoms()
    one, other = atoms.new(24), (*atoms.new(4), *atoms.new(6))
    atoms.unify(one, other, "test")
    assert atoms.resolved(one) == atoms.resolved(other)
    heads = atoms.split(one, (2, 2, 6))
    assert heads is not None
    assert sizes(atoms, other) == [2, 2, 6]


def test_axes_that_cannot_be_the_same_are_fixed():
    atoms = Atoms()
    one, other = (*atoms.new(2), *atoms.new(3)), (*atoms.new(3), *atoms.new(2))
    atoms.unify(one, other, "does not fit")
    assert all(atoms.fixed(part) == "does not fit" for axis in (one, other) for part in atoms.resolved(axis))


def test_what_is_fixed_stays_so_when_it_is_split_or_joined():
    atoms = Atoms()
    one, other = atoms.new(6), atoms.new(6)
    atoms.fix(one, "a place")
    atoms.unify(other, one, "test")
    atoms.split(other, (2, 3))
    assert [atoms.fixed(part) for part in atoms.resolved(one)] == ["a place", "a place"]


def test_a_single_unit_is_no_atom():
    atoms = Atoms()
    assert atoms.new(1) == ()
    assert atoms.size(()) == 1
