"""One `tokenizer.json` that knows the tokens of several. The first one's tokens keep their numbers.

New tokens follow in the order of the tokenizers and, of each, of their numbers. Those of the model's own vocabulary
join the vocabulary (with their merges or scores), so that text is split as each kind of tokenizer splits it; those that
were added (special tokens, mostly) are added.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ligate.core.errors import InputError

from .documents import read_object
from .vocabulary import is_added_token, json_numbers
from .vocabulary_spelling import model_type, spelling_difference

FILE = "tokenizer.json"
Content = Mapping[str, Any]
Tokens = dict[str, int]

_NOTHING: Mapping[str, Content] = MappingProxyType({})
_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
_UNUSED = -100.0  # score of a piece that only holds a number: worse than any other


class Tokenizer(NamedTuple):
    """A model's `tokenizer.json`; `rows` is how many of its numbers the model has rows for."""

    label: str
    path: Path
    content: Content
    numbers: Mapping[int, str]
    rows: int


def read_tokenizer(label: str, folder: Path, rows: int) -> Tokenizer:
    """Raises InputError where a folder has no `tokenizer.json`: other files cannot be written anew."""
    path = folder / FILE
    if not path.is_file():
        hint = "load the tokenizer with transformers and save it: that writes the file."
        raise InputError(f"has no `{FILE}`, which tokens could join", where=f"model {label}, {folder}", hint=hint)
    content = read_object(path)
    numbers = json_numbers(content, path)
    if not _well_formed(content["model"]):
        raise InputError("its merges or pieces are not those of a tokenizer", where=f"model {label}, {path}")
    return Tokenizer(label, path, content, numbers, rows)


def _well_formed(model: Content) -> bool:
    """As far as the parts go that are taken over: pairs of tokens, pieces with scores, the mark inside of words."""
    merges, vocab = model.get("merges") or [], model["vocab"]
    pieces = vocab if isinstance(vocab, list) else []
    if not isinstance(merges, list) or not isinstance(model.get("continuing_subword_prefix") or "", str):
        return False
    return all(_is_pair(merge) for merge in merges) and all(_is_piece(piece) for piece in pieces)


def _is_pair(merge: Any) -> bool:
    pair: Any = merge.split(" ") if isinstance(merge, str) else merge
    return isinstance(pair, list) and [type(token) for token in pair] == [str, str]


def _is_piece(piece: Any) -> bool:
    return isinstance(piece, list) and [type(part) for part in piece] in ([str, float], [str, int])


def added_entries(content: Content) -> list[dict[str, Any]]:
    """Tokens that were added to a tokenizer, with all that is said of them."""
    entries = content.get("added_tokens")
    return [entry for entry in entries if is_added_token(entry)] if isinstance(entries, list) else []


def tokens_of(numbers: Mapping[int, str]) -> Tokens:
    """Number by token; the smallest where several numbers stand for the same."""
    return {numbers[number]: number for number in sorted(numbers, reverse=True)}


def united(first: Tokenizer, others: Sequence[Tokenizer], wanted: Mapping[str, Content] = _NOTHING) -> Content:
    """The first tokenizer with the tokens of the others that their models have rows for.

    `wanted` holds further tokens that are to be added, with what the file says of them. The content is the first
    one's own where nothing is new.

    Raises:
        InputError: tokens cannot be used together: two tokenizers of different kinds, or which spell differently.
    """
    known = _numbered(first, others, wanted)
    added = _added(first, others, wanted, known)
    ordinary = _ordinary(first, others, known)
    if not added and not ordinary:
        return first.content
    everything = sorted([*added_entries(first.content), *added], key=_number)
    model: dict[str, Any] = dict(first.content["model"])
    content: dict[str, Any] = {**first.content, "added_tokens": everything, "model": model}
    givers = [other for other in others if any(token in ordinary for token in other.numbers.values())]
    _require_one_spelling(first, givers)
    if ordinary or not _numbered_anew(content):
        held = {entry["content"]: entry["id"] for entry in everything}
        _join(model, {**held, **ordinary}, first, givers)
    return content


def _number(entry: Content) -> int:
    return entry["id"]


def to_bytes(content: Content) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _numbered(first: Tokenizer, others: Sequence[Tokenizer], wanted: Iterable[str]) -> Tokens:
    """Every token of the union with its number."""
    known = tokens_of(first.numbers)
    after = max(first.numbers, default=-1) + 1
    for token in (*(token for other in others for _, token in _with_rows(other)), *wanted):
        if token not in known:
            known[token] = after
            after += 1
    return known


def _with_rows(one: Tokenizer) -> list[tuple[int, str]]:
    return [(number, one.numbers[number]) for number in sorted(one.numbers) if number < one.rows]


def _added(
    first: Tokenizer, others: Sequence[Tokenizer], wanted: Mapping[str, Content], known: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Entries of tokens that the first tokenizer has not added: the first of the others that has says how."""
    found: dict[str, Content] = {}
    for other in others:
        for entry in added_entries(other.content):
            if entry["id"] < other.rows and entry["content"] in known:  # two may claim one number
                found.setdefault(entry["content"], entry)
    held = [set(first.numbers.values()), *({token for _, token in _with_rows(other)} for other in others)]
    for token, entry in wanted.items():
        if token not in found and not any(token in tokens for tokens in held):
            found[token] = entry
    have = {entry["content"] for entry in added_entries(first.content)}
    return [{**entry, "id": known[token]} for token, entry in found.items() if token not in have]


def plain_entry(token: str) -> Content:
    """A token that is found in text as it stands, and is not special."""
    return {"id": 0, "content": token, **_PLAIN}


def _ordinary(first: Tokenizer, others: Sequence[Tokenizer], known: Mapping[str, int]) -> Tokens:
    """New tokens of the models' own vocabularies, with their new numbers."""
    have = set(first.numbers.values())
    found: Tokens = {}
    for other in others:
        pieces = _pieces(other.content["model"])
        added = {entry["content"] for entry in added_entries(other.content)}
        found |= {
            token: known[token]
            for _, token in _with_rows(other)
            if token in pieces and token not in have and token not in added
        }
    return found


def _pieces(model: Content) -> Mapping[str, Any]:
    """Number by token, or of a unigram model score by piece."""
    vocab = model["vocab"]
    return {piece[0]: piece[1] for piece in reversed(vocab)} if isinstance(vocab, list) else vocab


def _require_one_spelling(first: Tokenizer, others: Sequence[Tokenizer]) -> None:
    for other in others:
        difference = spelling_difference(first.content, other.content)
        if difference:
            text = f"its tokens cannot join those of `{first.label}`, which spells text in another way: {difference}"
            hint = f"take one of the tokenizers: `tokenizer: {first.label}` (its tokens find their rows by their text)."
            raise InputError(text, where=f"model {other.label}, {other.path}", hint=hint)


def _numbered_anew(content: Content) -> bool:
    """Whether a program that loads the file gives its added tokens the numbers that stand there.

    The tokenizers library does not read them: a token that the vocabulary lacks gets the next number after it.
    """
    pieces = _pieces(content["model"])
    after = len(pieces)
    for entry in added_entries(content):
        if entry["content"] not in pieces:
            if entry["id"] != after:
                return False
            after += 1
    return True


def _join(model: dict[str, Any], tokens: Tokens, first: Tokenizer, others: Sequence[Tokenizer]) -> None:
    """Put tokens with their numbers into a model's vocabulary, with the merges or scores of the others."""
    if isinstance(model["vocab"], list):
        _join_pieces(model, tokens, first, others)
        return
    model["vocab"] = {**model["vocab"], **{token: tokens[token] for token in sorted(tokens, key=tokens.__getitem__)}}
    if model_type({"model": model}) == "BPE":
        model["merges"] = _merges(model, others)


def _join_pieces(model: dict[str, Any], tokens: Tokens, first: Tokenizer, others: Sequence[Tokenizer]) -> None:
    """A unigram model numbers its pieces by their place, so there cannot be a gap."""
    scores: dict[str, float] = {}
    for other in others:
        scores = {**_pieces(other.content["model"]), **scores}
    by_number = {number: token for token, number in tokens.items()}
    pieces = list(model["vocab"])
    for number in range(len(pieces), max(by_number, default=-1) + 1):
        if number not in by_number:
            text = f"number {number} stands for no token, so that none can follow"
            raise InputError(text, where=f"model {first.label}, {first.path}", hint="take one of the tokenizers.")
        pieces.append([by_number[number], scores.get(by_number[number], _UNUSED)])
    model["vocab"] = pieces


def _merges(model: Content, others: Sequence[Tokenizer]) -> list[Any]:
    """The first one's merges, which go before all others, then what is new and leads from tokens to a token."""
    own = model.get("merges") or []
    pairs = dict.fromkeys(map(_pair, own))
    prefix = len(model.get("continuing_subword_prefix") or "")
    vocab = model["vocab"]
    for other in others:
        for pair in map(_pair, other.content["model"].get("merges") or []):
            if all(token in vocab for token in (*pair, pair[0] + pair[1][prefix:])):
                pairs.setdefault(pair)
    listed = any(isinstance(merge, list) for merge in own) or any(" " in token for pair in pairs for token in pair)
    return [list(pair) if listed else " ".join(pair) for pair in pairs]


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge if isinstance(merge, list) else merge.split(" ")
    return left, right
