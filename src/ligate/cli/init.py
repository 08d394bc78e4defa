"""`ligate init [FILE]`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .show import say


def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("recipe.yaml"),
    method: Annotated[str, typer.Option(metavar="ID", help="The method it uses.")] = "ties",
) -> None:
    """Write a commented recipe to start from."""
    from ligate.verbs.init import init as verb

    say(f"{verb(path, method=method)}: change the paths, then `ligate check {path}`")
