from __future__ import annotations

import subprocess
import sys

import pytest

from ligate.core.errors import InputError, StorageError
from ligate.verbs.workplace import Workplace, begun, log_of, reopened

HOLD = """
import sys
from pathlib import Path
from ligate.verbs.workplace import begun
with begun(Path(sys.argv[1]), {}, overwrite=False):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


def test_what_was_begun_can_be_reopened(tmp_path):
    with begun(tmp_path / "out", {"recipe": 1}, overwrite=False) as place:
        assert place.folder == tmp_path / "out.partial"
    with reopened(tmp_path / "out") as place:
        assert place.read_start() == {"recipe": 1}


def test_an_interrupted_merge_is_only_thrown_away_on_request(tmp_path):
    with begun(tmp_path / "out", {}, overwrite=False) as place:
        (place.folder / "old").write_text("")
    with pytest.raises(StorageError) as caught, begun(tmp_path / "out", {}, overwrite=False):
        pass
    assert "ligate resume" in caught.value.hint
    with begun(tmp_path / "out", {}, overwrite=True) as place:
        assert not (place.folder / "old").exists()


def test_a_foreign_folder_is_never_removed(tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "mine.txt").write_text("")
    with pytest.raises(StorageError, match="not made by Ligate"), begun(tmp_path / "out", {}, overwrite=True):
        pass
    assert [path.name for path in (tmp_path / "out.partial").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_processes_never_work_at_the_same_output(tmp_path, overwrite):
    out = tmp_path / "out"
    other = subprocess.Popen([sys.executable, "-c", HOLD, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(StorageError, match="another process"), begun(out, {}, overwrite=overwrite):
            pass
        with pytest.raises(StorageError, match="another process"), reopened(out):
            pass
    finally:
        other.communicate()
    with reopened(out):
        pass


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(StorageError, match="no unfinished merge"), reopened(tmp_path / "out"):
        pass
    (tmp_path / "out.partial").mkdir()
    with pytest.raises(InputError, match="nothing was begun"), reopened(tmp_path / "out") as place:
        place.read_start()


def test_everything_lies_beside_the_output(tmp_path):
    place = Workplace(tmp_path / "a.b")
    assert place.folder == tmp_path / "a.b.partial"
    assert log_of(tmp_path / "a.b") == tmp_path / "a.b.log.json"
