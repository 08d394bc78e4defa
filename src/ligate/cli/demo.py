"""`ligate demo`"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ligate.core.errors import RecipeError

_NEEDS = ("transformers", "tokenizers", "scipy", "sklearn")


def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where it works.")] = Path("ligate-demo"),
    model: Annotated[
        str | None, typer.Option(metavar="PATH", help="Another pretrained sentence encoder, in a local folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the fine-tuning.")] = 0,
) -> None:
    """Fine-tune, merge, score and prove: the product in four minutes."""
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise RecipeError(
            f"the demo needs {', '.join(missing)}", where="demo", hint="install them with `pip install 'ligate[demo]'`."
        )
    from ligate.bench.demo import run

    raise typer.Exit(run(folder, model=model, seed=seed))
