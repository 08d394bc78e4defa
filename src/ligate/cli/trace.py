"""`ligate trace CHILD --parents A B C`, `ligate trace --tree FOLDER`"""

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
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the graph as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw it: .svg.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Tell from weights alone which model was made from which: tuned, merged, rounded, pruned, reordered."""
    from ligate.verbs import family_tree
    from ligate.verbs.trace import trace_child, trace_tree

    given = list(models or [])
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
