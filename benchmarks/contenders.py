"""What is measured: each rule by Ligate and by mergekit from the same configuration file, and the plain copy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from processes import Contender

HERE = Path(__file__).parent
MERGEKIT = "0.1.5"


WEIGHTS = {"expert-1": 0.5, "expert-2": 0.3, "expert-3": 0.2}
DENSITY = 0.2


@dataclass(frozen=True)
class Rule:
    """A merge of the made checkpoints."""

    name: str
    method: str  # as mergekit calls it
    experts: tuple[str, ...] = tuple(WEIGHTS)
    base: str | None = "base"
    weighted: bool = True
    settings: Mapping[str, float] = field(default_factory=dict)  # of each model, besides its weight
    whole: Mapping[str, float] = field(default_factory=dict)  # of the whole merge
    dtype: str = "bfloat16"
    takes_torch: bool = False  # Ligate does the others without loading it
    ours: bool = False  # mergekit has nothing like it

    @property
    def reads(self) -> tuple[str, ...]:
        """The folders whose bytes have to be read."""
        return tuple(dict.fromkeys((*([self.base] if self.base else []), *self.experts)))

    def config(self, models: Path) -> str:
        """In mergekit's dialect, which both programs read (JSON is YAML), or in Ligate's where only it has the rule."""
        if self.ours:
            names = (self.base, *self.experts) if self.base else self.experts
            merge = {"method": self.method, "models": self.experts, **({"base": self.base} if self.base else {})}
            merge |= {"parameters": self.whole} if self.whole else {}
            return json.dumps({"sources": {name: str(models / name) for name in names}, "merge": merge}, indent=1)
        entries = [{"model": str(models / expert), "parameters": self._of(expert)} for expert in self.experts]
        base = {"base_model": str(models / self.base)} if self.base else {}
        rest = {"models": entries, "parameters": self.whole, "dtype": self.dtype}
        return json.dumps({"merge_method": self.method, **base, **rest}, indent=1)

    def _of(self, expert: str) -> Mapping[str, float]:
        return {**({"weight": WEIGHTS[expert]} if self.weighted else {}), **self.settings}


_TRIM = {"density": DENSITY}
RULES = {
    rule.name: rule
    for rule in (
        Rule("linear", "linear", base=None),
        Rule("ties", "ties", settings=_TRIM),
        Rule(
            "slerp", "slerp", ("expert-1", "expert-2"), "expert-1", weighted=False, whole={"t": 0.4}, takes_torch=True
        ),
        Rule("task_arithmetic", "task_arithmetic"),
        Rule("dare", "dare_linear", settings=_TRIM),
    )
}

_TWO = ("expert-1", "expert-2")
OTHERS = (
    Rule("nuslerp", "nuslerp", _TWO, None),
    Rule("karcher", "karcher", base=None, weighted=False),
    Rule("multislerp", "multislerp", base=None),
    Rule("model_stock", "model_stock", weighted=False),
    Rule("nearswap", "nearswap", ("expert-1",), weighted=False, whole={"t": 0.001}),
    Rule("arcee_fusion", "arcee_fusion", ("expert-1",), weighted=False),
    Rule("breadcrumbs", "breadcrumbs", settings=_TRIM),
    Rule("breadcrumbs_ties", "breadcrumbs_ties", settings=_TRIM),
    Rule("dare_ties", "dare_ties", settings=_TRIM),
    Rule("della", "della", settings=_TRIM),
    Rule("della_linear", "della_linear", settings=_TRIM),
    Rule("sce", "sce", weighted=False, whole={"select_topk": 0.1}),
    Rule("ram", "ram", weighted=False),
    Rule("ramplus_tl", "ramplus_tl", weighted=False),
    Rule("ties, whole model", "ties", ours=True),
    Rule("add_difference", "add_difference", _TWO, ours=True),
    Rule("consensus", "consensus", ours=True),
    Rule("layer_swap", "layer_swap", ours=True),
    Rule("magmax", "magmax", ours=True),
    Rule("pcb", "pcb", ours=True),
    Rule("varm", "varm", ours=True),
    Rule("widen", "widen", ours=True),
)
"""The rest of the rules that need no more than blocks or rows, each as it is set by default or as people set it."""

SPECTRAL = ("tsv_m", "iso_c", "knots", "opcm")
"""Rules that decompose whole matrices on their smaller side.

WUDI and SWUDI work on the side of the inputs, here 11008: SWUDI took six minutes and 10 GB, WUDI takes hundreds of
steps.
"""

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
    path = folder / f"{rule.name.replace(', ', '-').replace(' ', '_')}-{models.name}.yml"
    path.write_text(rule.config(models))
    return path


def import_torch(name: str, python: str) -> Contender:
    """Start-up that says nothing about a merge; it is taken off the time of what loads torch."""
    return Contender(name, (python, "-c", "import torch"))


def start_ligate() -> Contender:
    """The same for a merge that loads no torch: the interpreter and Ligate's own modules."""
    return Contender("start of ligate", (sys.executable, "-c", "import ligate.cli.app, ligate.verbs.merge"))


def plain_copy(name: str, folders: Sequence[Path], out: Path, *, fsync: bool = False, cold: bool = False) -> Contender:
    switch = ("--fsync",) if fsync else ()
    command = (sys.executable, str(HERE / "plaincopy.py"), *switch, str(out), *map(str, folders))
    return Contender(name, command, out, tells_seconds=True, cold=folders if cold else ())


def ligate(
    name: str, rule: Rule, config: Path, out: Path, switches: Sequence[str] = (), *, cold: Sequence[Path] = ()
) -> Contender:
    command = (sys.executable, "-m", "ligate", "merge", str(config), str(out), "--quiet", *switches)
    return Contender(name, command, out, minus="import torch" if rule.takes_torch else "start of ligate", cold=cold)


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
