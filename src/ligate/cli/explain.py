"""`ligate explain RECIPE --tensor NAME`, `ligate explain OUT --tensor NAME`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Plugin
from .show import say, say_json, shape, spoken, table

if TYPE_CHECKING:
    from ligate.engine.record import Entry
    from ligate.verbs.explain import Explained


def explain(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE|OUT", help="A recipe, or the output folder of a merge.")],
    tensor: Annotated[str, typer.Option(metavar="NAME", help="Which tensor.")],
    plugin: Plugin = None,
    json: Json = False,
) -> None:
    """Show where one tensor comes from: operands, parameters and the lines that set them."""
    from ligate.verbs import explain as verb

    if Path(recipe).is_dir():
        entry = verb.recorded(recipe, tensor)
        say_json(entry) if json else say(_recorded(tensor, entry))
        return
    found = verb.explain(recipe, tensor, plugins=plugin or ())
    say_json(found) if json else say("\n\n".join(map(_explained, found)))


def _explained(one: Explained) -> str:
    step = f"step {one.step}: " if one.step else ""
    how = one.method or "copied; all models must agree"
    ingredients = [(i.role, i.label, i.name, i.dtype, i.place) for i in one.ingredients]
    lines = [
        f"{step}{one.tensor}  {one.dtype} {shape(one.shape)}  {how}",
        "",
        table(("", "source", "tensor", "dtype", "file"), ingredients),
    ]
    if one.parameters:
        parameters = [(p.name, p.model or "", spoken(p.value), p.origin) for p in one.parameters]
        lines += ["", table(("parameter", "model", "value", "set by"), parameters)]
    return "\n".join(lines)


def _recorded(tensor: str, entry: Entry) -> str:
    inputs = [("base", *entry.base)] if entry.base else []
    inputs += [("model", *one) for one in entry.tuned]
    lines = [
        f"{tensor}  {entry.header.dtype} {shape(entry.header.shape)}  {entry.method or 'copied'}",
        f"digest {entry.digest or 'not taken'}",
        "",
        table(("", "source", "tensor", "digest"), [[cell or "" for cell in row] for row in inputs]),
    ]
    if entry.params:
        lines += ["", table(("parameter", "value"), [(name, spoken(value)) for name, value in entry.params.items()])]
    facts = [
        (f"{stat}.{name}", spoken(value)) for stat, values in entry.stats.items() for name, value in values.items()
    ]
    if facts:
        lines += ["", table(("statistic", "value"), facts)]
    return "\n".join(lines)
