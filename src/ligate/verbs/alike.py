"""Rows for tokens that a model lacks, as sums of its own rows of tokens that another model holds to be alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ligate.core.errors import InputError
from ligate.core.tensors import Source
from ligate.io.low_rank import read_numbers
from ligate.io.memory import MemorySource
from ligate.io.rows import Origin
from ligate.recipe.vocabulary import Speaker, Target
from ligate.recipe.vocabulary_tensors import input_tensor

from .parallel import one_processor

if TYPE_CHECKING:
    from torch import Tensor

    from ligate.align.growth import Overlap


class Made(NamedTuple):
    """New rows of one model, in memory, under the names of its tensors; `rows` says where each number's row lies."""

    source: MemorySource
    rows: Mapping[int, Origin]
    note: str


def made_rows(
    wanted: Target, one: Speaker, source: Source, like: Speaker, knows: Source, nearest: int | None
) -> Made | None:
    """Rows of `one` for the wanted tokens that it lacks and `like` has; None where there is no such token.

    Raises:
        InputError: the two have no token in common.
        NonFiniteError: the rows of `like` are not finite.
    """
    import torch

    from ligate.align.growth import Overlap, grown, overlap

    small = {token: like.tokens[token] for token in wanted.numbers.values() if token in like.tokens}
    if all(token in one.tokens for token in small):
        return None
    try:
        tokens = overlap(small, one.tokens)
    except InputError as error:
        raise error.inside(models=[one.label, like.label]) from None
    embedding = _rows(knows, input_tensor(knows.headers()), 0, range(like.tensors.rows))
    common = tokens.large.tolist()
    tables = {name: _rows(source, name, axis, common) for name, axis in one.tensors.axes.items()}
    with one_processor():
        found = grown(
            tables, embedding, Overlap(tokens.small, torch.arange(len(common)), tokens.lacking), nearest=nearest
        )
    label = f"{one.label}, made like {like.label}"
    rows = {name: made.to(tables[name].dtype) for name, made in found.rows.items()}
    numbers = {like.numbers[row]: place for place, row in enumerate(tokens.lacking.tolist())}
    origins = {number: (label, numbers[token]) for number, token in wanted.numbers.items() if token in numbers}
    return Made(MemorySource(label, rows), origins, _note(one, like, tokens, len(found.unlike)))


def _note(one: Speaker, like: Speaker, tokens: Overlap, unlike: int) -> str:
    text = (
        f"{one.label}: {len(tokens.lacking):,} tokens that it lacks get sums of its rows of {len(tokens.small):,} "
        f"tokens, weighted by how alike they are in `{like.label}`"
    )
    return text + (f"; {unlike:,} are like none, and get the mean of these rows" if unlike else "")


def _rows(source: Source, name: str, axis: int, numbers: range | list[int]) -> Tensor:
    """[numbers, the rest] in float32 or float64; neighbours are read together."""
    import torch

    width = math.prod(source.headers()[name].shape[axis + 1 :])
    order = np.argsort(np.asarray(numbers), kind="stable")
    ascending = np.asarray(numbers)[order]
    ends = [*(np.flatnonzero(np.diff(ascending) != 1) + 1).tolist(), len(ascending)]
    parts, begin = list[np.ndarray](), 0
    for end in ends:
        first, last = int(ascending[begin]), int(ascending[end - 1])
        parts.append(read_numbers(source, name, first * width, (last + 1) * width))
        begin = end
    read = np.concatenate(parts).reshape(len(ascending), width)
    result = np.empty_like(read)
    result[order] = read
    return torch.from_numpy(result)
