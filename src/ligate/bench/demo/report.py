"""The report: one HTML file that needs nothing else, for screens, dark or light, and for paper."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from ligate.bench import charts
from ligate.bench.conflict import DENSITY
from ligate.bench.demo.exam import Difference
from ligate.bench.demo.proof import Proof, Shown
from ligate.bench.demo.results import AVERAGE, Results
from ligate.bench.demo.study import Row
from ligate.bench.demo.tasks import TASKS
from ligate.bench.train import EPOCHS
from ligate.bench.words import listed, megabytes, percent, points, seconds

_NAMES = [task.name for task in TASKS]


def page(results: Results) -> str:
    """The whole document."""
    sections = (_opening, _table, _differences, _curves, _conflicts, _proofs, _method)
    body = "\n".join(part for section in sections for part in section(results))
    style = files("ligate.bench.demo").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Ligate demo: three experts, one network</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _opening(results: Results) -> Iterator[str]:
    before, average, own = (results.row(title) for title in ("pretrained", AVERAGE, "own expert"))
    best = results.best
    yield '<header><p class="label">Ligate demo</p><h1>Three experts, one network</h1>'
    yield (
        '<p class="lead">One pretrained text encoder was fine-tuned three times: to tell the <b>library</b> that a '
        "docstring comes from, its <b>topic</b>, and the <b>kind</b> of thing it describes. Merging puts the three "
        "back into a single network of the same size, without training.</p></header>"
    )
    yield '<div class="steps">'
    yield _step(before, "the pretrained network")
    yield _step(average, "one network: plain average of the experts")
    yield _step(best, f"one network: {best.title}, {best.coefficient}", "best")
    yield _step(own, "three networks: each task asks its own expert")
    yield "</div>"
    gained = (best.mean - before.mean) / (own.mean - before.mean) if own.mean > before.mean else 0.0
    equals = results.ties_with_best()
    yield (
        f'<p class="note below">Mean accuracy over the three tasks, on {results.texts["test"]:,} texts from source '
        f"files that no expert has seen. {escape(best.title)} did best on the validation split; on the test split it "
        f"covers {100 * gained:.0f} % of the way from the pretrained network to the three experts."
        + (f" Its differences to {escape(listed(equals))} are not resolved." if equals else "")
        + "</p>"
    )


def _step(row: Row, what: str, kind: str = "") -> str:
    value = f'<div class="value">{percent(row.mean)}<small>%</small></div>'
    return f'<div class="{kind}">{value}<div class="what">{escape(what)}</div></div>'


def _table(results: Results) -> Iterator[str]:
    yield "<section><h2>What each network knows</h2>"
    yield (
        "<p>Accuracy in percent. Each column has its own shading, from its lowest to its highest value: "
        '<span class="scale"></span>. Frames mark an expert on its own task.</p>'
    )
    yield '<div class="wide"><table><thead><tr><th>network</th>'
    yield "".join(f'<th class="number">{escape(name)}</th>' for name in (*_NAMES, "mean"))
    yield '<th>chosen</th><th class="number">merging</th><th class="number">peak memory</th></tr></thead><tbody>'
    columns = [[*row.scores, row.mean] for row in results.rows]
    lows, highs = ([limit(column) for column in zip(*columns, strict=True)] for limit in (min, max))
    group = results.rows[0].group
    for row, values in zip(results.rows, columns, strict=True):
        yield '<tr class="first">' if row.group != group else "<tr>"
        group = row.group
        yield f'<td>{escape(row.title)}<span class="under">{escape(row.note)}</span></td>'
        yield "".join(_cell(row, *each) for each in enumerate(zip(values, lows, highs, strict=True)))
        yield f"<td>{escape(row.coefficient)}</td>" + _cost(row) + "</tr>"
    yield "</tbody></table></div>"
    yield (
        '<p class="note below">Merging: reading, computing, checking, hashing and writing, without the start of '
        "Python. Peak memory: of the whole process, its libraries included.</p></section>"
    )


def _cell(row: Row, number: int, value: tuple[float, float, float]) -> str:
    share, low, high = value
    depth = (share - low) / (high - low) if high > low else 0.0
    own = row.group == "experts" and number < len(_NAMES) and row.title == _NAMES[number]
    kinds = " ".join(filter(None, ("heat", "own" if own else "", "mean" if number == len(_NAMES) else "")))
    return f'<td class="{kinds}" style="--v:{0.92 * depth:.3f}">{percent(share)}</td>'


def _cost(row: Row) -> str:
    if row.merged is None:
        return "<td></td><td></td>"
    told = (seconds(row.merged.seconds), megabytes(row.merged.peak_bytes))
    return "".join(f'<td class="number">{text}</td>' for text in told)


def _differences(results: Results) -> Iterator[str]:
    yield "<section><h2>Which differences are real</h2>"
    yield (
        "<p>Dots are differences of the mean accuracy, whiskers two standard errors to each side. All networks answer "
        "the same questions, so the errors are paired, and texts of one source file count as one draw. A whisker that "
        "reaches zero is grey: this test does not resolve that difference.</p>"
    )
    others = [row.title for row in results.rows if row.title != AVERAGE and row.group != "experts"] + ["ensemble"]
    shown = sorted(((title, results.difference(title, AVERAGE)) for title in others), key=lambda pair: -pair[1].points)
    yield f'<figure class="wide">{charts.forest(shown, "the plain average")}</figure>'
    titles = [row.title for row in results.merges]
    yield '<div class="wide" style="margin-top:18px"><table><thead><tr><th>row minus column, points</th>'
    yield "".join(f'<th class="number">{escape(title)}</th>' for title in titles) + "</tr></thead><tbody>"
    for one in titles:
        cells = "".join(_pair(None if one == other else results.difference(one, other)) for other in titles)
        yield f"<tr><td>{escape(one)}</td>{cells}</tr>"
    yield "</tbody></table></div></section>"


def _pair(difference: Difference | None) -> str:
    if difference is None:
        return '<td class="diagonal">–</td>'
    under = "" if difference.resolved else '<span class="under">not resolved</span>'
    return f'<td class="number{"" if difference.resolved else " open"}">{points(difference)}{under}</td>'


def _curves(results: Results) -> Iterator[str]:
    yield "<section><h2>How the coefficients were chosen</h2>"
    yield (
        f"<p>Every method but the plain average has a coefficient. Each value on the axis was merged and scored on the "
        f"{results.texts['validation']:,} texts of the validation split; the value with the highest mean went into the "
        f"recipe, and only that merge met the test split.</p>"
    )
    yield '<ul class="legend"><li><i style="border-color:var(--ink)"></i>mean</li>'
    yield "".join(f'<li><i style="border-color:var(--{name})"></i>{name}</li>' for name in _NAMES) + "</ul>"
    every = [100 * share for curve in results.curves for scores in curve.scores for share in scores]
    low, high = 10 * (min(every) // 10), 10 * -(-max(every) // 10)
    yield '<div class="charts">'
    for curve in results.curves:
        note = f' <span class="note">{escape(curve.note)}</span>' if curve.note else ""
        yield f"<figure><h3>{escape(curve.title)}{note}</h3>{charts.curve(curve, _NAMES, low, high)}</figure>"
    yield "</div>"
    edges = [curve.title for curve in results.curves if curve.at_edge]
    if edges:
        yield f'<p class="note">At the end of its grid, so a better value may lie outside: {escape(listed(edges))}.</p>'
    yield "</section>"


def _conflicts(results: Results) -> Iterator[str]:
    shared = sum(one.shared for one in results.conflicts)
    opposed = sum(one.opposed * one.shared for one in results.conflicts) / shared
    chance = sum(one.chance * one.shared for one in results.conflicts) / shared
    yield "<section><h2>Sign conflict by layer</h2>"
    yield (
        f"<p>Of the weights that at least two experts count among their largest {100 * DENSITY:.0f} % of changes "
        f"({shared / 1e6:.1f} of {results.parameters / 1e6:.1f} million), the share they push in opposite directions. "
        f"The marks stand where coin flips would. In all, {100 * opposed:.1f} % are opposed where chance would oppose "
        f"{100 * chance:.1f} %: {_verdict(opposed, chance)}</p>"
    )
    colours = {
        "attention": "var(--accent)",
        "feed-forward": "color-mix(in oklab, var(--accent) 45%, var(--paper))",
        "embeddings": "var(--faint)",
    }
    keys = (f'<li><i class="block" style="background:{colour}"></i>{part}</li>' for part, colour in colours.items())
    yield f'<ul class="legend">{"".join(keys)}<li><i style="border-color:var(--ink)"></i>coin flips</li></ul>'
    yield f'<figure class="wide">{charts.layers(results.conflicts)}</figure></section>'


def _verdict(opposed: float, chance: float) -> str:
    if abs(opposed - chance) < 0.05:
        return "the experts were trained apart, and their changes are all but unrelated."
    if opposed < chance:
        return "the experts often want the same."
    return "the experts want different things more often than chance would have it."


def _proofs(results: Results) -> Iterator[str]:
    proof = results.proof
    same = f"{proof.same_files} of {proof.files} files are the same, byte for byte."
    yield "<section><h2>What the record proves</h2>"
    yield f"<p>Shown on the merge by {escape(results.best.title)}, with the commands that anyone can type.</p>"
    yield _transcript("The result is what its record says", proof.verified.code == 0, proof.verified)
    yield _transcript("Made again from the record", proof.same_files == proof.files, proof.replayed, same)
    yield _transcript("One bit of a copy was flipped, and it shows", proof.damaged.code != 0, proof.damaged)
    yield from _refusal(proof)
    yield "</section>"


def _transcript(title: str, holds: bool, shown: Shown, after: str = "") -> str:
    mark = '<span class="mark">✓</span>' if holds else '<span class="mark failed">✗</span>'
    return f'<div class="proof"><h3>{mark}{escape(title)}</h3>{_terminal(shown, after)}</div>'


def _terminal(shown: Shown, after: str = "") -> str:
    told = "\n".join(filter(None, (escape(shown.output), escape(after))))
    return f'<pre><span class="typed">$ {escape(shown.command)}</span>\n{told}</pre>'


def _refusal(proof: Proof) -> Iterator[str]:
    lines = proof.wrong_recipe.rstrip().splitlines()
    told = {number for number in range(1, len(lines) + 1) if f".yaml:{number}:" in proof.refused.output}
    mark = '<span class="mark">✓</span>' if proof.refused.code else '<span class="mark failed">✗</span>'
    yield f'<div class="proof"><h3>{mark}A wrong recipe is refused before a tensor is read</h3>'
    yield '<div class="pair"><pre>'
    yield "\n".join(_numbered(number, line, number in told) for number, line in enumerate(lines, 1))
    yield f"</pre>{_terminal(proof.refused)}</div></div>"


def _numbered(number: int, line: str, wrong: bool) -> str:
    text = f"<mark>{escape(line)}</mark>" if wrong else escape(line)
    return f'<span class="line">{number}</span>{text}'


def _method(results: Results) -> Iterator[str]:
    versions = listed([f"{name} {version}" for name, version in results.corpus.versions.items()])
    counts = results.texts
    trained = listed([f"{each.task} {seconds(each.seconds)}" for each in results.experts])
    facts = {
        "Texts": f"{sum(counts.values()):,} docstrings of {versions}. Names of the libraries are blanked, texts that "
        "repeat a template are left out.",
        "Split": f"By source file, the same for all tasks: {counts['train']:,} texts to train, "
        f"{counts['validation']:,} to choose coefficients, {counts['test']:,} to test.",
        "Tasks": "; ".join(f"{task.name}: {len(task.classes)} classes" for task in TASKS) + ".",
        "Heads": "Frozen: the pretrained network's embedding of a phrase for each class; logits are 20 x cosine.",
        "Training": f"All weights of the encoder, {EPOCHS} epochs over {results.experts[0].texts:,} texts per expert, "
        f"{results.arithmetic} ({trained}).",
        "Limits": "One seed, one small network, a small test split: this shows what merging does and ranks no methods.",
    }
    yield "<section><h2>How it was measured</h2><dl>"
    yield "".join(f"<dt>{term}</dt><dd>{escape(text)}</dd>" for term, text in facts.items())
    yield (
        f"</dl></section><footer>Everything on this page was measured by <code>ligate demo</code> in "
        f"{seconds(results.seconds)}. The recipes lie in <code>recipes/</code> beside it, the numbers in "
        f"<code>results.json</code>.</footer>"
    )
