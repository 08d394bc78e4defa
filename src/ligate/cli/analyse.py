"""What `ligate align --analyse` says: a table of layers, JSON, a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ligate.core.errors import RecipeError

from .progress import watcher
from .show import note, say, say_json, table

if TYPE_CHECKING:
    from ligate.align.analysis.layer import Layer, Said
    from ligate.verbs.similarity.result import Analysis


def analyse(
    a: str,
    b: str | None,
    data: Path | None,
    *,
    model: str | None,
    plot: Path | None,
    seed: int,
    quiet: bool,
    json: bool,
) -> None:
    """Compare two networks on the inputs in a file, and tell what came of it."""
    if b is None or data is None:
        hint = "`ligate align --analyse A B --data FILE`."
        raise RecipeError("two models and inputs for both are needed", where="--analyse", hint=hint)
    if plot is not None and plot.suffix != ".html":
        raise RecipeError(f"'{plot.name}' must end in .html", where="--plot", hint="for example `--plot alike.html`.")
    from ligate.align.analysis.layer import Wish
    from ligate.verbs.analyse import analyse as verb

    found = verb(a, b, data, model=model, wish=Wish(seed=seed), watch=watcher(quiet=quiet, json=json))
    if plot is not None:
        _write(found, plot)
        note(f"page: {plot}")
    if json:
        say_json(found)
    elif not quiet:
        say(report(found))


def report(found: Analysis) -> str:
    """A row per layer; what unrelated networks would get stands behind each number."""
    from ligate.verbs.similarity.result import TITLES

    titles = [title for key, title in TITLES.items() if key != "pwcca"]
    rows = [_row(layer) for layer in found.layers if layer.comparable]
    lines = [table(("layer", "units", "dead", *titles), rows, " " + "r" * (len(titles) + 2))] if rows else []
    lines += [f"{layer.name}: a network has no live unit here" for layer in found.layers if not layer.comparable]
    lines += [f"{name} is left out: {why}" for name, why in found.left_out.items()]
    lines.append(f"{found.a} and {found.b} on {found.inputs}; in brackets, unrelated networks with these activations")
    return "\n".join(lines)


def _row(layer: Layer) -> tuple[object, ...]:
    sizes = ", ".join(dict.fromkeys((str(layer.a.units), str(layer.b.units))))
    dead = f"{layer.a.dead}, {layer.b.dead}" if layer.a.dead or layer.b.dead else "-"
    return (layer.name, sizes, dead, *(_told(said) for key, said in layer.indices.items() if key != "pwcca"))


def _told(said: Said) -> str:
    if said.value is None:
        return "undefined"
    return f"{said.value:.3f} ({said.chance.mean:.3f})" if said.chance else f"{said.value:.3f}"


def _write(found: Analysis, path: Path) -> None:
    from ligate.io.ranges import cannot_write
    from ligate.verbs.similarity import page

    try:
        path.write_text(page(found), "utf-8")
    except OSError as error:
        raise cannot_write(path, error) from None
