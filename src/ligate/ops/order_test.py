from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ligate.core.method import Again, Site
from ligate.ops import order, pile
from ligate.ops.order import Kth, kth_largest, rank


def rows(base, tuned, *, site):
    for row in tuned:
        yield row - base


def stream(stat, tensors, *, block, segment, run):
    """What the engine does: passes over segments, each from the same start, merged in order."""
    state = stat.init(len(tensors[0][1]))
    for _ in range(40):
        ends = [end for tensor in tensors for end in _pass(stat, state, *tensor, block, segment, run)]
        outcome = stat.finish(functools.reduce(stat.merge, ends))
        if not isinstance(outcome, Again):
            return outcome
        state = outcome.state
    raise AssertionError("the search does not end")


def _pass(stat, state, base, tuned, block, segment, run):
    n, sample = len(base), stat.sample(state)
    if sample is not None and sample < n:
        pieces = max(2, sample // run)
        starts = [(n - run) * i // (pieces - 1) for i in range(pieces)]
        cuts = [[(start, min(start + run, n)) for start in starts]]
    else:
        cuts = [
            [(a, min(a + block, start + segment, n)) for a in range(start, min(start + segment, n), block)]
            for start in range(0, n, segment)
        ]
    for spans in cuts:
        end = state
        for a, b in spans:
            place = Site("w", (n,), a, lambda model, step: torch.zeros(1))
            end = stat.observe(end, base[a:b], tuned[:, a:b], site=place)
        yield end


def expected(tensors, shares):
    found = []
    for k, share in enumerate(shares):
        x = np.concatenate([(tuned[k] - base).abs().numpy() for base, tuned in tensors])
        n = rank(share, len(x))
        value = np.sort(x)[len(x) - n] if n else np.inf
        found.append(Kth(float(value), int((x >= value).sum()), int((x == value).sum()), len(x)))
    return tuple(found)


@pytest.fixture
def small(monkeypatch):
    """All fall-backs are reached with few numbers."""
    monkeypatch.setattr(order, "SAMPLE", 512)
    monkeypatch.setattr(pile, "CAPACITY", 64)
    monkeypatch.setattr(pile, "BINS", 16)


CUTS = {"block": 64, "segment": 256, "run": 16}


def test_two_of_four_are_kept():
    stat = kth_largest("threshold", "tensor", 0.5, rows)
    found = stream(stat, [(torch.zeros(4), torch.tensor([[4.0, -1.0, 2.0, 0.5]]))], block=2, segment=4, run=1)
    assert found == (Kth(value=2.0, kept=2, ties=1, of=4),)


@pytest.mark.parametrize(("share", "numel", "kept"), [(0.2, 9, 1), (0.01, 9, 1), (0.0, 9, 0), (1.0, 9, 9), (0.5, 7, 3)])
def test_rounded_down_but_at_least_one(share, numel, kept):
    assert rank(share, numel) == kept


def test_all_entries_as_large_as_the_last_one_kept_are_kept():
    stat = kth_largest("threshold", "tensor", 0.25, rows)
    found = stream(stat, [(torch.zeros(8), torch.tensor([[1.0, 1, 1, 1, 0, 0, 0, 5]]))], block=8, segment=8, run=1)
    assert found == (Kth(value=1.0, kept=5, ties=4, of=8),)


SHAPES = {
    "smooth": lambda g, n: torch.randn(n, generator=g),
    "many equal": lambda g, n: (torch.randn(n, generator=g) * 4).round() / 4,
    "mostly zero": lambda g, n: torch.randn(n, generator=g) * (torch.rand(n, generator=g) < 0.05),
    "all equal": lambda g, n: torch.full((n,), 0.7),
    "by rows": lambda g, n: (
        torch.randn(n, generator=g) * torch.rand(n // 100 + 1, generator=g).repeat_interleave(100)[:n]
    ),
    "one corner": lambda g, n: torch.cat([torch.zeros(n - 90), torch.randn(90, generator=g)]),
    "tiny and huge": lambda g, n: torch.exp(40 * torch.randn(n, generator=g).clamp(-2, 2)),
}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_threshold_is_that_of_a_full_sort(kind, dtype, small):
    g = torch.Generator().manual_seed(3)
    tuned = torch.stack([SHAPES[kind](g, 5000) for _ in range(5)]).to(dtype)
    shares = (0.2, 1.0, 0.0, 0.001, 0.97)
    tensors = [(torch.zeros(5000, dtype=dtype), tuned)]
    assert stream(
        kth_largest("threshold", "tensor", shares, rows), tensors, block=700, segment=2100, run=50
    ) == expected(tensors, shares)


@pytest.mark.parametrize("kind", SHAPES)
def test_over_a_model_tensors_of_any_size_count_as_one(kind, small):
    g = torch.Generator().manual_seed(4)
    sizes = (5000, 3, 512, 513, 2900, 1, 40)
    tensors = [(torch.zeros(n), torch.stack([SHAPES[kind](g, max(n, 91))[:n] for _ in range(2)])) for n in sizes]
    found = stream(kth_largest("threshold", "model", (0.2, 0.6), rows), tensors, block=300, segment=900, run=50)
    assert found == expected(tensors, (0.2, 0.6))


@given(
    st.lists(st.floats(-4, 4, width=16), min_size=1, max_size=200),
    st.floats(0, 1),
    st.integers(1, 60),
    st.integers(1, 4),
)
def test_cuts_do_not_matter(numbers, share, block, blocks):
    tensors = [(torch.zeros(len(numbers)), torch.tensor([numbers]))]
    stat = kth_largest("threshold", "tensor", share, rows)
    assert stream(stat, tensors, block=block, segment=block * blocks, run=1) == expected(tensors, (share,))


@pytest.mark.parametrize("low", [0.0, 1.0, 2.0, 2.5, 3.0, 5.0])
@pytest.mark.parametrize("high", [1.0, 2.0, 2.5, 3.0, 5.0, np.inf])
@pytest.mark.parametrize("share", [k / 8 for k in range(9)])
def test_whatever_bracket_the_sample_suggests(low, high, share, monkeypatch):
    """A wrong one costs passes, never the result."""
    first = order._Guess.bracket
    monkeypatch.setattr(order, "SAMPLE", 4)
    monkeypatch.setattr(
        order._Guess, "bracket", lambda self, width: (low, high) if width == 1 and low <= high else first(self, width)
    )
    tensors = [(torch.zeros(8), torch.tensor([[1.0, 2, 2, -2, 3, 3, -5, 0]]))]
    stat = kth_largest("threshold", "tensor", share, rows)
    assert stream(stat, tensors, block=3, segment=6, run=2) == expected(tensors, (share,))


def test_real_sizes_take_two_passes_and_leave_the_first_state_alone(monkeypatch):
    g = torch.Generator().manual_seed(0)
    n = 300_000
    base = torch.randn(n, generator=g) * 0.02
    tensors = [(base, torch.stack([base + torch.randn(n, generator=g) * 1e-3 for _ in range(2)]))]
    stat = kth_largest("threshold", "tensor", 0.2, rows)
    start, seen = stat.init(2), []
    counted = stat._replace(finish=lambda state: seen.append(state) or stat.finish(state), init=lambda models: start)
    assert stream(counted, tensors, block=1 << 17, segment=1 << 18, run=1 << 10) == expected(tensors, (0.2, 0.2))
    assert len(seen) == 2
    assert start == stat.init(2)


def test_the_record_is_plain_data_also_where_nothing_is_kept():
    stat = kth_largest("threshold", "tensor", (0.5, 0.0), rows)
    found = stream(stat, [(torch.zeros(2), torch.ones(2, 2))], block=2, segment=2, run=1)
    assert stat.report(found) == {"threshold": [1.0, None], "kept": [2, 0], "ties": [2, 0], "of": [2, 2]}


@pytest.mark.parametrize("broken", [1, 90, 200])
def test_nan_that_was_let_in_does_not_keep_the_search_going(broken, small):
    tau = torch.arange(200.0)
    tau[:broken] = torch.nan
    found = stream(kth_largest("threshold", "tensor", 0.3, rows), [(torch.zeros(2000), tau.repeat(10)[None])], **CUTS)
    assert found[0].value == (141.0 if broken == 1 else np.inf)


def test_a_sample_that_meets_none_of_the_numbers_that_count(small):
    """Rows may leave numbers out: of a long table of embeddings only some rows ever changed."""

    def changed(base, tuned, *, site):
        for row in rows(base, tuned, site=site):
            yield row[row != 0]

    base = torch.zeros(40_000)
    tuned = base.clone()
    places = torch.arange(700, 900)  # between two runs of the sample
    tuned[places] = torch.arange(1.0, 201.0)
    stat = kth_largest("threshold", "tensor", 0.1, changed)
    assert stream(stat, [(base, tuned[None])], **CUTS) == (Kth(181.0, 20, 1, 200),)


def test_where_nothing_counts_nothing_is_kept(small):
    def none(base, tuned, *, site):
        for row in rows(base, tuned, site=site):
            yield row[row != 0]

    base = torch.ones(40_000)
    (found,) = stream(kth_largest("threshold", "tensor", 0.1, none), [(base, base[None])], **CUTS)
    assert (found.kept, found.value) == (0, float("inf"))
