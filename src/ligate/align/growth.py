"""A large model for another vocabulary, begun from a large model of one vocabulary and a small model of the other.

CLP-Transfer, "Efficient Language Model Training through Cross-Lingual and Progressive Transfer Learning", arXiv
2301.09626. Tokens that both vocabularies have keep the rows of the large model. With S the rows of the small one (of
any width), a token t that the large model lacks gets a sum over the tokens that it has,

    row(t) = sum over k  w_k(t) row(k),     w_k(t) = cos(S_t, S_k) / sum over j  cos(S_t, S_j)

and all other weights stay those of the large model. What comes out is a start for training, not a finished model.

Differs from the authors' published code, which was read: heads that are not tied to the embedding get rows in the same
way, where the code leaves in place the rows of whatever tokens had those numbers; a row without a token is the mean of
all rows of the large model, where the code has none; and where the cosines of a token all but cancel, so that dividing
by their sum means nothing, it gets the mean row of the common tokens. `nearest` is no part of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch

from ligate.core.errors import InputError, NonFiniteError, RecipeError

if TYPE_CHECKING:
    from torch import Tensor

_AT_ONCE = 1 << 22  # numbers of a part that is worked on at one time
_CANCELLED = 0.01  # of their root mean square: where the mean of the cosines is less, it says nothing


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
    common, lacking = _directions(like[tokens.small]), _directions(like[tokens.lacking])
    found, unlike = _over_all(known, common, lacking) if nearest is None else _over_few(known, common, lacking, nearest)
    for name, rows in found.items():
        rows[unlike] = known[name].double().mean(0)
    shaped = {name: rows.reshape(-1, *tables[name].shape[1:]) for name, rows in found.items()}
    return Grown(shaped, tokens.lacking[unlike])


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


def _over_all(known: Mapping[str, Tensor], common: Tensor, lacking: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Cosines are products of directions, so the sum over all tokens is one matrix for all that lack a row:

    row(t) = (S_t' M) / (S_t' s), M = sum over k  S_k row(k)', s = sum over k  S_k, with S of length 1.
    """
    total = lacking @ common.sum(0)
    squares = ((lacking @ (common.T @ common)) * lacking).sum(1).clamp_min(0)
    cancelled = total.abs() / len(common) <= _CANCELLED * (squares / len(common)).sqrt()
    below = torch.where(cancelled, 1.0, total)[:, None]
    return {name: lacking @ _products(common, rows) / below for name, rows in known.items()}, cancelled


def _products(common: Tensor, rows: Tensor) -> Tensor:
    """M of one table, a part of its rows at a time."""
    total = torch.zeros(common.shape[1], rows.shape[1], dtype=torch.float64)
    step = max(1, _AT_ONCE // max(rows.shape[1], 1))
    for some, part in zip(common.split(step), rows.split(step), strict=True):
        total += some.T @ part.double()
    return total


def _over_few(
    known: Mapping[str, Tensor], common: Tensor, lacking: Tensor, nearest: int
) -> tuple[dict[str, Tensor], Tensor]:
    found: dict[str, list[Tensor]] = {name: [lacking.new_zeros(0, rows.shape[1])] for name, rows in known.items()}
    cancelled = [torch.zeros(0, dtype=torch.bool)]
    for some in lacking.split(max(1, _AT_ONCE // len(common))):
        cosines, places = (some @ common.T).topk(min(nearest, len(common)), dim=1)
        weights = cosines.clamp_min(0)
        total = weights.sum(1, keepdim=True)
        cancelled.append(total.flatten() <= 0)
        weights = weights / torch.where(total > 0, total, 1.0)
        for name, rows in known.items():
            found[name].append(_weighted(weights, places, rows))
    return {name: torch.cat(parts) for name, parts in found.items()}, torch.cat(cancelled)


def _weighted(weights: Tensor, places: Tensor, rows: Tensor) -> Tensor:
    """sum over j  weights[t, j] rows[places[t, j]], one neighbour of all tokens at a time."""
    total = torch.zeros(len(weights), rows.shape[1], dtype=torch.float64)
    for neighbour in range(weights.shape[1]):
        total += weights[:, neighbour, None] * rows[places[:, neighbour]].double()
    return total


def _directions(rows: Tensor) -> Tensor:
    wide = rows.double().flatten(1)
    if not wide.isfinite().all():
        raise NonFiniteError("rows of the small model's embedding hold NaN or infinity")
    return torch.nn.functional.normalize(wide, eps=1e-300)


def _known(held: Tensor, tokens: Overlap, name: str) -> Tensor:
    """[common, the rest]: rows of the large model for the tokens that both know."""
    return held[_within(tokens.large, held, name)].reshape(len(tokens.large), -1)


def _within(rows: Tensor, held: Tensor, name: str) -> Tensor:
    if len(rows) and int(rows.max()) >= len(held):
        raise InputError(
            f"a token has row {int(rows.max()):,}, and there are {len(held):,}",
            where=name,
            hint="leave tokens out that have no row.",
        )
    return rows
