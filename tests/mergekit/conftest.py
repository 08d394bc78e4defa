"""The models that the cases speak of."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_llama import random_tensors, write_adapter, write_model

LABELS = ("base", "a", "b", "c")


@pytest.fixture(scope="session")
def family_room(tmp_path_factory) -> Path:
    """A folder with models/base, models/a, models/b, models/c, which differ from the base a little, and an adapter."""
    room = tmp_path_factory.mktemp("family")
    base = random_tensors(1)
    write_model(room / "models" / "base", base)
    for seed, label in enumerate(LABELS[1:], 2):
        changes = random_tensors(seed)
        write_model(room / "models" / label, {name: base[name] + 0.3 * changes[name] for name in base})
    write_adapter(room / "adapter", 9)
    return room
