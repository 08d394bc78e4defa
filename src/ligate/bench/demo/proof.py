"""Commands as a person would type them, shown with what they answer: the record holds, damage and mistakes are told."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ligate.bench.demo.shipped import shipped
from ligate.bench.merging import child_environment
from ligate.core.errors import RecipeError, VerifyError

WRONG = "wrong"


@dataclass(frozen=True)
class Shown:
    """A command line, everything it printed, and its exit code."""

    command: str
    output: str
    code: int


@dataclass(frozen=True)
class Proof:
    """What was shown of one merged folder, and whether all of it came out as promised."""

    verified: Shown
    replayed: Shown
    same_files: int  # of the replayed folder that equal the merged one byte for byte
    files: int
    damaged: Shown  # verify, after one bit of the weights was flipped
    refused: Shown  # merge by the wrong recipe
    wrong_recipe: str
    left_behind: bool  # whether the refused merge left an output

    @property
    def holds(self) -> bool:
        records = self.verified.code == 0 and self.replayed.code == 0 and self.same_files == self.files > 0
        notices = self.damaged.code == VerifyError.exit_code and self.refused.code == RecipeError.exit_code
        return records and notices and not self.left_behind


def typed(arguments: Sequence[str], folder: Path) -> Shown:
    """Run `ligate ...` in a folder."""
    ran = subprocess.run(
        [sys.executable, "-m", "ligate", *arguments],
        cwd=folder,
        env={**child_environment(), "COLUMNS": "110", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Shown(f"ligate {' '.join(arguments)}", ran.stdout.strip(), ran.returncode)


def prove(workdir: Path, name: str) -> Proof:
    """Verify and replay `merged/NAME`, verify a damaged copy of it, and merge by a wrong recipe."""
    merged, again, damaged = (workdir / part / name for part in ("merged", "replayed", "damaged"))
    verified = typed(["verify", f"merged/{name}"], workdir)
    replayed = typed(["replay", f"merged/{name}", f"replayed/{name}", "--overwrite"], workdir)
    files = sorted(path.relative_to(merged) for path in merged.rglob("*") if path.is_file())
    same = sum((again / path).is_file() and filecmp.cmp(merged / path, again / path, shallow=False) for path in files)
    _damaged_copy(merged, damaged)
    noticed = typed(["verify", f"damaged/{name}"], workdir)
    for copy in (again, damaged):  # hundreds of megabytes that have served
        shutil.rmtree(copy.parent)
    (workdir / "recipes" / f"{WRONG}.yaml").write_text(shipped(WRONG), encoding="utf-8")
    refused = typed(["merge", f"recipes/{WRONG}.yaml", f"merged/{WRONG}"], workdir)
    left = any(path.name.startswith(WRONG) for path in merged.parent.iterdir())
    return Proof(verified, replayed, same, len(files), noticed, refused, shipped(WRONG), left)


def _damaged_copy(folder: Path, copy: Path) -> None:
    """A copy with one bit flipped, in the middle of its largest file of weights."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    weights = max(copy.glob("*.safetensors"), key=lambda path: path.stat().st_size)
    with weights.open("r+b") as file:
        file.seek(weights.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
