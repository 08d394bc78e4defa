"""Distance by layer as one self-contained picture: an SVG, or an HTML page around it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from ligate.core.errors import RecipeError
from ligate.core.layers import Layer, layers

from .diff import Difference

_WIDTH, _HEIGHT = 960, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 300, 40, 50
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f7f7f",
    "#8c564b",
    "#17becf",
    "#bcbd22",
)
_LEGEND = 22  # lines that fit beside the picture


class Point(NamedTuple):
    """One tensor: its layer (None outside the layers), the rest of its name, the distance."""

    layer: int | None
    role: str
    name: str
    value: float


def write_plot(difference: Difference, path: Path) -> None:
    """Write the picture to `path`; its suffix (.svg or .html) says as what."""
    title = f"Relative distance of {difference.b} from {difference.a}, by layer"
    if path.suffix == ".svg":
        path.write_text(svg(points(difference), title), "utf-8")
    elif path.suffix == ".html":
        path.write_text(_page(difference, title), "utf-8")
    else:
        raise RecipeError(f"'{path.name}' must end in .svg or .html", hint="for example `--plot distances.html`.")


def points(difference: Difference) -> list[Point]:
    """The tensors whose distance is defined, layer by layer."""
    values = {d.name: d.relative for d in difference.tensors if d.relative is not None}
    known = layers(values)
    found = [_point(name, known.get(name), value) for name, value in values.items()]
    return sorted(found, key=lambda p: (p.role, -1 if p.layer is None else p.layer, p.name))


def _point(name: str, layer: Layer | None, value: float) -> Point:
    if layer is None:
        return Point(None, name, name, value)
    return Point(layer.number, f"{layer.stack}.*.{layer.rest}", name, value)


def svg(found: Sequence[Point], title: str) -> str:
    """A line per kind of tensor over the layers; tensors outside the layers stand left of layer 0."""
    roles = _by_role(found)
    last = max((p.layer for p in found if p.layer is not None), default=0)
    top = max((p.value for p in found), default=0.0) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
        *_axes(last, top),
    ]
    for number, (role, members) in enumerate(roles.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        parts += _line(members, last, top, colour, dashed=number >= len(_COLOURS))
        parts += _legend(number, role, colour, len(roles))
    return "\n".join((*parts, "</svg>", ""))


def _by_role(found: Sequence[Point]) -> Mapping[str, list[Point]]:
    """The kinds of tensors, the farthest first."""
    roles: dict[str, list[Point]] = {}
    for point in found:
        roles.setdefault(point.role, []).append(point)
    return dict(sorted(roles.items(), key=lambda item: (-max(p.value for p in item[1]), item[0])))


def _x(layer: int | None, last: int) -> float:
    """Layer -1 is the place of what stands outside the layers."""
    place = -1 if layer is None else layer
    return _LEFT + (place + 1) / (last + 1) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)


def _axes(last: int, top: float) -> list[str]:
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [f'<path d="M{_LEFT} {_TOP} V{floor} H{right}" fill="none" stroke="#333"/>']
    for step in range(5):
        value = top * step / 4
        y = _y(value, top)
        parts.append(f'<path d="M{_LEFT} {y:.1f} H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    parts.append(f'<text x="{_LEFT}" y="{floor + 18}" text-anchor="middle">outside</text>')
    for layer in range(0, last + 1, math.ceil((last + 1) / 16)):
        parts.append(f'<text x="{_x(layer, last):.1f}" y="{floor + 18}" text-anchor="middle">{layer}</text>')
    parts.append(f'<text x="{(_LEFT + right) / 2:.0f}" y="{floor + 38}" text-anchor="middle">layer</text>')
    return parts


def _line(members: Sequence[Point], last: int, top: float, colour: str, *, dashed: bool) -> list[str]:
    places = [(_x(p.layer, last), _y(p.value, top)) for p in members]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    line = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>'] * (len(places) > 1)
    dots = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}">'
        f"<title>{escape(p.name)}: {p.value:.4g}</title></circle>"
        for p, (x, y) in zip(members, places, strict=True)
    ]
    return line + dots


def _legend(number: int, role: str, colour: str, roles: int) -> list[str]:
    if number > _LEGEND:
        return []
    x, y = _WIDTH - _RIGHT + 16, _TOP + 10 + 16 * number
    if number == _LEGEND:
        return [f'<text x="{x}" y="{y}">and {roles - _LEGEND} more</text>']
    shown = role if len(role) <= 40 else f"…{role[-39:]}"
    return [
        f'<rect x="{x}" y="{y - 8}" width="10" height="10" fill="{colour}"/>',
        f'<text x="{x + 16}" y="{y}">{escape(shown)}</text>',
    ]


def _page(difference: Difference, title: str) -> str:
    rows = "\n".join(
        f"<tr><td>{escape(d.name)}</td><td>{_number(d.relative)}</td><td>{_number(d.largest)}</td>"
        f"<td>{_number(d.cosine)}</td><td>{d.equal:.2%}</td></tr>"
        for d in difference.tensors
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>
<style>body{{font-family:sans-serif;max-width:1000px;margin:2em auto}}td,th{{padding:2px 10px;text-align:right}}
td:first-child,th:first-child{{text-align:left;font-family:monospace}}tr:nth-child(even){{background:#f4f4f4}}</style>
{svg(points(difference), title)}
<table><tr><th>tensor</th><th>relative L2</th><th>largest</th><th>cosine</th><th>equal</th></tr>
{rows}
</table>
</html>
"""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
