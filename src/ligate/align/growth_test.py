from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ligate.align.growth import Overlap, grown, overlap, table
from ligate.core.errors import InputError, NonFiniteError, RecipeError

EMBEDDING = "embed_tokens.weight"


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _rows(large: Tensor, like: Tensor, tokens: Overlap, nearest: int | None = None) -> Tensor:
    return grown({EMBEDDING: large}, like, tokens, nearest=nearest).rows[EMBEDDING]


def test_worked_by_hand():
    """S: a = (1, 0), b = (0, 1), new = (3, 4): cosines .6 and .8, weights 3/7 and 4/7."""
    like = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    large = torch.tensor([[7.0, 0.0, 0.0], [0.0, 14.0, 7.0]])
    tokens = overlap({"a": 0, "new": 1, "b": 2}, {"a": 0, "b": 1})
    torch.testing.assert_close(_rows(large, like, tokens), torch.tensor([[3.0, 8.0, 4.0]], dtype=torch.float64))


def test_the_published_equation_row_by_row():
    like, large = _random(9, 4).abs(), _random(7, 5, seed=1)
    tokens = overlap({f"t{n}": n for n in range(9)}, {f"t{n + 3}": n for n in range(7)})
    found = _rows(large, like, tokens)
    for place, new in enumerate(tokens.lacking.tolist()):
        cosines = [
            float(like[new] @ like[k]) / (float(like[new].norm()) * float(like[k].norm()))
            for k in tokens.small.tolist()
        ]
        total = math.fsum(cosines)
        wanted = sum(c / total * large[k] for c, k in zip(cosines, tokens.large.tolist(), strict=True))
        torch.testing.assert_close(found[place], wanted)


def test_a_permuted_vocabulary_comes_back_exactly_and_new_tokens_are_the_planted_sums():
    """Common tokens point along axes of the small model: a new token's row there says its weights."""
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0)).tolist()
    large = _random(8, 6).float()
    small_tokens = {f"t{token}": row for row, token in enumerate(order)} | {"new0": 8, "new1": 9}
    planted = torch.zeros(2, 8)
    planted[0, 0], planted[0, 3] = 0.25, 0.75
    planted[1, 5] = 1.0
    like = torch.cat([torch.diag(torch.arange(1.0, 9.0)), 5 * planted])
    tokens = overlap(small_tokens, {f"t{n}": n for n in range(8)})
    found = grown({EMBEDDING: large}, like, tokens)
    assert len(found.unlike) == 0
    result = table(large, found.rows[EMBEDDING], tokens, 10)
    assert torch.equal(result[:8], large[order])
    torch.testing.assert_close(result[8], 0.25 * large[order[0]] + 0.75 * large[order[3]])
    torch.testing.assert_close(result[9], large[order[5]])


def test_heads_and_their_biases_are_made_alike():
    like, large = _random(5, 3).abs(), _random(4, 6, seed=1)
    tokens = overlap({"a": 0, "b": 1, "c": 2, "x": 3, "y": 4}, {"c": 0, "a": 1, "b": 2, "z": 3})
    bias = large.sum(1)
    found = grown({EMBEDDING: large, "lm_head.weight": 2 * large, "lm_head.bias": bias}, like, tokens).rows
    torch.testing.assert_close(found["lm_head.weight"], 2 * found[EMBEDDING])
    torch.testing.assert_close(found["lm_head.bias"], found[EMBEDDING].sum(1))
    assert found["lm_head.bias"].shape == (2,)


@pytest.mark.parametrize("nearest", [None, 5])
def test_many_tokens_are_made_in_parts(nearest: int | None, monkeypatch: pytest.MonkeyPatch):
    like, large = _random(50, 3).abs(), _random(30, 4, seed=1)
    tokens = overlap({f"t{n}": n for n in range(50)}, {f"t{n}": n for n in range(30)})
    whole = _rows(large, like, tokens, nearest)
    monkeypatch.setattr("ligate.align.growth._AT_ONCE", 70)
    torch.testing.assert_close(_rows(large, like, tokens, nearest), whole)


def test_only_the_nearest():
    like = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.1], [1.0, 0.0]])
    large = _random(3, 4)
    tokens = overlap({"a": 0, "b": 1, "c": 2, "new": 3}, {"a": 0, "b": 1, "c": 2})
    torch.testing.assert_close(_rows(large, like, tokens, nearest=1)[0], large[0])
    torch.testing.assert_close(_rows(large, like, tokens, nearest=3)[0], (large[0] + 0.6 * large[1]) / 1.6)


def test_where_cosines_cancel_it_is_the_mean_row_and_told():
    like = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    large = _random(2, 4)
    tokens = overlap({"a": 0, "b": 1, "new": 2, "empty": 3}, {"a": 0, "b": 1})
    found = grown({EMBEDDING: large}, like, tokens)
    assert found.unlike.tolist() == [2, 3]
    torch.testing.assert_close(found.rows[EMBEDDING], large.mean(0).expand(2, 4))


def test_rows_without_a_token_are_the_mean_row():
    large = _random(3, 4)
    tokens = overlap({"a": 0}, {"a": 2})
    result = table(large, _rows(large, _random(1, 2), tokens), tokens, 2)
    torch.testing.assert_close(result, torch.stack([large[2], large.mean(0)]))


def test_the_result_has_the_dtype_of_the_large_model():
    large = _random(3, 4).bfloat16()
    tokens = overlap({"a": 0, "new": 1}, {"a": 2})
    result = table(large, _rows(large, _random(2, 2).abs(), tokens), tokens, 2)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result, large[[2, 2]])


def test_nothing_in_common_is_an_error():
    with pytest.raises(InputError, match="no token in common"):
        overlap({"a": 0}, {"b": 0})


def test_a_token_without_a_row_is_an_error():
    tokens = overlap({"a": 0, "new": 4}, {"a": 0})
    with pytest.raises(InputError, match="row 4, and there are 3"):
        _rows(_random(2, 2), _random(3, 2), tokens)
    with pytest.raises(InputError, match=EMBEDDING):
        _rows(_random(2, 2), _random(3, 2), overlap({"a": 0, "new": 1}, {"a": 5}))


def test_what_is_not_finite_is_refused():
    like = _random(2, 2)
    like[1, 0] = math.nan
    with pytest.raises(NonFiniteError):
        _rows(_random(2, 2), like, overlap({"a": 0, "new": 1}, {"a": 0}))


def test_nearest_none_is_refused():
    with pytest.raises(RecipeError, match="`nearest` is 0"):
        _rows(_random(2, 2), _random(2, 2), overlap({"a": 0, "new": 1}, {"a": 0}), nearest=0)
