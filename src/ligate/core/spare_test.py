from __future__ import annotations

import threading

import pytest
import torch

from ligate.core.spare import ahead, side_by_side, spare_threads


def test_results_come_in_the_order_of_the_items():
    with spare_threads(3):
        assert side_by_side(lambda x: x * x, range(7)) == [x * x for x in range(7)]
    assert side_by_side(str, []) == []


def test_work_is_done_at_once_only_where_threads_are_to_spare():
    meet = threading.Barrier(2, timeout=20)
    with spare_threads(2):
        side_by_side(lambda _: meet.wait(), range(2))  # would wait for ever one after the other
        assert torch.get_num_threads() >= 1
    assert {side_by_side(lambda _: threading.get_ident(), range(3))[k] for k in range(3)} == {threading.get_ident()}


def test_torch_works_as_in_the_thread_that_asks():
    with torch.inference_mode(), spare_threads(2):
        assert side_by_side(lambda _: torch.is_inference_mode_enabled(), range(2)) == [True, True]


def test_an_error_comes_through():
    with spare_threads(2), pytest.raises(ZeroDivisionError):
        side_by_side(lambda x: 1 // x, [1, 0])


def test_threads_that_work_for_another_start_none():
    with spare_threads(2):
        inner = side_by_side(lambda _: side_by_side(lambda _: threading.get_ident(), range(3)), range(2))
    assert all(len(set(each)) == 1 for each in inner)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_what_is_made_ahead_comes_in_order_and_no_sooner_than_there_are_threads(threads):
    begun = list[int]()

    def work(item):
        begun.append(item)
        return item * item

    with spare_threads(threads):
        results = ahead(work, range(5))
        assert next(results) == 0 and len(begun) == threads
        assert list(results) == [1, 4, 9, 16]


def test_gradients_are_recorded_where_they_are_in_the_thread_that_asks():
    with torch.no_grad(), spare_threads(2):
        assert side_by_side(lambda _: torch.is_grad_enabled(), range(2)) == [False, False]
