"""Which number stands for which token, read from tokenizer files without a tokenizer library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ligate.core.errors import InputError

from .documents import read_bytes, read_object

Numbers = Mapping[int, str]


def vocabulary_difference(wanted: Path, folder: Path) -> str | None:
    """Where the model in `folder` has another token than the tokenizer in `wanted`, in words.

    None when every number of the wanted vocabulary stands for the same token, or when the folder has no tokenizer to
    compare. Further tokens of the folder do not matter: the wanted tokenizer never produces them.

    Raises:
        InputError: a tokenizer file cannot be read.
    """
    here, there = _kinds(folder), _kinds(wanted)
    common = [name for name in there if name in here]
    if not here or not there:
        return None
    if not common:
        return f"`{here[0]}` here and `{there[0]}` there cannot be compared"
    name = common[0]
    if read_bytes(folder / name) == read_bytes(wanted / name) and name not in _SPLIT:
        return None
    read = _READERS[name]
    return _difference(read(wanted), read(folder)) if read else f"the files `{name}` differ"


def has_vocabulary(folder: Path) -> bool:
    """Whether the folder holds tokenizer files that can be compared."""
    return bool(_kinds(folder))


def _kinds(folder: Path) -> list[str]:
    return [name for name in _READERS if (folder / name).is_file()]


def _difference(wanted: Numbers, found: Numbers) -> str | None:
    others = [number for number, token in wanted.items() if found.get(number) != token]
    if not others:
        return None
    first = min(others)
    here = f"{found[first]!r} here" if first in found else "no token here"
    text = f"number {first} is {here}, {wanted[first]!r} there"
    return f"{text}, and {len(others) - 1:,} more" if len(others) > 1 else text


def _fast(folder: Path) -> Numbers:
    """`tokenizer.json` of the tokenizers library: a table or a list of pieces, and what was added to it."""
    path = folder / "tokenizer.json"
    content = read_object(path)
    model = content.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocab, list):  # unigram: [piece, score], numbered by place
        found = {number: str(piece[0]) for number, piece in enumerate(vocab) if isinstance(piece, list) and piece}
    else:
        found = _turned(vocab, path)
    added = content.get("added_tokens")
    entries = added if isinstance(added, list) else []
    return found | {entry["id"]: entry["content"] for entry in entries if _is_token(entry)}


def _is_token(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), int) and isinstance(entry.get("content"), str)


def _table(folder: Path) -> Numbers:
    """`vocab.json`, and `added_tokens.json` where there is one."""
    found = _turned(read_object(folder / "vocab.json"), folder / "vocab.json")
    added = folder / "added_tokens.json"
    return found | _turned(read_object(added), added) if added.is_file() else found


def _lines(folder: Path) -> Numbers:
    """`vocab.txt`: one token a line."""
    text = read_bytes(folder / "vocab.txt").decode("utf-8", errors="replace")
    return dict(enumerate(text.removesuffix("\n").split("\n")))


def _turned(vocab: Any, path: Path) -> dict[int, str]:
    if not isinstance(vocab, dict) or not all(isinstance(number, int) for number in vocab.values()):
        raise InputError("holds no vocabulary that is understood", where=str(path), hint="is it a tokenizer's file?")
    return {number: token for token, number in vocab.items()}


_READERS: Mapping[str, Callable[[Path], Numbers] | None] = {
    "tokenizer.json": _fast,
    "vocab.json": _table,
    "vocab.txt": _lines,
    **dict.fromkeys(("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json"), None),
}
"""In the order in which they are trusted; None: only equal bytes are understood."""
_SPLIT = ("vocab.json",)  # another file adds to it
