"""All verbs under one name. A verb's own modules are imported when it runs: `--help` needs none of them."""

from __future__ import annotations

from typing import Annotated

import typer

from ligate.core.version import __version__

from .align import align
from .bench import bench
from .check import check
from .demo import demo
from .diff import diff
from .explain import explain
from .extend import extend
from .extract_lora import extract_lora
from .init import init
from .inspect import inspect
from .lock import lock
from .merge import merge
from .methods import methods
from .moe import moe
from .replay import replay
from .resume import resume
from .scan import scan
from .search import search
from .show import say
from .trace import trace
from .verify import verify

app = typer.Typer(
    name="ligate",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"ligate {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; also behind a verb.")] = False,
) -> None:
    """Many trained models in, one model out: merge checkpoints fast, in little memory, with proof.

    Exit codes: 0 ok, 2 recipe or usage, 3 input file, 4 NaN or infinity, 5 disk or permission, 6 verification.
    """


for verb in (
    merge,
    check,
    explain,
    methods,
    init,
    inspect,
    diff,
    search,
    extend,
    moe,
    align,
    extract_lora,
    lock,
    trace,
    scan,
    resume,
    verify,
    replay,
    demo,
):
    app.command()(verb)
app.add_typer(bench)
