"""Drawings of an analysis as SVG text. Colours and fonts come from the style sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ligate.align.analysis.layer import Layer, Said
from ligate.align.analysis.sparse import Prediction
from ligate.verbs import svg

from .result import TITLES

COLOURS = {"matched": "c0", "greedy": "c1", "debiased_cka": "c2", "svcca": "c3"}
"""The indices that are drawn over the layers."""

_WIDE, _SMALL = 1100.0, 350.0
_MOST = 40  # clusters that are drawn


def over_layers(layers: Sequence[Layer]) -> str:
    """A line per index over the layers, and a broken one where unrelated networks would be."""
    left, right, top, bottom = 46.0, 150.0, 14.0, 40.0
    height = 330.0
    shown = [layer for layer in layers if layer.comparable]
    values = [value for layer in shown for key in COLOURS for value in _both(layer.indices[key])]
    low = min(0.0, *values) if values else 0.0
    x = svg.linear(0, max(1, len(shown) - 1), left + 16, _WIDE - right)
    y = svg.linear(low, 1.0, height - bottom, top)
    parts = [*svg.y_axis(y, svg.round_ticks(low, 1.0, 6), left, _WIDE - right + 16, "{:g}")]
    every = -(-len(shown) // 16)
    for place in range(0, len(shown), every or 1):
        parts.append(svg.text(x(place), height - bottom + 18, str(place + 1), "middle"))
    parts.append(svg.text((left + _WIDE - right) / 2, height - 4, "layer, in the order of the table", "middle"))
    ends: list[tuple[str, float]] = []
    for key, colour in COLOURS.items():
        parts += _line([layer.indices[key] for layer in shown], x, y, colour, TITLES[key], shown)
        if shown and (last := shown[-1].indices[key].value) is not None:
            ends.append((key, y(last)))
    for (key, spot), label in zip(ends, svg.spread([spot for _, spot in ends], 16, top, height - bottom), strict=True):
        parts.append(svg.path([(_WIDE - right + 6, spot), (_WIDE - right + 22, label)], "lead"))
        parts.append(svg.text(_WIDE - right + 26, label + 4, TITLES[key], f"on-{COLOURS[key]}"))
    return svg.drawing(_WIDE, height, parts, "Similarity by layer")


def _line(
    said: Sequence[Said], x: svg.Scale, y: svg.Scale, colour: str, title: str, layers: Sequence[Layer]
) -> Iterator[str]:
    spots = [(x(place), y(each.value)) for place, each in enumerate(said) if each.value is not None]
    by_lot = [(x(place), y(each.chance.mean)) for place, each in enumerate(said) if each.chance]
    if len(by_lot) > 1:
        yield svg.path(by_lot, f"chance {colour}")
    if len(spots) > 1:
        yield svg.path(spots, f"line {colour}")
    for place, each in enumerate(said):
        if each.value is not None:
            yield svg.dot(x(place), y(each.value), f"dot {colour}", f"{layers[place].name}: {title} {_told(each)}", 3.6)


def curves(layer: Layer) -> str:
    """Correlations of all units, the best first: one to one, greedily, and the mean that chance would give."""
    left, right, top, bottom = 40.0, 12.0, 10.0, 34.0
    height = 210.0
    low = min(0.0, *layer.matched, *layer.greedy)
    x, y = svg.linear(0, 1, left, _SMALL - right), svg.linear(low, 1.0, height - bottom, top)
    parts = [*svg.y_axis(y, svg.round_ticks(low, 1.0, 5), left, _SMALL - right, "{:g}")]
    parts += [svg.text(x(share), height - bottom + 17, f"{100 * share:g} %", "middle") for share in (0, 0.5, 1)]
    parts.append(svg.text((left + _SMALL - right) / 2, height - 2, "of the units, best first", "middle"))
    for values, key in ((layer.greedy, "greedy"), (layer.matched, "matched")):
        last = max(1, len(values) - 1)
        parts.append(svg.path([(x(at / last), y(value)) for at, value in enumerate(values)], f"line {COLOURS[key]}"))
    by_lot = layer.indices["matched"].chance
    if by_lot:
        parts.append(svg.line(left, y(by_lot.mean), _SMALL - right, y(by_lot.mean), f"chance {COLOURS['matched']}"))
    return svg.drawing(_SMALL, height, parts, f"Correlations of matched units in {layer.name}")


def sparse(path: Sequence[Prediction], name: str) -> str:
    """What is left unsaid of a unit over how many units of the other network are used; a dot per strength."""
    left, right, top, bottom = 40.0, 12.0, 10.0, 34.0
    height = 210.0
    most = max(1.0, *(each.used for each in path))
    high = max(1.0, *(min(each.error, 1.5) for each in path))
    x, y = svg.linear(0, most, left, _SMALL - right), svg.linear(0, high, height - bottom, top)
    parts = [*svg.y_axis(y, svg.round_ticks(0, high, 5), left, _SMALL - right, "{:g}")]
    parts += [svg.text(x(at), height - bottom + 17, f"{at:g}", "middle") for at in svg.round_ticks(0, most, 5)]
    parts.append(svg.text((left + _SMALL - right) / 2, height - 2, "units used for one", "middle"))
    for key, colour in (("fitted", "c7"), ("error", "c0")):
        spots = [(x(each.used), y(min(getattr(each, key), high))) for each in path]
        parts.append(svg.path(spots, f"line {colour}"))
        for each, spot in zip(path, spots, strict=True):
            parts.append(svg.dot(*spot, f"dot {colour}", f"strength {each.strength:g}: {getattr(each, key):.3f}", 3))
    return svg.drawing(_SMALL, height, parts, f"Sparse prediction in {name}")


def clusters(layer: Layer, names: tuple[str, str]) -> str:
    """A row per cluster: units of the one network to the left, of the other to the right."""
    shown = layer.clusters[:_MOST]
    middle, top, step = _SMALL / 2, 22.0, max(4.0, min(13.0, 260.0 / max(1, len(shown))))
    most = max(max(each.a, each.b) for each in layer.clusters)
    parts = [svg.text(middle - 8, 12, names[0], "end"), svg.text(middle + 8, 12, names[1], "")]
    for number, each in enumerate(shown):
        kind, y = "bar" if each.alike else "bar apart", top + number * step
        for size, left in ((each.a, True), (each.b, False)):
            wide = (middle - 20) * size / most
            place = f'x="{middle - wide * left:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{step - 1.5:.1f}"'
            parts.append(f'<rect class="{kind}" {place}><title>{each.a} and {each.b} units</title></rect>')
    floor = top + step * len(shown)
    parts.append(svg.line(middle, top - 3, middle, floor, "axis"))
    if more := len(layer.clusters) - len(shown):
        parts.append(svg.text(middle, floor + 14, f"and {more} smaller clusters", "middle"))
    return svg.drawing(_SMALL, floor + 20, parts, f"Clusters of units in {layer.name}")


def _both(said: Said) -> Iterator[float]:
    if said.value is not None:
        yield said.value
    if said.chance:
        yield said.chance.mean


def _told(said: Said) -> str:
    by_lot = f", chance {said.chance.mean:.3f}" if said.chance else ""
    return f"{said.value:.3f}{by_lot}" if said.value is not None else "not defined"
