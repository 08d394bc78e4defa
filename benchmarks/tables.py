"""What was measured, as text for the terminal and as the page docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

DATA_PATH = "ligate --no-hash --no-fsync"
_COUNTS = ("undecided", "beyond_one_ulp", "moved_apart", "sign_apart")


class Bar(NamedTuple):
    """A promise with a number: `value` is what this run found for it."""

    promise: str
    limit: float
    value: float
    at_least: bool = False
    unit: str = ""

    @property
    def holds(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def summary(part: str, found: Mapping[str, Any]) -> str:
    """One part: every contender's time, what of it is work, its peak memory and how it compares with the copy."""
    rows = {row["name"]: row for row in found["rows"]}
    copy = rows.get("plain copy")
    cells = [
        (
            name,
            f"{row['seconds']:.2f} s" + ("" if row["startup"] else " (all)"),
            f"{row['wall']:.2f} s",
            _gigabytes(row["peak_bytes"]),
            f"{row['seconds'] / copy['seconds']:.2f} x" if copy and row["startup"] else "",
        )
        for name, row in rows.items()
    ]
    return f"\n{part}\n" + _aligned(("", "work", "wall", "peak memory", "of a copy"), cells)


def accuracy_summary(found: Mapping[str, Any]) -> str:
    """What the comparison with float64 counted."""
    cells = [
        (name, f"{told['elements']:,}", f"{told['share_differing']:.4%}", *(f"{told[count]:,}" for count in _COUNTS))
        for name, told in found.items()
    ]
    return "\naccuracy\n" + _aligned(
        ("", "elements", "differ", "undecided", "beyond 1 ulp", "kept apart", "sign apart"), cells
    )


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """First column to the left, the numbers to the right."""
    table = (head, *rows)
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    lines = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in table]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *line[1:]]) for row, line in zip(table, lines, strict=True))


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"


def bars(results: Mapping[str, Any]) -> Iterator[Bar]:
    """The promises that this run can judge."""
    parts: Mapping[str, Any] = results["parts"]
    work = {part: {row["name"]: row["seconds"] for row in found["rows"]} for part, found in parts.items()}
    yield from _rule_bars(work, parts)
    for title, times in work.items():
        if title.startswith("spectral: ") and title.endswith(", 2"):
            name = title.removeprefix("spectral: ").removesuffix(", 2")
            yield Bar(
                f"{name}: per matrix of 4096 x 11008, four models, two at once", 60.0, times["ligate"] / 2, unit=" s"
            )
    if "cold" in work:
        cold = work["cold"]
        yield Bar("cold inputs: linear against a copy, neither waits for the disk", 1.3, _ratio(cold, ""), unit=" x")
        yield Bar("cold inputs: linear against a copy, both with fsync", 1.3, _ratio(cold, "fsync"), unit=" x")
    for part, found in parts.items():
        if part.startswith("memory: "):
            peak = max(row["peak_bytes"] for row in found["rows"] if row["name"] == "ligate")
            yield Bar(f"peak {part}", 1.0, peak / 1e9, unit=" GB")
        if part.startswith("tiny: "):
            rule = part.removeprefix("tiny: ")
            yield Bar(f"20,000 tensors of 256 numbers x 3 models, {rule}", 10.0, _whole(found), unit=" s")
    for command, limit in (("ligate --help", 0.5), ("ligate check", 2.0)):
        if command in work.get("start", {}):
            yield Bar(f"`{command}`", limit, work["start"][command], unit=" s")
    yield from _accuracy_bars(results.get("accuracy", {}))


def _accuracy_bars(found: Mapping[str, Any]) -> Iterator[Bar]:
    for rule, limit in (("linear", 0.01), ("ties", 0.05)):
        if rule in found:
            share = 100 * found[rule]["share_differing"]
            yield Bar(f"{rule}: bf16 elements that differ from float64 rounded once", limit, share, unit=" %")
    kept = [told["moved_apart"] for name, told in found.items() if "kept" in name]
    if kept:
        yield Bar("ties: entries kept that float64 drops, or the other way round", 0, sum(kept))
        yield Bar("ties: elected signs that differ", 0, found["ties, signs in float32"]["sign_apart"])


def _whole(found: Mapping[str, Any]) -> float:
    """Seconds of Ligate's whole process; only torch's start-up, where it loads torch, is taken off."""
    rows = {row["name"]: row for row in found["rows"]}
    return rows["ligate"]["wall"] if "start of ligate" in rows else rows["ligate"]["seconds"]


def _rule_bars(work: Mapping[str, Mapping[str, float]], parts: Mapping[str, Any]) -> Iterator[Bar]:
    for rule, limit in (("linear", 2.0), ("ties", 8.0)):
        if rule in work:
            walls = {row["name"]: row["wall"] for row in parts[rule]["rows"]}
            ratio = (walls[DATA_PATH] - walls["import torch"]) / work[rule]["plain copy"]
            yield Bar(f"{rule}: data path (`--no-hash --no-fsync`) against a plain copy", limit, ratio, unit=" x")
    for rule, limit in (("linear", 3.0), ("ties", 12.0)):
        if "mergekit" in work.get(rule, {}):
            ratio = work[rule]["mergekit"] / _whole(parts[rule])
            yield Bar(f"{rule}: how many times faster than mergekit, everything on", limit, ratio, True, " x")


def _ratio(cold: Mapping[str, float], fsync: str) -> float:
    if fsync:
        return cold["ligate"] / cold["plain copy with fsync"]
    return cold["ligate --no-fsync"] / cold["plain copy"]


def performance_page(results: Mapping[str, Any]) -> str:
    """The page that `make bench` writes."""
    parts: Mapping[str, Any] = results["parts"]
    rules = [part for part in parts if any(row["name"] == DATA_PATH for row in parts[part]["rows"])]
    sections = [
        "# Performance",
        "",
        f"Written by `make bench`. Checkpoints of {results['size']:g} billion bf16 parameters; every number is a",
        "median of runs that alternate between the contenders, with the inputs in memory unless said otherwise. Ratios",
        "carry over to other machines better than seconds do.",
        "",
        "Work is the wall time of a process less its start-up, measured in the same run. Start-up is `import torch`",
        "for mergekit and for those of Ligate's rules that load torch. Of those that do not load it, the import of",
        "Ligate is taken off beside the copy, and nothing at all beside mergekit. Only the promises on the data path",
        "take `import torch` off either way, as they were given before there were rules without it: below 0 means that",
        "the whole merge took less time than that.",
        "",
        "## Promises",
        "",
        "| promise | bar | measured | holds |",
        "|---|---|---|---|",
        *map(_bar_line, bars(results)),
        "",
        *_undecided(results.get("accuracy", {})),
        "## Rules",
        "",
        "Against a plain copy: read every input once and write one output with `preadv` and `pwrite`, two threads.",
        "",
        "| rule | bytes read | plain copy | data path | everything on | Ligate | mergekit | mergekit / Ligate |",
        "|---|---|---|---|---|---|---|---|",
        *(_rule_line(part, parts[part]) for part in rules),
        "",
        "Data path: `--no-hash --no-fsync`. Everything on: digests of inputs and output, checks for NaN and infinity,",
        "fsync. Both as multiples of the plain copy. The columns with names are seconds of whole processes as above.",
        "",
        *_every_rule(parts),
        *_matrices(parts),
        "## What the promises cost",
        "",
        "Seconds that each adds when the other is off.",
        "",
        "| rule | hashing | fsync | peak memory | mergekit's |",
        "|---|---|---|---|---|",
        *(_cost_line(part, parts[part]) for part in rules),
        "",
        *_context(results),
    ]
    return "\n".join(sections)


def _bar_line(bar: Bar) -> str:
    sign = "at least" if bar.at_least else "at most"
    held = "yes" if bar.holds else "**no**"
    value = "below 0.001" if 0 < bar.value < 0.001 else f"{bar.value:.3g}" if bar.value >= 0 else "below 0"
    return f"| {bar.promise} | {sign} {bar.limit:g}{bar.unit} | {value}{bar.unit} | {held} |"


def _undecided(found: Mapping[str, Any]) -> list[str]:
    if not found:
        return []
    shares = ", ".join(
        f"{rule} {found[rule]['undecided'] / found[rule]['elements']:.2%}" for rule in ("linear", "ties")
    )
    return [
        "With the weights 0.5, 0.3 and 0.2 some elements lie half-way between two bf16 numbers, or their vote on the",
        f"sign is tied, but for the error of float64 itself ({shares}). There it is no reference, and they are",
        "not compared.",
        "",
    ]


def _rule_line(part: str, found: Mapping[str, Any]) -> str:
    work = {row["name"]: row["seconds"] for row in found["rows"]}
    copy, ours, theirs = work["plain copy"], work["ligate"], work.get("mergekit")
    whole = _whole(found)
    other = f"{whole:.2f} s | {theirs:.2f} s | {theirs / whole:.1f} x" if theirs else f"{whole:.2f} s | - | -"
    read = _gigabytes(found["read_bytes"])
    return f"| {part} | {read} | {copy:.2f} s | {work[DATA_PATH] / copy:.2f} x | {ours / copy:.2f} x | {other} |"


def _cost_line(part: str, found: Mapping[str, Any]) -> str:
    rows = {row["name"]: row for row in found["rows"]}
    bare = rows[DATA_PATH]["seconds"]
    hashing = rows["ligate --no-fsync"]["seconds"] - bare
    fsync = rows["ligate --no-hash"]["seconds"] - bare
    theirs = _gigabytes(rows["mergekit"]["peak_bytes"]) if "mergekit" in rows else "-"
    return f"| {part} | {hashing:+.2f} s | {fsync:+.2f} s | {_gigabytes(rows['ligate']['peak_bytes'])} | {theirs} |"


def _every_rule(parts: Mapping[str, Any]) -> list[str]:
    """All other rules, whole processes."""
    found = {title.removeprefix("rule: "): told for title, told in parts.items() if title.startswith("rule: ")}
    if not found:
        return []
    ties = _row(found["ties"], "ligate")["wall"]
    return [
        "## Every other rule",
        "",
        "Whole processes, once each, everything on; the same configuration for both programs, or Ligate's defaults",
        "where mergekit lacks the rule. Arcee Fusion, DELLA and WIDEN work on rows, all others on single numbers.",
        "",
        "| rule | Ligate | of TIES | mergekit | mergekit / Ligate | peak memory | mergekit's |",
        "|---|---|---|---|---|---|---|",
        *(_whole_line(name, told, ties) for name, told in found.items()),
        "",
    ]


def _matrices(parts: Mapping[str, Any]) -> list[str]:
    """Rules that decompose them."""
    names = [title.removeprefix("spectral: ").removesuffix(", 2") for title in parts if title.endswith(", 2")]
    if not names:
        return []
    return [
        "## Whole matrices",
        "",
        "Four models, matrices of 4096 x 11008, everything on. With the memory for it (`--memory 16GB`) each core",
        "merges a matrix; else one matrix at a time, whose independent pieces are done side by side.",
        "",
        "| rule | two at once: seconds per matrix | peak memory | one alone | peak memory |",
        "|---|---|---|---|---|",
        *(_matrix_line(name, parts) for name in names),
        "",
    ]


def _matrix_line(name: str, parts: Mapping[str, Any]) -> str:
    two, one = (_row(parts[f"spectral: {name}, {count}"], "ligate") for count in (2, 1))
    cells = [f"{two['seconds'] / 2:.0f} s", _gigabytes(two["peak_bytes"]), f"{one['seconds']:.0f} s"]
    return f"| {name} | {' | '.join([*cells, _gigabytes(one['peak_bytes'])])} |"


def _whole_line(name: str, found: Mapping[str, Any], ties: float) -> str:
    ours = _row(found, "ligate")
    theirs = _row(found, "mergekit")
    other = f"{theirs['wall']:.1f} s | {theirs['wall'] / ours['wall']:.1f} x" if theirs else "- | -"
    peaks = f"{_gigabytes(ours['peak_bytes'])} | {_gigabytes(theirs['peak_bytes']) if theirs else '-'}"
    return f"| {name} | {ours['wall']:.1f} s | {ours['wall'] / ties:.2f} x | {other} | {peaks} |"


def _row(found: Mapping[str, Any], name: str) -> Any:
    return next((row for row in found["rows"] if row["name"] == name), None)


def _context(results: Mapping[str, Any]) -> list[str]:
    machine = results["machine"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "numpy", "blake3"))
    return [
        "## Where",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {_gigabytes(machine['memory_bytes'])} of memory;",
        f"{versions}.",
        "",
    ]
