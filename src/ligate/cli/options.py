"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON; no progress bar.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Memory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Stay below this much memory: 512MB, 4GB. Default: below 1 GB.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Default: all processors. The result is the same.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what OUT holds, once the new result is complete.")
]
Plugin = Annotated[
    list[Path] | None, typer.Option(metavar="FILE.py", help="Also know the methods of this Python file. Repeatable.")
]
Drop = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="Leave these tensors out: 'v_head.*'. Repeatable.")
]
StripPrefix = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[MODEL=]PREFIX", help="Ignore this in front of the tensor names of MODEL, or of all. Repeatable."
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(metavar="union|base|MODEL", help="Whose tokens the result knows; rows are put together by token."),
]
Dtype = Annotated[str | None, typer.Option(help="Store as bfloat16, float16, float32 or float64.")]
ShardSize = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Largest size of one weight file. Default: 5GB; of a single file one again."),
]
