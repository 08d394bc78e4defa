"""Where the command line begins: torch is made lazy, the verb runs, whatever fails is told in one message."""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import sys
import threading

from .failure import failure
from .lazy import make_lazy


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. `--debug` lets an error through with its traceback."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = [word for word in given if word != "--debug"]
    try:
        return _run(arguments)
    except BrokenPipeError:  # `ligate inspect MODEL | head` is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        told = failure(error)
        if "--debug" in given and not isinstance(error, KeyboardInterrupt):
            raise
        sys.stderr.write(f"ligate: {told.text}\n")
        if "--json" in given:
            sys.stdout.write(json.dumps(told.as_data()) + "\n")
        if isinstance(error, KeyboardInterrupt):
            atexit.register(_leave_workers, told.exit_code)
        return told.exit_code


def _leave_workers(exit_code: int) -> None:
    """At the end of an interrupted process: a thread still inside a decomposition would make torch's end an abort."""
    if any(thread.name.startswith("ligate-") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)


def _run(arguments: list[str]) -> int:
    gc.set_threshold(
        100_000, 20, 100
    )  # what is planned for ten thousands of tensors stays; to look for cycles in it costs
    _keep_freed_memory()
    for name in ("torch", "numpy"):  # most commands need neither, a plain merge neither
        make_lazy(name)
    # Not through typer's own runner: it swallows an interrupt before it can say how to go on.
    import typer

    from .app import app

    command = typer.main.get_command(app)
    try:
        with command.make_context("ligate", arguments or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    sys.stdout.flush()
    return 0


def _keep_freed_memory() -> None:
    """Rules on tensors free and ask for a megabyte at a time; giving it back to the system in between costs a third.

    Only glibc is known to do so, and only it has these two settings.
    """
    trim_threshold, mmap_threshold = -1, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(mmap_threshold, 32 << 20)
    mallopt(trim_threshold, 256 << 20)


if __name__ == "__main__":
    sys.exit(main())
