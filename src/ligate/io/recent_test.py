from __future__ import annotations

import numpy as np

from ligate.io.recent import Recent


def test_the_oldest_goes_first_and_what_is_used_stays():
    made: list[str] = []

    def get(recent: Recent, name: str, size: int = 40) -> None:
        recent.get(name, lambda: (made.append(name), (np.zeros(size, np.uint8),))[1])

    recent = Recent(100)
    for name in ("a", "b", "a", "c", "a", "b"):
        get(recent, name)
    assert made == ["a", "b", "c", "b"]
    get(recent, "large", 101)
    get(recent, "large", 101)
    assert made[4:] == ["large", "large"]
    recent.clear()
    get(recent, "a")
    assert made[-1] == "a"
