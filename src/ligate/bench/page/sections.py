"""What the page says, section by section; a section without anything to say is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, TypeVar

from ligate.bench import charts, telling
from ligate.bench.conflict import DENSITY, Conflict
from ligate.bench.page import drawings, grid
from ligate.bench.page.grid import Cell, Column
from ligate.bench.statistics import Estimate
from ligate.bench.suite import PRETRAINED, TEST
from ligate.bench.summary import INDIVIDUAL, Line, Summary
from ligate.bench.words import listed, megabytes, seconds

Number = TypeVar("Number", int, float)


def opening(told: Summary) -> Iterator[str]:
    results = told.results
    kinds = {"merge": "merge", "ensemble": "ensemble"}
    counts = [
        f"{number} {word}{'s' if number > 1 else ''}"
        for name, word in kinds.items()
        if (number := len([line for line in told.lines if line.row.group == name]))
    ]
    what = listed(counts) if counts else f"{len(told.lines)} ways to answer"
    tasks = len(results.papers[TEST].sources) if TEST in results.papers else 0
    yield f'<header><p class="label">Ligate bench, {escape(results.tier)}</p><h1>{escape(results.suite)}</h1>'
    yield (
        f'<p class="lead">{what} on <b>{tasks} task{"s" if tasks != 1 else ""}</b> with '
        f"<b>{telling.questions(results, TEST):,} test questions</b>, {telling.seeds(results.seeds)}.</p></header>"
    )
    if not results.ranks:
        yield f'<p class="warning" role="note"><b>No ranking.</b> {escape(telling.MECHANICS)}</p>'
    yield from _steps(told)


def _steps(told: Summary) -> Iterator[str]:
    """The way from the pretrained network to the experts, for suites that can rank."""
    first, metric = told.leader, told.results.metric
    named = {"the pretrained network": PRETRAINED, "plain average of the experts": "average"}
    steps = [(what, told.line(name), "") for what, name in named.items()]
    if first and first.row.id != "average":
        better = "highest" if metric.higher else "lowest"
        lead = "best merge" if told.best else f"{better} of the merges, lead not resolved"
        steps.append((f"{first.row.title}: {lead}", first, "best" if told.best else ""))
    steps.append(("each task asks its own expert", told.line(INDIVIDUAL), ""))
    shown = [(what, line.average, kind) for what, line, kind in steps if line and line.average]
    if told.results.ranks and first and len(shown) > 1:
        unit = f"<small>{escape(metric.unit)}</small>"
        boxes = (
            f'<div class="{kind}"><div class="value">{telling.score(metric, each.mean)}{unit}</div>'
            f'<div class="what">{escape(what)}</div></div>'
            for what, each, kind in shown
        )
        yield f'<div class="steps">{"".join(boxes)}</div>'
        yield f'<p class="note below">Means over the tasks. {escape(" ".join(telling.verdict(told)))}</p>'


def scores(told: Summary) -> Iterator[str]:
    results, metric = told.results, told.results.metric
    names = [task.name for task in results.tasks if any(task.name in line.scores for line in told.lines)]
    columns = [
        *(grid.scores(metric, name, [line.scores.get(name) for line in told.lines]) for name in names),
        grid.estimates(metric, "average", [line.average for line in told.lines], shaded=True),
    ]
    if told.baseline:
        against = f"minus {told.baseline.title.lower()}"
        columns.append(grid.changes(metric, against, [line.against for line in told.lines]))
    yield "<section><h2>Scores</h2>"
    yield (
        f"<p>{escape(telling.heading(metric).capitalize())}. Each column is shaded from its worst "
        '<span class="scale"></span> to its best value. Small numbers are half of a 95 % interval; differences in '
        "brackets are not resolved: their interval holds zero. "
        '<span class="live">A click on a heading sorts.</span></p>'
    )
    yield grid.table(told.lines, columns, lambda line: _name(told, line))
    yield "</section>"


def _name(told: Summary, line: Line) -> str:
    badge = ' <span class="badge">best merge</span>' if line is told.best else ""
    uses = f'<span class="uses">uses {escape(telling.uses(line.row))}</span>'
    notes = "; ".join(filter(None, (line.row.note, telling.partly(told, line))))
    under = f'<span class="under">{escape(notes)}</span>' if notes else ""
    return f"{grid.title(line)}{badge}{uses}{under}"


def differences(told: Summary) -> Iterator[str]:
    metric, baseline = told.results.metric, told.baseline
    shown = [(line.row.title, line.against) for line in told.lines if line.against and line.row.group != "reference"]
    if baseline is None or not shown:
        return
    sign = -1 if metric.higher else 1
    ordered = sorted(((title, each) for title, each in shown if each), key=lambda pair: sign * pair[1].mean)
    yield "<section><h2>Which differences are real</h2>"
    yield (
        "<p>All rows answer the same questions, so differences are taken question by question and seed by seed. A "
        f"whisker covers 95 %; one that reaches zero is grey: not resolved. {telling.CHANCE}</p>"
    )
    yield f'<figure class="wide">{drawings.forest(ordered, metric, baseline.title)}</figure>'
    yield from _pairs(told)
    yield "</section>"


def _pairs(told: Summary) -> Iterator[str]:
    lines, metric = [line for line in told.group("merge") if line.average], told.results.metric
    if len(lines) < 2:
        return
    nothing = Cell("–", None, "diagonal")
    columns = [
        Column(
            other.row.title,
            [
                nothing if one is other else grid.change(metric, told.difference(one.row.id, other.row.id))
                for one in lines
            ],
            low=not metric.higher,
        )
        for other in lines
    ]
    yield f"<h3>Merge against merge: row minus column, {escape(telling.points(metric))}</h3>"
    yield grid.table(lines, columns, grid.title)


def experts(told: Summary) -> Iterator[str]:
    lines = [line for line in told.lines if line.relative and line.row.id != INDIVIDUAL]
    if not lines:
        return
    metric = told.results.metric
    names = [task.name for task in told.results.tasks if any(task.name in line.relative for line in lines)]
    flat = [line.relative.get(name) for line in lines for name in names]
    depths = grid.heat(flat, metric)
    columns = [
        Column(
            name,
            [_share(line.relative.get(name), depths[row * len(names) + at]) for row, line in enumerate(lines)],
            low=not metric.higher,
        )
        for at, name in enumerate(names)
    ]
    means = [line.relative_mean for line in lines]
    columns.append(Column("mean", [_share(each, None, "mean") for each in means], low=not metric.higher))
    columns.append(Column("gap closed", [_share(line.closed, None) for line in lines]))
    better = "" if metric.higher else " More than 100 is worse than the expert."
    yield "<section><h2>Against the experts, task by task</h2>"
    yield (
        "<p>Score as a percentage of what the expert of that task scores. One shading for the whole table, from its "
        f'worst <span class="scale"></span> to its best.{better} Gap closed: how much of the way from the pretrained '
        "network to the experts the average went.</p>"
    )
    yield grid.table(lines, columns, grid.title) + "</section>"


def _share(value: float | None, depth: float | None, kind: str = "") -> Cell:
    return grid.EMPTY if value is None else Cell(f"{100 * value:.1f}", value, kind, depth)


def ensembles(told: Summary) -> Iterator[str]:
    metric, first = told.results.metric, told.leader
    voters = [line for line in told.group("ensemble") if line.scores]
    known = [line for line in told.lines if line.cost and line.average]
    stored = {(line.cost.parameters, line.cost.passes) for line in known if line.cost}
    if not (first and voters) and len(stored) < 2:
        return
    yield "<section><h2>One network or several</h2>"
    if len(stored) > 1:
        yield (
            "<p>What an average costs to use: the parameters to store, and the networks that every input goes through. "
            "Whiskers are 95 % intervals of each row alone; the table of differences tells which rows differ.</p>"
        )
        yield f'<figure class="wide">{drawings.prices(known, metric)}</figure>'
    if first and voters:
        pick = max if metric.higher else min
        best = {
            task: pick(line.scores[task] for line in voters if task in line.scores)
            for task in first.scores
            if any(task in line.scores for line in voters)
        }
        merges = [line for line in told.group("merge") if line.scores]
        side = "Above" if metric.higher else "Below"
        yield '<div class="beside"><div><h3>Merges against the best ensemble of each task</h3>'
        yield (
            f"<p>{side} the diagonal a merge does better than every ensemble here. The best ensemble is picked for "
            "each task with its test score in view, which favours ensembles. Named and large: "
            f"{escape(first.row.title)}{'; the small dots are the other merges' if len(merges) > 1 else ''}. Single "
            "tasks carry no intervals here.</p></div>"
        )
        yield f"<figure>{drawings.duel(best, merges, first, metric)}</figure></div>"
    yield "</section>"


def sweeps(told: Summary) -> Iterator[str]:
    lines = [line for line in told.lines if any(cell.curve for cell in line.row.done)]
    if not lines:
        return
    metric = told.results.metric
    limits = drawings.sweep_limits(lines, metric)
    drawn = sorted({cell.seed for line in lines for cell in line.row.done if cell.curve})
    yield "<section><h2>How the coefficients were chosen</h2>"
    yield (
        f"<p>Every method had the same budget of {told.results.budget} coefficients per seed. Each was merged and "
        f"scored on validation questions, and only the one with the {'highest' if metric.higher else 'lowest'} mean "
        "met the test. One line per seed; the large dot is the choice. A ring marks a choice at the end of its range: "
        f"a better value may lie outside, and the method may be better than it looks.{_cut(lines, told, limits)}</p>"
    )
    yield _legend([f"seed {seed}" for seed in drawn] if len(drawn) > 1 else [])
    yield '<div class="charts">'
    for line in lines:
        yield f'<figure><h3>{grid.title(line)} <span class="note">{escape(telling.chosen(line))}</span></h3>'
        yield drawings.sweep(line, drawn, metric, limits) + "</figure>"
    yield "</div></section>"


def _cut(lines: Sequence[Line], told: Summary, limits: tuple[float, float]) -> str:
    every = [told.results.metric.scale * point.mean for line in lines for cell in line.row.done for point in cell.curve]
    inside = limits[0] <= min(every) and max(every) <= limits[1]
    return "" if inside else " Lines leave the drawing where the score is far worse."


def _legend(names: Sequence[str]) -> str:
    keys = (f'<li><i class="c{number % drawings.COLOURS}"></i>{escape(name)}</li>' for number, name in enumerate(names))
    return f'<ul class="legend">{"".join(keys)}</ul>' if names else ""


def conflicts(told: Summary) -> Iterator[str]:
    found = [Conflict(**each) for each in told.results.drawings.get("conflicts", ())]
    shared = sum(one.shared for one in found)
    if not shared:
        return
    opposed, chance = (
        sum(share * one.shared for share, one in zip(shares, found, strict=True)) / shared
        for shares in ([one.opposed for one in found], [one.chance for one in found])
    )
    colours = {
        "attention": "var(--accent)",
        "feed-forward": "color-mix(in oklab, var(--accent) 45%, var(--paper))",
        "embeddings and others": "var(--faint)",
    }
    keys = (f'<li><i class="block" style="background:{colour}"></i>{part}</li>' for part, colour in colours.items())
    yield "<section><h2>Sign conflict by layer</h2>"
    yield (
        f"<p>Of the {telling.count(shared)} weights that at least two experts count among their largest "
        f"{100 * DENSITY:.0f} % of changes, the share that they push in opposite directions. The marks stand where "
        f"coin flips would put it. In all, {100 * opposed:.1f} % are opposed; coin flips would oppose "
        f"{100 * chance:.1f} %.</p>"
    )
    yield f'<ul class="legend">{"".join(keys)}<li><i></i>coin flips</li></ul>'
    yield f'<figure class="wide">{charts.layers(found)}</figure></section>'


def between(told: Summary) -> Iterator[str]:
    """Losses on the straight line from one network to another."""
    drawn: Mapping[str, Mapping[str, Any]] = told.results.drawings.get("paths", {})
    if not drawn:
        return
    order = list(dict.fromkeys(row for by_row in drawn.values() for row in by_row))
    titles = {line.row.id: line.row.title for line in told.lines}
    yield "<section><h2>From one network to the other</h2>"
    yield (
        "<p>Networks on the straight line between two trained ones. Where the line bulges, the two lie in different "
        "valleys, and their average knows less than either. Thick: mean over seeds; thin: each seed.</p>"
    )
    yield _legend([titles.get(row, row) for row in order])
    yield '<div class="charts">'
    for name, by_row in drawn.items():
        full = {row: by_row.get(row, ()) for row in order}
        pair = "".join(drawings.paths(full, what, name) for what in ("loss", "accuracy"))
        yield f"<figure><h3>{escape(name)}</h3>{pair}</figure>"
    yield "</div></section>"


def further(told: Summary) -> Iterator[str]:
    names = list(dict.fromkeys(name for line in told.lines for name in line.extras))
    lines = [line for line in told.lines if line.extras]
    if names:
        yield "<section><h2>Further numbers</h2><p>Means over seeds; ± is half of a 95 % interval over the seeds.</p>"
        columns = [Column(name, [_extra(line.extras.get(name)) for line in lines]) for name in names]
        yield grid.table(lines, columns, grid.title) + "</section>"


def _extra(found: Estimate | None) -> Cell:
    if found is None:
        return grid.EMPTY
    mean, sign, half = telling.further(found).partition("±")
    return Cell(mean + (f'<span class="half">{sign}{half}</span>' if half else ""), found.mean)


def elsewhere(told: Summary) -> Iterator[str]:
    metric = told.results.metric
    lines = [line for line in told.lines if line.outside or line.robustness]
    if not lines:
        return
    papers = dict.fromkeys(name for line in lines for name in line.robustness)
    columns = [
        grid.estimates(metric, "other tasks", [line.outside for line in lines], shaded=True),
        grid.changes(metric, "against pretrained", [line.forgetting for line in lines]),
        *(grid.changes(metric, f"test to {name}", [line.robustness.get(name) for line in lines]) for name in papers),
    ]
    worse = "Below" if metric.higher else "Above"
    yield "<section><h2>Forgetting and robustness</h2>"
    yield (
        f"<p>Other tasks: those that no network was trained for. {worse} zero against the pretrained network means "
        "forgetting. The further columns are what the average changes when the test questions are disturbed.</p>"
    )
    yield grid.table(lines, columns, grid.title) + "</section>"


def costs(told: Summary) -> Iterator[str]:
    lines = [line for line in told.lines if line.cost or line.chosen]
    if not lines:
        return
    priced = [line.cost for line in lines]
    columns = [
        Column("chosen", [Cell(escape(telling.chosen(line))) for line in lines], words=True),
        _priced("time to merge", [cost.seconds if cost else None for cost in priced], seconds),
        _priced("peak memory", [cost.peak_bytes if cost else None for cost in priced], megabytes),
        _priced("parameters", [cost.parameters if cost else None for cost in priced], telling.count),
        _priced("networks per input", [cost.passes if cost else None for cost in priced], str),
    ]
    starred = any(one.at_edge for line in lines for one in line.chosen)
    edge = " A star marks a choice at the end of its range." if starred else ""
    yield "<section><h2>What it costs</h2>"
    yield (
        "<p>Time is the mean over seeds, memory the most of any seed and of the whole process, libraries included."
        f"{edge}</p>"
    )
    yield grid.table(lines, columns, grid.title) + "</section>"


def _priced(heading: str, values: Sequence[Number | None], tell: Callable[[Number], str]) -> Column:
    return Column(heading, [grid.EMPTY if each is None else Cell(tell(each), each) for each in values], low=True)


def failures(told: Summary) -> Iterator[str]:
    failed = [(line.row.title, failure) for line in told.lines for failure in line.failures]
    if failed:
        yield '<section><h2>What failed</h2><dl class="failures">'
        for title, failure in failed:
            yield f"<dt>{escape(title)}, seed {failure.seed}</dt><dd>{escape(failure.reason)}</dd>"
        yield "</dl></section>"


def facts(told: Summary) -> Iterator[str]:
    results = told.results
    papers = {f"Questions: {name}": _questions(told, name) for name in results.papers}
    intervals = (
        "95 %, Student's, from two parts added up: which questions were drawn (all questions of one source count as "
        "one draw) and, with several seeds, how the networks were trained. With one seed they say nothing about "
        "training."
    )
    yield "<section><h2>What was measured on what</h2><dl>"
    for term, text in {**results.facts, **papers, "Intervals": intervals}.items():
        yield f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>"
    yield (
        f"</dl></section><footer>Measured by <code>ligate bench run {escape(results.suite)} --tier "
        f"{escape(results.tier)}</code> in {seconds(results.seconds)}; digest of the questions "
        f"<code>{escape(results.digest)}</code>.</footer>"
    )


def _questions(told: Summary, paper: str) -> str:
    it = told.results.papers[paper]
    return ": ".join(
        filter(None, (f"{telling.questions(told.results, paper):,} on {listed(list(it.sources))}", it.says))
    )


ALL = (
    opening, scores, differences, experts, ensembles, sweeps, between, further, elsewhere, conflicts, costs, failures,
    facts,
)  # fmt: skip
