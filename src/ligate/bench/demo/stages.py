"""The stages of the demo, told in the terminal as they happen: texts, experts, coefficients, merges, proofs."""

from __future__ import annotations

import json
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ligate.bench.conflict import conflicts
from ligate.bench.demo import screen
from ligate.bench.demo.experts import PRETRAINED, prepare
from ligate.bench.demo.proof import prove
from ligate.bench.demo.report import page
from ligate.bench.demo.results import Results
from ligate.bench.demo.shipped import MERGES
from ligate.bench.demo.study import Study, corpus_in, swept
from ligate.bench.encoder import has_fast_bfloat16, pretrained_folder
from ligate.bench.words import listed, seconds
from ligate.core.errors import StorageError, VerifyError


def play(workdir: Path, model: str | None, seed: int, console: Console) -> int:
    """Every stage in order, told as it happens; the exit code says whether all that was promised held."""
    place = _made(workdir)
    began = time.perf_counter()
    study = _studied(place, model, seed, console)
    results = _measured(study, console, began)
    _written(results, place)
    console.print()
    console.print(screen.scores(results))
    console.print(screen.costs(results))
    console.print(screen.differences(results))
    console.print("A difference of less than two standard errors is [dim]not resolved[/dim] by this test.\n")
    screen.proof(console, results.proof)
    console.print(f"Report   {place / 'report.html'}", soft_wrap=True)
    console.print(f"Recipes  {place / 'recipes'} (run them from {place})", soft_wrap=True)
    console.print(f"Done in {seconds(results.seconds)}.")
    return 0 if results.proof.holds else VerifyError.exit_code


def _made(place: Path) -> Path:
    try:
        for part in ("cache", "models", "recipes", "merged"):
            (place / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(place)) from error
    return place.absolute()


def _studied(place: Path, model: str | None, seed: int, console: Console) -> Study:
    """Texts collected and experts trained, or found from an earlier run."""
    source = pretrained_folder(model)
    with console.status("reading the docstrings of the installed libraries"):
        corpus, found = corpus_in(place)
    libraries = listed([f"{name} {version}" for name, version in corpus.versions.items()])
    console.print(f"[bold]Texts[/bold]     {len(corpus.examples):,} docstrings of {libraries}{_earlier(found)}")
    with _progress(console) as bars:
        tasks: dict[str, TaskID] = {}

        def trained(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(f"training {name}", total=total)
            bars.update(tasks[name], completed=done)

        encoder, heads, made = prepare(source, corpus, place / "models", seed=seed, progress=trained)
    for each in made:
        told = f"{each.texts:,} texts, trained in {seconds(each.seconds)}{_earlier(each.found)}"
        console.print(f"[bold]Expert[/bold]    {each.task}: {told}")
    return Study(place, corpus, encoder, heads, made)


def _measured(study: Study, console: Console, began: float) -> Results:
    """Coefficients on the validation split, merges on disk, scores on the test split, proofs."""
    with _progress(console) as bars:
        sweep = bars.add_task("merging in memory, scoring on validation", total=sum(len(m.grid) for m in swept()))
        curves = {merge.title: study.curve(merge, lambda: bars.advance(sweep)) for merge in swept()}
        steps = bars.add_task("merging on disk, scoring on test", total=len(MERGES) + 1)
        rows = study.references()
        bars.advance(steps)
        for merge in MERGES:
            rows.append(study.merged(merge, curves[merge.title].best if merge.grid else None))
            bars.advance(steps)
    with console.status("sign conflicts, verification, replay"):
        base = study.states[PRETRAINED]
        found = conflicts(base, [study.states[each.task] for each in study.experts])
        best = max(swept(), key=lambda merge: max(curves[merge.title].means))
        proof = prove(study.workdir, best.recipe)
    return Results(
        corpus=study.corpus,
        experts=study.experts,
        rows=rows,
        files_N=study.test.files_N,
        curves=list(curves.values()),
        conflicts=found,
        proof=proof,
        parameters=sum(value.numel() for value in base.values()),
        arithmetic="bfloat16 products" if has_fast_bfloat16() else "float32",
        seconds=time.perf_counter() - began,
    )


def _written(results: Results, place: Path) -> None:
    (place / "report.html").write_text(page(results), encoding="utf-8")
    (place / "results.json").write_text(json.dumps(results.as_data(), indent=1), encoding="utf-8")


def _earlier(found: bool) -> str:
    return " [dim](from an earlier run)[/dim]" if found else ""


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
