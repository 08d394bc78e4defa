"""`make bench`: time and memory of Ligate beside a plain copy of the same bytes and beside mergekit, in one run.

    python benchmarks/run.py                                everything
    python benchmarks/run.py --only linear,ties --size 0.1  some parts, smaller
    python benchmarks/run.py --without-mergekit

Parts: linear ties slerp task_arithmetic dare (each with the plain copy of its bytes and, if it can be installed,
mergekit), rules (all others once, beside mergekit), spectral (matrices of 4096 x 11008, four models), cold (inputs
dropped from memory before each run), memory (peak at three sizes), tiny (20,000 tensors), start (how long a command
takes before it works), accuracy (against a float64 reference). Every time is a median of alternating runs. A
process's work is its wall time less its start-up in the same run: `import torch`, or, for a merge that loads no torch,
the import of Ligate.

Disk: 5 GB of checkpoints, kept in build/bench for the next run; 20 GB more while `memory` runs. `make clean` removes
all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import contenders as make
from processes import BenchmarkError, Contender, Row, alternate, drop_from_memory, warm
from tables import accuracy_summary, performance_page, summary

ROOT = Path(__file__).parent.parent
COLD_RULE = "linear"
MATRIX = "4096x11008"
TINY_TENSORS = 20_000
EMBEDDING_ROWS = 150_000
MEMORY_BILLIONS = (0.55, 2.0)
ACCURACY_BILLIONS = 0.1


@dataclass
class Bench:
    """What the parts need to know, and what they found."""

    cache: Path
    size: float
    repeat: int
    mergekit: str | None
    results: dict[str, Any] = field(default_factory=dict)

    def models(self, name: str, *arguments: str) -> Path:
        """A folder of checkpoints, made by a process of its own (this one stays small, see processes.run)."""
        folder = self.cache / "models" / name
        sys.stderr.write(f"checkpoints: {folder}\n")
        maker = (sys.executable, str(make.HERE / "checkpoints.py"), str(folder), *arguments)
        subprocess.run(maker, check=True, stdout=subprocess.DEVNULL)
        return folder

    def main_models(self) -> Path:
        return self.models(f"{self.size:g}b", "--size", str(self.size))

    @property
    def out(self) -> Path:
        return self.cache / "out"

    @property
    def configs(self) -> Path:
        return self.cache / "configs"


def rule_part(name: str) -> Callable[[Bench], None]:
    """Ligate with and without its promises, mergekit, and a plain copy, alternating."""

    def part(bench: Bench) -> None:
        rule = make.RULES[name]
        models = bench.main_models()
        reads = [models / one for one in rule.reads]
        config = make.config_file(rule, models, bench.configs)
        field_: list[Contender] = [
            make.import_torch("import torch", sys.executable),
            make.plain_copy("plain copy", reads, bench.out),
            make.start_ligate(),
            *(make.ligate(title, rule, config, bench.out, flags) for title, flags in make.SWITCHES.items()),
        ]
        if bench.mergekit:
            field_ += [
                make.import_torch("import torch (mergekit)", bench.mergekit),
                make.mergekit(config, bench.out, bench.mergekit),
            ]
        warm(reads)
        keep(bench, name, alternate(field_, bench.repeat), reads)

    return part


def cold_part(bench: Bench) -> None:
    """The same with every input dropped from memory first; on disk at the end means on disk for the copy too."""
    rule = make.RULES[COLD_RULE]
    models = bench.main_models()
    reads = [models / one for one in rule.reads]
    config = make.config_file(rule, models, bench.configs)
    rows = alternate(
        [
            make.start_ligate(),
            make.plain_copy("plain copy", reads, bench.out, cold=True),
            make.ligate("ligate --no-fsync", rule, config, bench.out, ("--no-fsync",), cold=reads),
            make.plain_copy("plain copy with fsync", reads, bench.out, fsync=True, cold=True),
            make.ligate("ligate", rule, config, bench.out, cold=reads),
        ],
        bench.repeat,
    )
    keep(bench, "cold", rows, reads)


def memory_part(bench: Bench) -> None:
    """Peak memory with default settings, where models grow and where one tensor is huge."""
    sizes = {f"{size:g} B": (f"{size:g}b", "--size", str(size)) for size in MEMORY_BILLIONS}
    sizes[f"embedding {EMBEDDING_ROWS // 1000}k x 4096"] = ("embedding", "--embedding", str(EMBEDDING_ROWS))
    for title, arguments in sizes.items():
        models = bench.models(*arguments)
        for name in ("linear", "ties"):
            rule = make.RULES[name]
            config = make.config_file(rule, models, bench.configs)
            rows = alternate([make.start_ligate(), make.ligate("ligate", rule, config, bench.out)], 1)
            keep(bench, f"memory: {name}, {title}", rows, [models / one for one in rule.reads])
        if models != bench.cache / "models" / f"{bench.size:g}b":
            drop_from_memory(models / one for one in make.RULES["ties"].reads)
            shutil.rmtree(models)


def tiny_part(bench: Bench) -> None:
    """Very many very small tensors: the cost of a tensor as such."""
    models = bench.models("tiny", "--tiny", str(TINY_TENSORS))
    for name in ("linear", "ties"):
        rule = make.RULES[name]
        config = make.config_file(rule, models, bench.configs)
        rows = alternate([make.start_ligate(), make.ligate("ligate", rule, config, bench.out)], bench.repeat)
        keep(bench, f"tiny: {name}", rows, [models / one for one in rule.reads])


def rules_part(bench: Bench) -> None:
    """Every other rule once, whole processes, beside mergekit where it has the rule; TIES and a copy with them."""
    models = bench.main_models()
    for rule in (make.RULES["ties"], *make.OTHERS):
        reads = [models / one for one in rule.reads]
        config = make.config_file(rule, models, bench.configs)
        field_ = [make.start_ligate(), make.ligate("ligate", rule, config, bench.out)]
        if bench.mergekit and not rule.ours:
            field_ += [make.import_torch("import torch (mergekit)", bench.mergekit)]
            field_ += [make.mergekit(config, bench.out, bench.mergekit)]
        warm(reads)
        keep(bench, f"rule: {rule.name}", alternate(field_, 1), reads)


def spectral_part(bench: Bench) -> None:
    """Rules that decompose whole matrices: two of usual size, four models; side by side, and one with little memory."""
    for count, switches in ((2, ("--memory", "16GB")), (1, ())):
        models = bench.models(f"matrices-{count}", "--matrices", f"{MATRIX}x{count}")
        for name in make.SPECTRAL:
            rule = make.Rule(name, name, (*make.WEIGHTS, "expert-4"), ours=True)
            config = make.config_file(rule, models, bench.configs)
            rows = alternate([make.start_ligate(), make.ligate("ligate", rule, config, bench.out, switches)], 1)
            keep(bench, f"spectral: {name}, {count}", rows, [models / one for one in rule.reads])


def start_part(bench: Bench) -> None:
    """How long each command takes that does not touch the numbers."""
    models = bench.main_models()
    config = make.config_file(make.RULES["ties"], models, bench.configs)
    begin = (sys.executable, "-m", "ligate")
    commands = {
        "ligate --help": (*begin, "--help"),
        "ligate inspect": (*begin, "inspect", str(models / "base")),
        "ligate check": (*begin, "check", str(config)),
    }
    rows = alternate([Contender(name, command) for name, command in commands.items()], bench.repeat)
    keep(bench, "start", rows, [])


def accuracy_part(bench: Bench) -> None:
    """Share of elements that float64 would have rounded elsewhere; kept entries and elected signs that differ."""
    models = bench.models(f"{ACCURACY_BILLIONS:g}b", "--size", str(ACCURACY_BILLIONS))
    wide = replace(make.RULES["ties"], dtype="float32")
    cases = {
        "linear": make.RULES["linear"],
        "ties": make.RULES["ties"],
        "ties, signs in float32": wide,
        **{f"ties, kept entries of {expert}": replace(wide, experts=(expert,)) for expert in wide.experts},
    }
    found = bench.results["accuracy"] = {title: _compared(bench, models, rule) for title, rule in cases.items()}
    sys.stdout.write(accuracy_summary(found) + "\n")


def _compared(bench: Bench, models: Path, rule: make.Rule) -> Mapping[str, float]:
    """Merge, and let accuracy.py look at the result."""
    config = make.config_file(rule, models, bench.configs)
    shutil.rmtree(bench.out, ignore_errors=True)
    subprocess.run(make.ligate("", rule, config, bench.out).command, check=True, stdout=subprocess.DEVNULL)
    look = [sys.executable, str(make.HERE / "accuracy.py"), rule.name, str(bench.out), "--density", str(make.DENSITY)]
    look += ["--base", str(models / "base"), "--models", *(str(models / expert) for expert in rule.experts)]
    look += ["--weights", *(str(make.WEIGHTS[expert]) for expert in rule.experts)]
    told = subprocess.run(look, check=True, stdout=subprocess.PIPE).stdout
    shutil.rmtree(bench.out)
    return json.loads(told)


PARTS: Mapping[str, Callable[[Bench], None]] = {
    **{name: rule_part(name) for name in make.RULES},
    "rules": rules_part,
    "spectral": spectral_part,
    "cold": cold_part,
    "memory": memory_part,
    "tiny": tiny_part,
    "start": start_part,
    "accuracy": accuracy_part,
}


def keep(bench: Bench, part: str, rows: Mapping[str, Row], reads: Sequence[Path]) -> None:
    """Remember what a part found and print it."""
    read = sum(path.stat().st_size for folder in reads for path in folder.glob("*.safetensors"))
    found = {"read_bytes": read, "rows": [row.as_data() for row in rows.values()]}
    bench.results["parts"][part] = found
    sys.stdout.write(summary(part, found) + "\n")
    sys.stdout.flush()


def machine() -> dict[str, Any]:
    """What the absolute seconds depend on."""
    named = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    total = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "processor": named[0] if named else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": total * 1024,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "blake3")},
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def chosen(text: str | None) -> list[str]:
    """Parts by name; all without a choice."""
    names = list(PARTS) if text is None else [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise BenchmarkError(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PARTS", help="comma-separated")
    parser.add_argument("--size", type=float, default=0.55, help="billion parameters of a checkpoint (0.55)")
    parser.add_argument("--repeat", type=int, default=3, help="alternating runs (3)")
    parser.add_argument("--without-mergekit", action="store_true")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "bench", help="where files go (build/bench)")
    parser.add_argument("--page", type=Path, help="write this page (docs/performance.md after a whole run)")
    given = parser.parse_args()
    try:
        names = chosen(given.only)
        cache = given.cache.absolute()
        cache.mkdir(parents=True, exist_ok=True)
        wanted = not given.without_mergekit and bool(set(names) & {*make.RULES, "rules"})
        python = make.mergekit_python(cache, ROOT / "constraints.txt") if wanted else None
        if wanted and not python:
            sys.stderr.write("mergekit could not be installed: measuring without it\n")
        bench = Bench(cache, given.size, given.repeat, python, {"machine": machine(), "size": given.size, "parts": {}})
        for name in names:
            sys.stderr.write(f"{name}\n")
            PARTS[name](bench)
    except BenchmarkError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    (cache / "results.json").write_text(json.dumps(bench.results, indent=1) + "\n")
    page = given.page or (ROOT / "docs" / "performance.md" if given.only is None else None)
    if page:
        page.write_text(performance_page(bench.results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
