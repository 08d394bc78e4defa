"""Killed at any moment and resumed, a merge gives the bytes of one that was left alone."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from running import TIES, command, digest, ligate, make_checkpoints

MOMENTS = 20
PATIENCE = 60.0  # seconds after which a process that has begun nothing is a failure


class Undisturbed(NamedTuple):
    """A merge that was left alone: what it wrote and how long it worked after it had begun to write."""

    models: Path
    digest: str
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    models = tmp_path_factory.mktemp("models")
    make_checkpoints(models, layers=16, width=512)
    (models / "recipe.yaml").write_text(TIES.replace("3MB", "8MB"))
    out = models / "undisturbed"
    process = begin(models, out)
    began = time.monotonic()
    assert process.wait() == 0
    return Undisturbed(models, digest(out), time.monotonic() - began)


def begin(models: Path, out: Path) -> subprocess.Popen[bytes]:
    """A merge that has written down what it is about to do (or is finished already)."""
    process = subprocess.Popen(command(["merge", "recipe.yaml", out, "--quiet", "--threads", "1"]), cwd=models)
    start = out.with_name(out.name + ".partial") / "merge.json"
    deadline = time.monotonic() + PATIENCE
    while not start.exists() and process.poll() is None:
        assert time.monotonic() < deadline, "nothing was begun"
        time.sleep(0.0005)
    return process


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_killed_and_resumed_gives_the_same_bytes(undisturbed: Undisturbed, moment: int, tmp_path: Path):
    out = tmp_path / "out"
    process = begin(undisturbed.models, out)
    time.sleep(random.Random(moment).uniform(0, 1.05) * undisturbed.seconds)
    process.kill()
    process.wait()
    if not out.exists():
        ligate(["resume", out], undisturbed.models)
    assert digest(out) == undisturbed.digest
    assert not out.with_name("out.partial").exists()


def test_killed_twice_and_resumed_gives_the_same_bytes(undisturbed: Undisturbed, tmp_path: Path):
    out = tmp_path / "out"
    process = begin(undisturbed.models, out)
    time.sleep(undisturbed.seconds * 0.3)
    process.kill()
    process.wait()
    again = subprocess.Popen(command(["resume", out]), cwd=undisturbed.models)
    time.sleep(undisturbed.seconds * 0.5)
    again.kill()
    again.wait()
    if not out.exists():
        ligate(["resume", out], undisturbed.models)
    assert digest(out) == undisturbed.digest
