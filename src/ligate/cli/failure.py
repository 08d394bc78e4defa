"""What the user reads when something went wrong: one message, and an exit code by its kind."""

from __future__ import annotations

import difflib
import errno
import os
from dataclasses import dataclass
from typing import Any

from ligate.core.errors import LigateError, Problems

INTERNAL, USAGE, STORAGE, INTERRUPTED = 1, 2, 5, 130

_STORAGE_ERRNO = {
    errno.ENOSPC: "free some space, or choose another place for the output.",
    errno.EDQUOT: "free some space, or choose another place for the output.",
    errno.EACCES: "check who may read and write there.",
    errno.EPERM: "check who may read and write there.",
    errno.EROFS: "choose another place for the output: this one is read-only.",
}


@dataclass(frozen=True)
class Failure:
    """An error as it is told: `kind` for machines, `text` for people."""

    kind: str
    text: str
    exit_code: int

    def as_data(self) -> dict[str, Any]:
        return {"error": {"kind": self.kind, "message": self.text, "exit_code": self.exit_code}}


def failure(error: BaseException) -> Failure:
    """Every exception becomes a message; what Ligate did not raise on purpose is an internal error."""
    if isinstance(error, LigateError):
        return Failure(type(error).__name__, _with_count(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return Failure("Interrupted", "\n".join(("interrupted", *_notes(error))), INTERRUPTED)
    if hasattr(error, "format_message"):  # typer's usage errors, whichever release raised them
        return Failure("UsageError", _usage(error), USAGE)
    if isinstance(error, OSError) and error.errno in _STORAGE_ERRNO:
        place = f"{error.filename}: " if error.filename else ""
        text = f"{place}{os.strerror(error.errno)}\n  -> {_STORAGE_ERRNO[error.errno]}"
        return Failure("StorageError", "\n".join((text, *_notes(error))), STORAGE)
    if isinstance(error, MemoryError):
        return Failure("MemoryError", "out of memory\n  -> try a smaller --memory or fewer --threads.", INTERNAL)
    words = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    text = f"internal error: {words}\n  -> run again with --debug and report what it prints."
    return Failure("InternalError", text, INTERNAL)


def _with_count(error: LigateError) -> str:
    text = "\n".join((str(error), *_notes(error)))
    return f"{len(error.found)} problems\n{text}" if isinstance(error, Problems) else text


def _notes(error: BaseException) -> list[str]:
    return [f"  -> {note}" for note in getattr(error, "__notes__", ())]


def _usage(error: Any) -> str:
    """`no such option: --denity`, with the nearest option and where to read more."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ligate"
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and context and option:
        return f"no such option: {option}\n  -> {_option_hint(option, context)}"
    text = error.format_message()
    text = text[:1].lower() + text[1:].rstrip(".")
    return f"{text}\n  -> see `{command} --help`."


def _option_hint(option: str, context: Any) -> str:
    known = [name for param in context.command.params for name in param.opts if name.startswith("--")]
    close = difflib.get_close_matches(option, [*known, "--help"], n=1, cutoff=0.75)
    if close:
        return f"did you mean '{close[0]}'?"
    if context.info_name == "merge":
        name = option.lstrip("-").replace("-", "_")
        return f"a method's own parameters are given as `--set {name}=VALUE`; options: `ligate merge --help`."
    return f"see `{context.command_path} --help`."
