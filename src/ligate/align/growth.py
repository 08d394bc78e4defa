"""A large model for another vocabulary, begun from a large model of one vocabulary and a small model of the other.

CLP-Transfer, "Efficient Language Model Training through Cross-Lingual and Progressive Transfer Learning", arXiv
2301.09626. Tokens that both vocabularies have keep the rows of the large model. With S the rows of the small one (of
any width), a token t that the large model lacks gets a sum over the tokens that it has,

    row(t) = sum over k  w_k(t) row(k),     w_k(t) = cos(S_t, S_k) / sum over j  cos(S_t, S_j)

and all other weights stay those of the large model. What comes out is a start for training, not a finished model.

Differs from the authors' published code, which was read: heads that are not tied to the embedding get rows in the same
way, where the code leaves in place the rows of whatever tokens had those numbers; a row without a token is the mean of
all rows of the large model, where the code has none; and where the cosines of a token all but cancel, so that dividing
by their sum means nothing, it gets the mean row. `nearest` is no part of the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.core.errors import InputError, NonFiniteError, RecipeError

if TYPE_CHECKING:
    from torch import Tensor

_AT_ONCE = 1 << 22  # cosines that are held at one time
_CANCELLED = 0.01  # of the sum of their sizes: cosines that add up to less say nothing


class Overlap(NamedTuple):
    """Which rows stand for the same token: row `small[k]` of the small model and row `large[k]` of the large one.

    `lacking` are the rows of the small model whose tokens the large one does not know, ascending.
    """

    small: Tensor
    large: Tensor
    lacking: Tensor


class Grown(NamedTuple):
    """`rows` [lacking, width] in float64 for each table of the large model.

    `unlike` are the rows of the small model whose cosines cancelled, so that theirs are mean rows.
    """

    rows: Mapping[str, Tensor]
    unlike: Tensor


def overlap(small: Mapping[str, int], large: Mapping[str, int]) -> Overlap:
    """Tokens with their rows in both models, put together by their text.

    Raises:
        InputError: they have no token in common.

    >>> overlap({"a": 0, "ein": 1, "b": 2}, {"b": 0, "one": 1, "a": 5})
    Overlap(small=tensor([0, 2]), large=tensor([5, 0]), lacking=tensor([1]))
    """
    common = sorted((row, large[token]) for token, row in small.items() if token in large)
    if not common:
        raise InputError(
            "the two vocabularies have no token in common",
            hint="rows of new tokens are made from common ones; spellings must agree (`Ġthe` is not `▁the`).",
        )
    lacking = sorted(row for token, row in small.items() if token not in large)
    here, there = zip(*common, strict=True)
    return Overlap(torch.tensor(here), torch.tensor(there), torch.tensor(lacking, dtype=torch.int64))


def grown(tables: Mapping[str, Tensor], like: Tensor, tokens: Overlap, *, nearest: int | None = None) -> Grown:
    """Rows for the tokens that the large model lacks.

    Args:
        tables: tensors of the large model with a row per token, [large rows, ...].
        like: embedding of the small model, [small rows, any width].
        nearest: sum over so many of the most similar tokens only, and over none with a cosine below 0. The paper sums
            over all, which brings new rows close to each other where every cosine is about the same.

    Raises:
        RecipeError: `nearest` is below 1.
        InputError: a table or `like` has no row for one of the tokens.
        NonFiniteError: rows of `like` that are NaN or infinite.
    """
    if nearest is not None and nearest < 1:
        raise RecipeError(f"`nearest` is {nearest}", hint="give 1 or more, or leave it out.")
    known = {name: _known(held, tokens, name) for name, held in tables.items()}
    _within(torch.cat([tokens.small, tokens.lacking]), like, "the small model's embedding")
    found: dict[str, list[Tensor]] = {name: [] for name in tables}
    unlike: list[Tensor] = []
    for weights, cancelled in _weights(like, tokens, nearest):
        unlike.append(cancelled)
        for name, rows in known.items():
            found[name].append(weights @ rows)
    rows = {name: torch.cat(parts).reshape(-1, *tables[name].shape[1:]) for name, parts in found.items()}
    return Grown(rows, tokens.lacking[torch.cat(unlike)])


def table(large: Tensor, rows: Tensor, tokens: Overlap, size: int) -> Tensor:
    """A table for the vocabulary of the small model: copied rows, rows from `grown`, mean rows without a token.

    Args:
        large: [large rows, ...], the table of the large model; the result has its dtype.
        rows: [lacking, ...].
        size: how many rows the result has.
    """
    mean = large.double().mean(0)
    result = mean.expand(size, *mean.shape).to(large.dtype).clone()
    result[tokens.small] = large[tokens.large]
    result[tokens.lacking] = rows.to(large.dtype)
    return result


def _weights(like: Tensor, tokens: Overlap, nearest: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """[some of those lacking, common] weights that add up to 1, and which of them are a plain mean."""
    common = _directions(like[tokens.small])
    step = max(1, _AT_ONCE // len(common))
    for some in tokens.lacking.split(step) or (tokens.lacking,):
        cosines = _directions(like[some]) @ common.T
        if nearest is not None:
            best, places = cosines.topk(min(nearest, len(common)), dim=1)
            cosines = torch.zeros_like(cosines).scatter_(1, places, best.clamp_min(0))
        total = cosines.sum(1, keepdim=True)
        cancelled = (total.abs() <= _CANCELLED * cosines.abs().sum(1, keepdim=True)).flatten()
        weights = cosines / torch.where(cancelled[:, None], 1.0, total)
        weights[cancelled] = 1 / len(common)
        yield weights, cancelled


def _directions(rows: Tensor) -> Tensor:
    wide = rows.double().flatten(1)
    if not wide.isfinite().all():
        raise NonFiniteError("rows of the small model's embedding hold NaN or infinity")
    return torch.nn.functional.normalize(wide, eps=1e-300)


def _known(held: Tensor, tokens: Overlap, name: str) -> Tensor:
    """[common, the rest]: rows of the large model for the tokens that both know."""
    return held[_within(tokens.large, held, name)].double().reshape(len(tokens.large), -1)


def _within(rows: Tensor, held: Tensor, name: str) -> Tensor:
    if len(rows) and int(rows.max()) >= len(held):
        raise InputError(
            f"a token has row {int(rows.max()):,}, and there are {len(held):,}",
            where=name,
            hint="leave tokens out that have no row.",
        )
    return rows
