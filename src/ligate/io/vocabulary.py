"""Which number stands for which token, read from tokenizer files without a tokenizer library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ligate.core.errors import InputError

from .documents import read_bytes, read_object
from .sentencepiece import read_pieces

Numbers = Mapping[int, str]
MOST = 1 << 24
"""Tokens of a vocabulary; the largest known have about a million."""
_ADDED = "added_tokens.json"


class Vocabulary(NamedTuple):
    """The tokens of a model by their numbers, and the file that tells them; `files` holds what adds to it too."""

    file: Path
    numbers: Numbers
    files: tuple[Path, ...]


def vocabulary(folder: Path) -> Vocabulary | None:
    """What the tokenizer in a model's folder knows; None where there is no tokenizer.

    Raises:
        InputError: its file is of a kind that is not understood, or is broken.
    """
    kinds = _kinds(folder)
    if not kinds:
        return None
    path = folder / kinds[0]
    read = _READERS[kinds[0]]
    if read is None:
        hint = "load the tokenizer with transformers and save it: that writes `tokenizer.json`."
        raise InputError("its tokens cannot be read from this kind of file", where=str(path), hint=hint)
    return Vocabulary(path, _checked(read(folder), path), tuple(folder / name for name in _names(folder)))


def _checked(numbers: Numbers, path: Path) -> Numbers:
    """Numbers become rows of matrices: one that is far beyond any vocabulary is a mistake, or worse."""
    wrong = next((number for number in numbers if not 0 <= number < MOST), None)
    if wrong is not None:
        text = f"the token {numbers[wrong]!r} has the number {wrong}"
        raise InputError(text, where=str(path), hint=f"numbers lie between 0 and {MOST - 1:,}.")
    return numbers


def vocabulary_clash(wanted: Path, folder: Path, rows: int) -> str | None:
    """The first of the given number of rows that stands for one token here and for another one there, in words.

    None as well where one folder has no tokenizer, or one that cannot be read: then nobody knows. A number that only
    one of them uses is no clash.
    """
    if not (_kinds(wanted) and _kinds(folder)) or is_same_tokenizer(wanted, folder):
        return None
    try:
        there, here = vocabulary(wanted), vocabulary(folder)
    except InputError:
        return None
    if there is None or here is None:
        return None
    others = [n for n, token in here.numbers.items() if n < rows and there.numbers.get(n, token) != token]
    if not others:
        return None
    first = min(others)
    text = f"number {first} is {here.numbers[first]!r} here, {there.numbers[first]!r} there"
    return f"{text}, and {len(others) - 1:,} more" if len(others) > 1 else text


def is_same_tokenizer(one: Path, other: Path) -> bool:
    """Whether both folders tell their tokens by the same bytes."""
    names = _names(one)
    return bool(names) and names == _names(other) and all(read_bytes(one / n) == read_bytes(other / n) for n in names)


def _names(folder: Path) -> list[str]:
    """The files that tell the tokens: one, or two of them."""
    kinds = _kinds(folder)[:1]
    return [*kinds, _ADDED] if kinds and kinds[0] in _SPLIT and (folder / _ADDED).is_file() else kinds


def _kinds(folder: Path) -> list[str]:
    return [name for name in _READERS if (folder / name).is_file()]


def _fast(folder: Path) -> Numbers:
    path = folder / "tokenizer.json"
    return json_numbers(read_object(path), path)


def json_numbers(content: Mapping[str, Any], path: Path) -> dict[int, str]:
    """`tokenizer.json` of the tokenizers library: a table or a list of pieces, and what was added to it."""
    model = content.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocab, list):  # unigram: [piece, score], numbered by place
        found = {number: str(piece[0]) for number, piece in enumerate(vocab) if isinstance(piece, list) and piece}
    else:
        found = _turned(vocab, path)
    added = content.get("added_tokens")
    entries = added if isinstance(added, list) else []
    return found | {entry["id"]: entry["content"] for entry in entries if is_added_token(entry)}


def is_added_token(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), int) and isinstance(entry.get("content"), str)


def _table(folder: Path) -> Numbers:
    """`vocab.json`, and `added_tokens.json` where there is one."""
    found = _turned(read_object(folder / "vocab.json"), folder / "vocab.json")
    added = folder / _ADDED
    return found | _turned(read_object(added), added) if added.is_file() else found


def _lines(folder: Path) -> Numbers:
    """`vocab.txt`: one token a line."""
    path = folder / "vocab.txt"
    text = read_bytes(path).decode("utf-8", errors="replace")
    if text.count("\n") > MOST:
        raise InputError(f"has more than {MOST:,} lines", where=str(path), hint="is it a tokenizer's file?")
    return dict(enumerate(text.removesuffix("\n").split("\n")))


def _pieces(name: str) -> Callable[[Path], Numbers]:
    """A SentencePiece model, and `added_tokens.json` where there is one."""

    def read(folder: Path) -> Numbers:
        added = folder / _ADDED
        more = _turned(read_object(added), added) if added.is_file() else {}
        return dict(enumerate(read_pieces(folder / name))) | more

    return read


def _turned(vocab: Any, path: Path) -> dict[int, str]:
    if not isinstance(vocab, dict) or not all(isinstance(number, int) for number in vocab.values()):
        raise InputError("holds no vocabulary that is understood", where=str(path), hint="is it a tokenizer's file?")
    return {number: token for token, number in vocab.items()}


_READERS: Mapping[str, Callable[[Path], Numbers] | None] = {
    "tokenizer.json": _fast,
    "vocab.json": _table,
    "vocab.txt": _lines,
    **{name: _pieces(name) for name in ("tokenizer.model", "spiece.model")},
    **dict.fromkeys(("sentencepiece.bpe.model", "tekken.json"), None),  # numbered otherwise by those who read them
}
"""In the order in which they are trusted; None: not understood."""
_SPLIT = ("vocab.json", "tokenizer.model", "spiece.model")  # another file adds to it
