from __future__ import annotations

import os

import pytest

from ligate.core.errors import StorageError
from ligate.engine.journal import Done, Journal, read

STATS = {"threshold": {"kept": [3]}}


def _done(number):
    return Done(bytes([number] * 16), (bytes(16), bytes([number])))


def _write(path, numbers):
    journal = Journal(path)
    if not path.stat().st_size:
        journal.begin({"plan": "p"})
    for number in numbers:
        journal.report(f"t{number}", STATS)
        journal.segment(f"t{number}", 0, _done(number))
    journal.close()


def test_what_was_written_is_claimed(tmp_path):
    path = tmp_path / "journal"
    _write(path, [1, 2])
    claims = read(path)
    assert claims is not None
    assert claims.head == {"plan": "p"}
    assert claims.segments == {("t1", 0): _done(1), ("t2", 0): _done(2)}
    assert claims.stats == {"t1": STATS, "t2": STATS}


def test_torn_at_any_byte_and_continued_it_claims_nothing_false_and_loses_nothing_new(tmp_path):
    """Above all a finished segment never loses the statistics that the record will tell of it."""
    path = tmp_path / "journal"
    _write(path, [1, 2])
    whole = path.read_bytes()
    first_line = whole.index(b"\n")
    for length in range(first_line, len(whole) + 1):
        path.write_bytes(whole[:length])
        _write(path, [3, 4])
        claims = read(path)
        assert claims is not None
        assert claims.head == {"plan": "p"}
        assert {("t3", 0), ("t4", 0)} <= set(claims.segments) <= {(f"t{n}", 0) for n in (1, 2, 3, 4)}
        assert all(done == _done(int(tensor[1:])) for (tensor, _), done in claims.segments.items())
        assert all(claims.stats[tensor] == STATS for tensor, _ in claims.segments)


@pytest.mark.parametrize("length", range(len(b'{"plan":"p"}')))
def test_without_its_first_line_a_journal_claims_nothing(tmp_path, length):
    path = tmp_path / "journal"
    path.write_bytes(b'{"plan":"p"}'[:length])
    assert read(path) is None


@pytest.mark.parametrize(
    "line",
    [
        b"\0\0\0",
        b"\xff{}",
        b"[1]",
        b"{}",
        b'{"segment":0,"out":"00","in":[]}',
        b'{"tensor":"t","segment":0,"out":"0g","in":[]}',
        b'{"tensor":"t","segment":0,"out":"00","in":[7]}',
        b'{"tensor":"t","segment":Infinity,"out":"00","in":[]}',
        b'{"tensor":"t","stats":3}',
    ],
)
def test_a_foreign_line_is_passed_over(tmp_path, line):
    path = tmp_path / "journal"
    _write(path, [1])
    path.write_bytes(path.read_bytes() + line + b"\n")
    _write(path, [2])
    claims = read(path)
    assert claims is not None
    assert set(claims.segments) == {("t1", 0), ("t2", 0)}
    assert set(claims.stats) == {"t1", "t2"}


def test_a_full_disk_names_the_journal(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "journal")
    room = [5, 3]

    def write(fd, data):
        if not room:
            raise OSError(28, "No space left on device")
        return real(fd, data[: room.pop()])

    real = os.write
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StorageError, match="journal: cannot be written: No space left on device"):
        journal.begin({"plan": "p"})
    assert (tmp_path / "journal").read_bytes() == b'{"plan":'
