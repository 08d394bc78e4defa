"""What is measured: each rule by Ligate and by mergekit from the same configuration file, and the plain copy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import Contender

HERE = Path(__file__).parent
MERGEKIT = "0.1.5"


@dataclass(frozen=True)
class Rule:
    """A merge of the made checkpoints. `reads` are the folders whose bytes it has to read."""

    name: str
    reads: tuple[str, ...]
    config: str  # in mergekit's dialect, which both programs read


_THREE = ("expert-1", "expert-2", "expert-3")
_TASK_VECTORS = """\
merge_method: {method}
base_model: {base}
models:
  - model: {expert-1}
    parameters: {{weight: 0.5, density: 0.2}}
  - model: {expert-2}
    parameters: {{weight: 0.3, density: 0.2}}
  - model: {expert-3}
    parameters: {{weight: 0.2, density: 0.2}}
dtype: bfloat16
"""

RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "linear",
            _THREE,
            "merge_method: linear\n"
            "models:\n"
            "  - model: {expert-1}\n    parameters: {{weight: 0.5}}\n"
            "  - model: {expert-2}\n    parameters: {{weight: 0.3}}\n"
            "  - model: {expert-3}\n    parameters: {{weight: 0.2}}\n"
            "dtype: bfloat16\n",
        ),
        Rule("ties", ("base", *_THREE), _TASK_VECTORS.replace("{method}", "ties")),
        Rule(
            "slerp",
            _THREE[:2],
            "merge_method: slerp\nbase_model: {expert-1}\n"
            "models:\n  - model: {expert-1}\n  - model: {expert-2}\n"
            "parameters: {{t: 0.4}}\ndtype: bfloat16\n",
        ),
        Rule(
            "task_arithmetic",
            ("base", *_THREE),
            _TASK_VECTORS.replace("{method}", "task_arithmetic").replace(", density: 0.2", ""),
        ),
        Rule("dare", ("base", *_THREE), _TASK_VECTORS.replace("{method}", "dare_linear")),
    )
}

# What Ligate's promises cost: each is taken away on its own, then all that can be.
SWITCHES = {
    "ligate": (),
    "ligate --no-hash": ("--no-hash",),
    "ligate --no-fsync": ("--no-fsync",),
    "ligate --no-hash --no-fsync": ("--no-hash", "--no-fsync"),
}


def config_file(rule: Rule, models: Path, folder: Path) -> Path:
    """The rule's configuration with the paths of the made checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{rule.name}-{models.name}.yml"
    path.write_text(rule.config.format(**{name: models / name for name in ("base", *_THREE)}))
    return path


def import_torch(name: str, python: str) -> Contender:
    """Start-up that both tools share; it is taken off their time."""
    return Contender(name, (python, "-c", "import torch"))


def plain_copy(name: str, folders: Sequence[Path], out: Path, *, fsync: bool = False, cold: bool = False) -> Contender:
    switch = ("--fsync",) if fsync else ()
    command = (sys.executable, str(HERE / "plaincopy.py"), *switch, str(out), *map(str, folders))
    return Contender(name, command, out, tells_seconds=True, cold=folders if cold else ())


def ligate(name: str, config: Path, out: Path, switches: Sequence[str] = (), *, cold: Sequence[Path] = ()) -> Contender:
    command = (sys.executable, "-m", "ligate", "merge", str(config), str(out), "--quiet", *switches)
    return Contender(name, command, out, minus="import torch", cold=cold)


def mergekit(config: Path, out: Path, python: str) -> Contender:
    program = "import sys; from mergekit.scripts.run_yaml import main; sys.exit(main())"
    flags = ("--no-write-model-card", "--no-copy-tokenizer", "--quiet")
    return Contender("mergekit", (python, "-c", program, str(config), str(out), *flags), out, "import torch (mergekit)")


def mergekit_python(cache: Path, constraints: Path) -> str | None:
    """A Python that has mergekit: LIGATE_MERGEKIT_PYTHON, else an environment made here; None if there is none."""
    named = os.environ.get("LIGATE_MERGEKIT_PYTHON")
    if named:
        return named if _has_mergekit(named) else None
    python = cache / "mergekit" / "bin" / "python"
    if not python.exists():
        sys.stderr.write(f"installing mergekit {MERGEKIT} into {cache / 'mergekit'}\n")
        subprocess.run((sys.executable, "-m", "venv", str(cache / "mergekit")), check=True)
        install = (str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
        subprocess.run((*install, "-c", str(constraints), f"mergekit=={MERGEKIT}"), check=False)
    return str(python) if _has_mergekit(str(python)) else None


def _has_mergekit(python: str) -> bool:
    ask = f"from importlib.metadata import version; raise SystemExit(version('mergekit') != '{MERGEKIT}')"
    return subprocess.run((python, "-c", ask), capture_output=True, check=False).returncode == 0
