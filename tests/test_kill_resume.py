"""Killed at any moment and resumed, a merge gives the bytes of one that was left alone."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from running import TIES, command, digest, ligate, make_checkpoints

MOMENTS = range(20)  # even: a share of the time that the merge takes; odd: a share of the journal that it writes
PATIENCE = 60.0  # seconds after which a process that has begun nothing is a failure


class Undisturbed(NamedTuple):
    """A merge that was left alone: what it wrote and how long it worked after it had begun to write."""

    models: Path
    digest: str
    seconds: float
    tensors: int


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    models = tmp_path_factory.mktemp("models")
    make_checkpoints(models, layers=16, width=512)
    (models / "recipe.yaml").write_text(TIES.replace("3MB", "8MB"))
    out = models / "undisturbed"
    process = begin(models, out)
    began = time.monotonic()
    assert process.wait() == 0
    seconds = time.monotonic() - began
    index = json.loads((out / "model.safetensors.index.json").read_text())
    return Undisturbed(models, digest(out), seconds, len(index["weight_map"]))


def begin(models: Path, out: Path) -> subprocess.Popen[bytes]:
    """A merge that has written down what it is about to do (or is finished already)."""
    process = subprocess.Popen(command(["merge", "recipe.yaml", out, "--quiet", "--threads", "1"]), cwd=models)
    wait_until(process, (partial(out) / "merge.json").exists)
    return process


def partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def wait_until(process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
    """Or until the process has ended."""
    deadline = time.monotonic() + PATIENCE
    while not happened() and process.poll() is None:
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.0002)


def kill_at(
    process: subprocess.Popen[bytes], out: Path, share: float, undisturbed: Undisturbed, *, lines: bool
) -> None:
    """SIGKILL when this share of the time is over, or of the journal is written."""
    if lines:
        journal = partial(out) / "step-1.jsonl"
        wanted = int(share * (undisturbed.tensors + 1))
        wait_until(process, lambda: _lines(journal) >= wanted)
    else:
        time.sleep(share * undisturbed.seconds)
    process.kill()
    process.wait()


def _lines(journal: Path) -> int:
    try:
        return journal.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed_gives_the_same_bytes(undisturbed: Undisturbed, moment: int, tmp_path: Path):
    out = tmp_path / "out"
    process = begin(undisturbed.models, out)
    kill_at(process, out, random.Random(moment).random(), undisturbed, lines=moment % 2 == 1)
    if partial(out).exists():  # perhaps only because it was being cleared
        ligate(["resume", out], undisturbed.models)
    assert digest(out) == undisturbed.digest
    assert not partial(out).exists()


def test_killed_again_while_resuming_gives_the_same_bytes(undisturbed: Undisturbed, tmp_path: Path):
    out = tmp_path / "out"
    kill_at(begin(undisturbed.models, out), out, 0.3, undisturbed, lines=True)
    if partial(out).exists():
        again = subprocess.Popen(command(["resume", out, "--threads", "1"]), cwd=undisturbed.models)
        kill_at(again, out, 0.7, undisturbed, lines=True)
    if partial(out).exists():
        ligate(["resume", out], undisturbed.models)
    assert digest(out) == undisturbed.digest


def test_a_changed_input_is_not_resumed(undisturbed: Undisturbed, tmp_path: Path):
    """What was merged before and what would be merged now would not belong together."""
    models, out = tmp_path / "models", tmp_path / "out"
    shutil.copytree(undisturbed.models, models, ignore=shutil.ignore_patterns("undisturbed*"))
    kill_at(begin(models, out), out, 0.0, undisturbed, lines=True)
    changed = models / "one" / "model-00001-of-00002.safetensors"
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    ran = subprocess.run(command(["resume", out]), cwd=models, capture_output=True, text=True, check=False)
    assert ran.returncode == 3
    assert changed.name in ran.stderr
    assert not out.exists()
