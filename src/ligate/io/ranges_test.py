from __future__ import annotations

import errno
import os

import pytest

from ligate.core.errors import InputError
from ligate.io.ranges import announce, cannot_read, cannot_write, open_file, open_input, read_at, reserve, write_at


@pytest.fixture
def fd(tmp_path):
    with (tmp_path / "x").open("w+b", buffering=0) as file:
        file.write(b"0123456789")
        yield file.fileno()


def test_bytes_are_read_and_written_where_they_are_asked_for(fd):
    write_at(fd, 4, memoryview(b"ab"))
    out = bytearray(4)
    read_at(fd, 3, memoryview(out))
    assert out == b"3ab6"


def test_a_file_that_ends_too_early_says_where(fd):
    with pytest.raises(EOFError, match="byte 10"):
        read_at(fd, 8, memoryview(bytearray(4)))


def test_nothing_is_announced_for_an_empty_range(fd, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: calls.append(args[1:3]))
    announce(fd, 5, 0)  # the system would take it for the rest of the file
    announce(fd, 5, 3)
    assert calls == [(5, 3)]


def test_a_system_without_hints_is_no_error(fd, monkeypatch):
    def refusing(*_: object) -> None:
        raise OSError(errno.ESPIPE, "Illegal seek")

    monkeypatch.setattr(os, "posix_fadvise", refusing)
    announce(fd, 0, 3)
    monkeypatch.delattr(os, "posix_fadvise")
    announce(fd, 0, 3)


def test_reserving_keeps_what_is_there_and_never_shrinks(fd):
    reserve(fd, 5)
    assert os.fstat(fd).st_size == 10
    reserve(fd, 20)
    out = bytearray(20)
    read_at(fd, 0, memoryview(out))
    assert out == b"0123456789" + bytes(10)


def test_an_input_is_closed_again(tmp_path):
    (tmp_path / "x").write_text("abc")
    before = len(os.listdir("/dev/fd"))
    with open_file(tmp_path / "x") as (_, size):
        assert size == 3
    with pytest.raises(InputError, match="is a folder"):
        open_input(tmp_path)
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOENT, "no such file"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ELOOP, "leads back to itself"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_system_says_of_an_input(tmp_path, number, told):
    error = cannot_read(tmp_path / "x", OSError(number, os.strerror(number)))
    assert told in str(error) and str(tmp_path / "x") in str(error) and error.exit_code == 3


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "disk is full; 1,000 bytes are needed"),
        (errno.EDQUOT, "disk is full"),
        (errno.EROFS, "choose another output"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_system_says_of_an_output(tmp_path, number, told):
    error = cannot_write(tmp_path / "x", OSError(number, os.strerror(number)), 1000)
    assert told in str(error) and str(tmp_path / "x") in str(error) and error.exit_code == 5
