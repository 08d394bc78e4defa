from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from ligate.core.errors import RecipeError
from ligate.core.method import method
from ligate.engine import memory
from ligate.engine.job import make_job
from ligate.engine.memory import parse_bytes
from ligate.engine.plan import Operand, Out, Plan
from ligate.io.memory import MemorySource


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


@pytest.mark.parametrize(("elements", "alone"), [(4096, True), (1_000_000, False)])
def test_tiny_tensors_are_merged_by_one_thread_unless_more_are_asked_for(elements, alone, monkeypatch):
    monkeypatch.setattr(memory.os, "sched_getaffinity", lambda process: range(8), raising=False)
    source = MemorySource("a", {"w": torch.zeros(elements)})
    plan = Plan(("a",), (Out("w", "F32", (elements,), None, (Operand(0, "w"),), None, {}),))
    jobs = [make_job(plan, plan.outs[0], None, [source])] * 9
    assert memory.thread_count(None, jobs) == (1 if alone else 8)
    assert memory.thread_count(2, jobs) == 2


def test_a_rule_is_admitted_by_the_scratch_that_it_declares():
    """In place of the copies of a block that an ordinary rule is taken to make."""

    @method(title="Work", source="test", base="unused", reach="tensor", scratch=lambda params, shape, models: shape[0])
    def work(base, tuned):
        return tuned[0]

    def needed(card):
        plan = Plan(("a",), (Out("w", "F32", (1000,), "work", (Operand(0, "w"),), None, {}),))
        source = MemorySource("a", {"w": torch.zeros(1000)})
        return memory.workspace_bytes(make_job(plan, plan.outs[0], card, [source]))

    stored, numbers = 2 * 4 * 1000, 8 * 1000
    assert needed(work.card) == stored + numbers + 1000
    assert needed(replace(work.card, scratch=None)) == stored + numbers * (1 + memory._TEMPORARIES)
