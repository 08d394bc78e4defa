"""What the configs of a result say of its vocabulary: how many rows it has, which numbers are its special tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ligate.io.vocabulary import Numbers
from ligate.recipe.vocabulary_tensors import SIZE_KEYS

_IDS = re.compile(r".*_token_ids?|.*_token_index|(begin_)?suppress_tokens|bos_id|eos_id|pad_id")

_TIED = "tie_word_embeddings"


class Renumbered(NamedTuple):
    """Values by path of keys, and the keys whose token the result does not have."""

    values: Mapping[str, Any]
    lost: tuple[str, ...] = ()


def size_edits(config: Mapping[str, Any], before: int, rows: int) -> dict[str, int]:
    """The keys that count rows, wherever they stand with the old number."""
    if before == rows:
        return {}
    found = {
        path: rows for path, key, value in _entries(config) if key in SIZE_KEYS and value == before and value != rows
    }
    return found or {"vocab_size": rows}


def untied_edits(config: Mapping[str, Any]) -> dict[str, bool]:
    """A result that stores a head of its own must say so: else loaders take the embedding for it."""
    found = {path: False for path, key, value in _entries(config) if key == _TIED and value is True}
    return found or {_TIED: False}


def id_edits(config: Mapping[str, Any], own: Numbers, tokens: Mapping[str, int], lead: Mapping[str, Any]) -> Renumbered:
    """The numbers of special tokens in the result's vocabulary.

    Where the model that gives the tokenizer says a number for the same purpose, that one holds; else the number of
    the token that the config meant. `lost` are those that are nothing in the result: the key is removed.
    """
    theirs = {path: value for path, key, value in _entries(lead) if _IDS.fullmatch(key)}
    values: dict[str, Any] = {}
    lost: list[str] = []
    for path, key, value in _entries(config):
        if not _IDS.fullmatch(key) or value is None:
            continue
        new = theirs[path] if theirs.get(path) is not None else _renumbered(value, own, tokens)
        if new is None:
            lost.append(path)
        if new != value:
            values[path] = new
    return Renumbered(values, tuple(lost))


def _renumbered(value: Any, own: Numbers, tokens: Mapping[str, int]) -> Any:
    """None where its token is not in the result; what is no number of a token stays."""
    if isinstance(value, list):
        found = [_renumbered(one, own, tokens) for one in value]
        return [one for one in found if one is not None] or None
    if isinstance(value, bool) or not isinstance(value, int) or value not in own:
        return value
    return tokens.get(own[value])


def _entries(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str, Any]]:
    """(path, key, value) of everything that is no table, in the config and its tables."""
    for key, value in config.items():
        path = f"{above}{key}"
        if isinstance(value, dict):
            yield from _entries(value, f"{path}.")
        else:
            yield path, key, value
