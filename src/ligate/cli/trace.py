"""`ligate trace CHILD --parents A B C`, `ligate trace --tree FOLDER`, `ligate trace CHILD --parents A B --data FILE`"""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from ligate.core.errors import RecipeError

from .progress import watcher
from .show import note, plain, say


def trace(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[CHILD] [PARENT]...", help="The child, and further parents.")
    ] = None,
    parents: Annotated[
        list[str] | None, typer.Option("--parents", metavar="MODEL...", help="Models that it may come from.")
    ] = None,
    tree: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Trace all models below a folder.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare what models say of inputs: YAML with `data:`.")
    ] = None,
    inputs: Annotated[int, typer.Option(metavar="N", help="With --data: how many inputs.")] = 16,
    similarity: Annotated[str, typer.Option(metavar="NAME", help="With --data: cosine, l2, l1 or cka.")] = "cosine",
    detector: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With --data: also ask a trained detector.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the graph as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw it: .svg.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Tell from weights alone which model was made from which: tuned, merged, rounded, pruned, reordered.

    With --data: which of some models one was fine-tuned from, by what they compute (Neural Lineage).
    """
    from ligate.verbs import family_tree
    from ligate.verbs.trace import trace_child, trace_tree

    given = list(models or [])
    if data is not None:
        if tree is not None or plot is not None or not given or not (parents or given[1:]):
            hint = "`ligate trace CHILD --parents A B C --data FILE`."
            raise RecipeError("--data goes with a child and its possible parents", where="trace", hint=hint)
        _by_inputs(given[0], [*(parents or ()), *given[1:]], data, inputs, similarity, detector, json)
        return
    watch = watcher(quiet=quiet, json=False)
    if tree is not None and not given and not parents:
        found = trace_tree(tree, watch=watch)
    elif tree is None and given and (parents or given[1:]):
        found = trace_child(given[0], [*(parents or ()), *given[1:]], watch=watch)
    else:
        hint = "`ligate trace CHILD --parents A B C`, or `ligate trace --tree FOLDER`."
        raise RecipeError("needs a child and its possible parents, or a folder", where="trace", hint=hint)
    say(family_tree.text(found))
    if json is not None:
        json.write_text(json_text.dumps(plain(family_tree.data(found)), indent=1) + "\n", "utf-8")
        note(f"graph: {json}")
    if plot is not None:
        family_tree.write_picture(found, plot)
        note(f"plot: {plot}")


def _by_inputs(
    child: str, parents: list[str], data: Path, inputs: int, similarity: str, detector: Path | None, json: Path | None
) -> None:
    from ligate.verbs.trace_inputs import data_of_resembling, text, trace_by_inputs

    found = trace_by_inputs(child, parents, data, inputs=inputs, similarity=similarity, detector=detector)
    say(text(found))
    if json is not None:
        json.write_text(json_text.dumps(plain(data_of_resembling(found)), indent=1) + "\n", "utf-8")
        note(f"candidates: {json}")
