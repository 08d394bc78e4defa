"""An analysis of two networks as one HTML file that needs nothing else: for screens, light or dark, and for paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from ligate.align.analysis.layer import Layer, Said

from . import drawings
from .pixels import picture
from .result import TITLES, Analysis

# The page says itself that it may fetch nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_READING = {
    "matched": "Mean correlation of units that are matched one to one so that the sum is largest. 1: the same units in "
    "another order. What is high here, a permutation can align.",
    "greedy": "The same where each unit of the first network takes the best of the second, whoever else took it. Well "
    "above matched: one network has several units for what is one in the other.",
    "shared clusters": "Share of all units in clusters to which both networks give alike: the one that gives the "
    "smaller share of its units gives at least half the other's. Near 0 for unrelated networks with redundant units; "
    "where units have nothing in common within a network either, noise makes the clusters.",
    "CKA": "Linear centred kernel alignment: how alike the similarities between inputs are. Blind to rotations of the "
    "units; units and directions with a large variance rule it. Too high for few inputs.",
    "debiased CKA": "The same from unbiased estimates: about 0 for unrelated networks, whatever the number of inputs.",
    "SVCCA": "Mean canonical correlation of the directions with 99 % of the variance: which subspaces are shared, "
    "whatever the sizes of their directions. 1 for anything once there are more directions than inputs.",
    "PWCCA": "The same, weighted by how much of the first network each direction accounts for.",
    "Procrustes": "Squared distance after the best rotation, from 0 (the same) to 2.",
    "chance": "The same index when the inputs of the second network are given to those of the first by lot. What is "
    "not above it says nothing. Broken lines, and small numbers in the table.",
}


def page(found: Analysis) -> str:
    """The whole document."""
    body = "\n".join(part for section in _SECTIONS for part in section(found))
    style = files("ligate.verbs.similarity").joinpath("page.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Ligate align: {escape(found.a)} and {escape(found.b)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _opening(found: Analysis) -> Iterator[str]:
    yield f'<header><p class="label">Ligate align</p><h1>{escape(found.a)} and {escape(found.b)}, unit by unit</h1>'
    count = len(_alive(found))
    matched = found.mean("matched")
    told = f", matched units correlate by <b>{matched.value:.2f}</b> on average" if matched and matched.value else ""
    layers = f"{count} layer{'s' if count != 1 else ''}"
    yield f'<p class="lead">In <b>{layers}</b>, on {escape(found.inputs)}{told}.</p></header>'


def _over_layers(found: Analysis) -> Iterator[str]:
    if not _alive(found):
        return
    yield "<section><h2>Layer by layer</h2>"
    yield (
        "<p>Lines are the two networks as they are, broken lines of the same colour what unrelated networks with "
        "these activations would get.</p>"
    )
    yield f'<figure class="wide">{drawings.over_layers(found.layers)}</figure>'
    yield '<div class="wide"><table><thead><tr><th>layer</th><th class="number">units</th>'
    yield "".join(f'<th class="number">{escape(title)}</th>' for title in TITLES.values())
    yield "</tr></thead><tbody>"
    yield from (_row(layer, number) for number, layer in enumerate(_alive(found), 1))
    yield "</tbody></table></div></section>"


def _row(layer: Layer, number: int) -> str:
    units = " and ".join(dict.fromkeys(f"{each.units}" for each in (layer.a, layer.b)))
    dead = layer.a.dead + layer.b.dead
    under = f'<span class="under">{layer.a.dead} and {layer.b.dead} dead</span>' if dead else ""
    cells = "".join(_cell(layer.indices[key], key) for key in TITLES)
    name = f'<th scope="row">{number}. <code>{escape(layer.name)}</code></th>'
    return f'<tr>{name}<td class="number">{units}{under}</td>{cells}</tr>'


def _cell(said: Said, key: str) -> str:
    if said.value is None:
        return '<td class="number">–</td>'
    depth = 1 - said.value / 2 if key == "procrustes" else said.value
    by_lot = f'<span class="under">{said.chance.mean:.3f}</span>' if said.chance else ""
    return f'<td class="number heat" style="--v:{0.92 * max(0.0, depth):.3f}">{said.value:.3f}{by_lot}</td>'


def _curves(found: Analysis) -> Iterator[str]:
    yield from _charts(
        "One to one",
        "Units of both networks matched by their correlations. Where the two lines part, units of the one network "
        "compete for the same unit of the other.",
        [("c0", "one to one"), ("c1", "greedily"), ("chance", "one to one, unrelated networks")],
        [(layer.name, drawings.curves(layer)) for layer in _alive(found)],
    )


def _heats(found: Analysis) -> Iterator[str]:
    yield from _charts(
        "Correlations before and after matching",
        "A row for each unit of the first network, a column for each of the second (of wide layers evenly chosen "
        "ones); blue is positive, orange negative. After matching, what corresponds lies on the diagonal, the best "
        "first.",
        [],
        [(layer.name, _pair(layer)) for layer in _alive(found)],
    )


def _pair(layer: Layer) -> str:
    pictures = (("before", layer.heat.before), ("after", layer.heat.after))
    return '<div class="pair">' + "".join(_picture(*each, layer.name) for each in pictures) + "</div>"


def _picture(when: str, percent: Sequence[Sequence[int]], name: str) -> str:
    told = f"Correlations of the units of {name} {when} matching"
    return f'<figure><img src="{picture(percent)}" alt="{escape(told)}"><figcaption>{when}</figcaption></figure>'


def _sparse(found: Analysis) -> Iterator[str]:
    yield from _charts(
        "One from several",
        "A unit of the second network, predicted from as few units of the first as a penalty allows; the error is the "
        "share of its variance that is left, 1 is what the mean alone would do. A low error with one unit: the same "
        "unit. Only with several: the same subspace in other directions.",
        [("c0", "on inputs held back"), ("c7", "on those fitted")],
        [(layer.name, drawings.sparse(layer.sparse, layer.name)) for layer in _alive(found) if layer.sparse],
    )


def _clusters(found: Analysis) -> Iterator[str]:
    yield from _charts(
        "Many to many",
        "Units of both networks in clusters that correlate among each other (spectral, flat); a row per cluster, its "
        "units of the first network to the left, of the second to the right.",
        [("block", "both give alike"), ("block apart", "mostly of one network")],
        [(layer.name, drawings.clusters(layer, (found.a, found.b))) for layer in _alive(found) if layer.clusters],
    )


def _charts(
    title: str, text: str, legend: Sequence[tuple[str, str]], shown: Sequence[tuple[str, str]]
) -> Iterator[str]:
    if not shown:
        return
    yield f"<section><h2>{title}</h2><p>{text}</p>"
    if legend:
        yield f'<ul class="legend">{"".join(f"<li><i class={kind!r}></i>{told}</li>" for kind, told in legend)}</ul>'
    figures = (f"<figure><h3><code>{escape(name)}</code></h3>{drawn}</figure>" for name, drawn in shown)
    yield f'<div class="charts">{"".join(figures)}</div></section>'


def _reading(found: Analysis) -> Iterator[str]:
    yield "<section><h2>How to read this</h2><dl>"
    yield "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in _READING.items())
    silent = [layer.name for layer in found.layers if not layer.comparable]
    left_out = {**dict.fromkeys(silent, "a network has no live unit here"), **found.left_out}
    if left_out:
        told = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        yield f"<dt>left out</dt><dd>{escape(told)}</dd>"
    yield (
        "</dl></section><footer>Written by <code>ligate align --analyse</code>. Equations and sources: "
        "<code>docs/similarity.md</code>.</footer>"
    )


def _alive(found: Analysis) -> list[Layer]:
    return [layer for layer in found.layers if layer.comparable]


_SECTIONS = (_opening, _over_layers, _curves, _heats, _sparse, _clusters, _reading)
