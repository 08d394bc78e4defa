"""`ligate lock MODEL OUT`, `ligate lock --unlock | --check | --undo MODEL ...`"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer

from ligate.core.errors import RecipeError

from .options import Json, Memory, Overwrite, Quiet, Threads
from .progress import watcher
from .show import say, say_json, table

if TYPE_CHECKING:
    from ligate.trace.telltale import Signs
    from ligate.verbs.lock import Change, Locked
    from ligate.verbs.lock_signs import Beside, Checked
    from ligate.verbs.lock_undo import Undone
    from ligate.verbs.watch import Watch

Given = TypeVar("Given")


def lock(
    model: Annotated[str, typer.Argument(help="The model: a folder, a Hub id.")],
    out: Annotated[Path | None, typer.Argument(help="The result's folder.")] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the matrices here: the only way to take the lock off.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Lock all units that can be moved, not only the heads of attention.")
    ] = False,
    unlock: Annotated[bool, typer.Option("--unlock", help="Take the lock off MODEL with --key.")] = False,
    changed: Annotated[
        bool, typer.Option("--changed", help="With --unlock: MODEL was trained or rounded since it was locked.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Is MODEL locked? With --reference: beside that model.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="What does somebody get back who has the model of --reference?")
    ] = False,
    reference: Annotated[
        str | None, typer.Option(metavar="BASE", help="The model that MODEL comes from, or a relative.")
    ] = None,
    original: Annotated[
        str | None, typer.Option(metavar="MODEL", help="With --undo: the model before it was locked, to compare with.")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(metavar="ATTACK", help="With --undo: heads, align or both. Repeatable.")
    ] = None,
    groups: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The groups of units, for what cannot be traced: YAML.")
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option("--model", metavar="MODULE:FUNCTION", help="Returns (torch.nn.Module, example inputs)."),
    ] = None,
    run: Annotated[bool, typer.Option(help="Run the network before and after, and compare.")] = True,
    seed: Annotated[int | None, typer.Option(help="For tests only: anybody can try seeds.", min=0)] = None,
    memory: Memory = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Publish a model that computes what it did, but that nobody can merge with others; try how strong that is."""
    if sum((unlock, check, undo)) > 1:
        raise RecipeError("choose one of `--unlock`, `--check` and `--undo`", where="lock")
    given = {"--reference": reference, "--original": original, "--by": by, "--key": key, "--seed": seed, "OUT": out}
    given |= {name: value or None for name, value in {"--all": everything, "--changed": changed}.items()}
    work = _Work(model, groups, architecture, memory, threads, overwrite, quiet, json)
    if check:
        _refuse(given, ("--reference",), "--check")
        _check(work, reference)
    elif undo:
        _refuse(given, ("--reference", "--original", "--by", "OUT"), "--undo")
        _undo(work, _needed(reference, "--reference BASE", "--undo"), out, original, by or ["heads"])
    elif unlock:
        _refuse(given, ("--key", "--changed", "OUT"), "--unlock")
        _unlock(work, _needed(key, "--key FILE", "--unlock"), _needed(out, "OUT", "--unlock"), changed)
    else:
        _refuse(given, ("--key", "--seed", "--all", "OUT"), "")
        _lock(work, _needed(out, "OUT", ""), key, everything, seed, run)


class _Work(NamedTuple):
    """What all four have in common."""

    model: str
    groups: Path | None
    architecture: str | None
    memory: str | None
    threads: int | None
    overwrite: bool
    quiet: bool
    json: bool

    def tell(self, found: object, report: str) -> None:
        if self.json:
            say_json(found)
        elif not self.quiet:
            say(report)

    @property
    def watch(self) -> Watch:
        return watcher(quiet=self.quiet, json=self.json)


def _lock(work: _Work, out: Path, key: Path | None, everything: bool, seed: int | None, run: bool) -> None:
    from ligate.verbs.lock import lock as verb

    found = verb(
        work.model,
        out,
        key=key,
        everything=everything,
        seed=seed,
        groups=work.groups,
        architecture=work.architecture,
        run=run,
        memory=work.memory,
        threads=work.threads,
        overwrite=work.overwrite,
        watch=work.watch,
    )
    work.tell(found, _locked(found))


def _unlock(work: _Work, key: Path, out: Path, changed: bool) -> None:
    from ligate.verbs.lock import unlock as verb

    found = verb(
        work.model,
        key,
        out,
        changed=changed,
        memory=work.memory,
        threads=work.threads,
        overwrite=work.overwrite,
        watch=work.watch,
    )
    work.tell(found, f"{found.out}: {found.tensors} tensors, {found.groups} groups of units are back where they were")


def _check(work: _Work, reference: str | None) -> None:
    from ligate.verbs.lock_signs import check_lock

    found = check_lock(work.model, reference, groups=work.groups, architecture=work.architecture)
    work.tell(found, _signs(found))


def _undo(work: _Work, reference: str, out: Path | None, original: str | None, by: Sequence[str]) -> None:
    from ligate.verbs.lock_undo import undo_lock

    found = undo_lock(
        work.model,
        reference,
        out,
        by=by,
        original=original,
        groups=work.groups,
        architecture=work.architecture,
        memory=work.memory,
        threads=work.threads,
        overwrite=work.overwrite,
        watch=work.watch,
    )
    work.tell(found, _attacked(found))


def _refuse(given: Mapping[str, object], allowed: Sequence[str], option: str) -> None:
    for name, value in given.items():
        if value is not None and name not in allowed:
            where = f"`lock {option}`" if option else "`lock` alone"
            hint = f"it takes {', '.join(allowed)}."
            raise RecipeError(f"{where} takes no {name}", where="lock", hint=hint)


def _needed(value: Given | None, name: str, option: str) -> Given:
    if value is None:
        raise RecipeError(f"{name} is missing", where=f"lock {option}".strip(), hint="see `ligate lock --help`.")
    return value


def _locked(found: Locked) -> str:
    kinds = Counter((line.kind, line.units) for line in found.groups)
    copies = {pair: sum(line.copies for line in found.groups if (line.kind, line.units) == pair) for pair in kinds}
    rows = [(kind, units, count, copies[kind, units]) for (kind, units), count in kinds.items()]
    lines = [table(("kind", "units", "groups", "copies"), rows, " rrr")]
    if found.change is not None:
        lines += _changed(found.change)
    lines.append(f"key: {found.key}" if found.key else "no key is kept")
    return "\n".join([*lines, f"{found.out}: {found.tensors} tensors, {found.heads} heads locked"])


def _changed(change: Change) -> list[str]:
    """All as shares of the largest output, on random inputs."""
    told = [f"outputs moved by {change.stored:.1e} of the largest, as stored ({change.dtype})"]
    if change.dtype != "bfloat16":
        told.append(
            f"in bfloat16 by {change.bfloat16:.1e}; rounding the unlocked model moves them by {change.alone:.1e}"
        )
    return told


def _signs(found: Checked) -> str:
    rows = [(one.kind, one.heads, _number(one.stretch), f"{one.beyond:.0%}", _verdict(one)) for one in found.signs]
    lines = [table(("kind", "heads", "stretch", "beyond ordinary", "alone it looks"), rows, " rrr")] if rows else []
    lines += [] if found.beside is None else _beside(found.beside)
    lines += [f"note: {text}" for text in found.notes]
    told = "locked" if found.locked else "no lock was recognised"
    return "\n".join([*lines, f"{found.model}: {told}"])


def _verdict(one: Signs) -> str:
    known = one.verdict in ("locked", "ordinary")
    return f"{one.verdict} ({one.sure:.0%} sure)" if known else one.verdict


def _beside(one: Beside) -> list[str]:
    told = [
        f"beside {one.reference} ({one.heads} heads): weights {one.weights:.3g} away, what they compute "
        f"{one.function:.3g} away; {one.locked:.0%} of the heads are locked: {one.relation}"
    ]
    if one.before is not None or one.after is not None:
        cosine = f"{_number(one.before)} before, {_number(one.after)} after"
        told.append(f"units matched all over the network: cosine of the matrices {cosine}")
    return told


def _attacked(found: Undone) -> str:
    rows = [("as it is", _number(found.locked), "", "")]
    rows += [(one.by, _number(one.distance), _number(one.cosine), _number(one.error)) for one in found.attacks]
    if found.original is not None:
        rows.append(("the original", _number(found.original), "1", "0"))
    headings = ("undone by", f"distance from {found.reference}", "cosine of task vectors", "error")
    lines = [table(headings, rows, " rrr")]
    if found.out is not None:
        lines.append(f"{found.out}: the model as the last attack left it")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
