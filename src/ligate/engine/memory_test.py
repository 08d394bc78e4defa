from __future__ import annotations

import subprocess
import sys

import pytest

from ligate.core.errors import RecipeError
from ligate.engine import memory
from ligate.engine.memory import parse_bytes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("4G", 4 * 10**9),
        ("512MB", 512 * 10**6),
        ("1.5GiB", 3 * 2**29),
        ("1000", 1000),
        (" 2 k ", 2000),
        ("1TB", 10**12),
    ],
)
def test_amounts_of_bytes(text, nbytes):
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "many", "-1G", "4 gigs", "1e9", "G"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(RecipeError, match="amount of bytes"):
        parse_bytes(text)


@pytest.mark.skipif(not memory.resident_bytes(), reason="this system does not tell what a process holds")
def test_torch_counts_before_it_is_loaded():
    code = "from ligate.engine.memory import resident_bytes as r; a = r(); import torch; print(a / r())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.3 < float(ran.stdout) < 2  # builds of torch differ


def test_what_the_caller_holds_does_not_slow_the_default_down(monkeypatch):
    monkeypatch.setattr(memory, "resident_bytes", lambda: 50_000_000_000)
    assert memory.admitted([], 4, None) == 4
    with pytest.raises(RecipeError, match="too little"):
        memory.admitted([], 4, 1_000_000_000)


@pytest.mark.parametrize("amount", [0, 1, 10_000_000])
def test_too_little_memory_is_refused(amount):
    with pytest.raises(RecipeError, match="is too little"):
        memory.admitted([], 1, amount)


@pytest.mark.parametrize("threads", [0, -1])
def test_nobody_cannot_work(threads):
    with pytest.raises(RecipeError, match="threads"):
        memory.thread_count(threads)
