from __future__ import annotations

import subprocess
import sys

import pytest

from ligate.core.errors import StorageError
from ligate.io import system

WITHOUT = """
import os, sys
del os.preadv
from ligate.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_this_system_has_everything():
    system.require_posix()


def test_what_is_lacking_is_named(monkeypatch):
    monkeypatch.delattr(system.os, "preadv")
    monkeypatch.setattr(system, "find_spec", lambda name: None)
    with pytest.raises(StorageError, match="lacks preadv, flock"):
        system.require_posix()


@pytest.mark.parametrize("arguments", [["inspect", "."], ["merge", "r.yaml", "out"], ["verify", "out"]])
def test_the_command_line_says_so_without_a_traceback(tmp_path, arguments):
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 5, ran.stderr
    assert ran.stderr.startswith("ligate: Ligate needs Linux or macOS")
    assert "Traceback" not in ran.stderr


def test_help_is_given_on_any_system(tmp_path):
    ran = subprocess.run([sys.executable, "-c", WITHOUT, "--help"], cwd=tmp_path, capture_output=True, check=False)
    assert ran.returncode == 0
