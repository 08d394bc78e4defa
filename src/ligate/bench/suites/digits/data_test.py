from __future__ import annotations

import sys

import pytest

from ligate.bench.suites.digits.data import CLASSES, digits
from ligate.core.errors import InputError


def test_every_image_is_in_one_part_and_every_part_has_all_classes():
    pytest.importorskip("sklearn")
    parts = digits()
    numbers = [number for each in parts.values() for number in each.numbers.tolist()]
    assert sorted(numbers) == list(range(1797))
    assert all(each.labels.unique().numel() == CLASSES for each in parts.values())
    assert all(0 <= float(each.images.min()) < float(each.images.max()) <= 1 for each in parts.values())


def test_a_missing_scikit_learn_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    digits.cache_clear()
    with pytest.raises(InputError, match="scikit-learn, which is not installed"):
        digits()
