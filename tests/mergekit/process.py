"""mergekit's own results, where LIGATE_MERGEKIT_PYTHON names an interpreter that has it (0.1.5 was compared)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

MERGEKIT = os.environ.get("LIGATE_MERGEKIT_PYTHON")
needs_mergekit = pytest.mark.skipif(not MERGEKIT, reason="LIGATE_MERGEKIT_PYTHON is not set")


def mergekit_results(room: Path, configs: Mapping[str, str]) -> dict[str, Path]:
    """The folder that mergekit writes for each config, from one process that runs in `room`."""
    outs = {name: room / "mergekit" / str(number) for number, name in enumerate(configs)}
    jobs = [{"config": text, "out": str(outs[name])} for name, text in configs.items()]
    (room / "jobs.json").write_text(json.dumps(jobs))
    command = [str(MERGEKIT), str(Path(__file__).with_name("run_mergekit.py")), "jobs.json"]
    done = subprocess.run(command, cwd=room, capture_output=True, text=True, check=False, timeout=600)
    errors = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(errors) == len(jobs), done.stderr[-2000:]
    assert not any(errors), {name: error for name, error in zip(configs, errors, strict=True) if error}
    return outs
