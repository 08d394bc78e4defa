"""What no method may merge: it ends in an error that names the place, never in NaN."""

from __future__ import annotations

import math

import pytest
import torch

from ligate.core.errors import InputError, NonFiniteError, RecipeError

from . import cases

every_method = pytest.mark.parametrize("card", cases.CARDS, ids=lambda card: card.id)
every_method_with_base = pytest.mark.parametrize("card", cases.WITH_BASE, ids=lambda card: card.id)


@every_method
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_told_with_its_model(card, poison):
    base, tuned = cases.draw(card, (8, 6))
    tuned[-1, 3, 4] = poison
    for params in cases.variants(card, len(tuned)):
        with pytest.raises(NonFiniteError, match="at element 22") as error:
            cases.merge(card, base, tuned, params)
        assert f"model m{len(tuned) - 1}" in str(error.value)


@every_method_with_base
def test_a_base_that_is_not_finite_is_told(card):
    base, tuned = cases.draw(card, (8, 6))
    base[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match="model base: NaN at element 0"):
        cases.merge(card, base, tuned, cases.resolved(card, len(tuned)))


@every_method_with_base
def test_a_base_of_another_shape_is_refused(card):
    base, tuned = cases.draw(card, (8, 6))
    with pytest.raises(InputError, match=r"base is \(8, 5\), models are \(8, 6\)"):
        cases.call(card, base[:, :5], tuned, cases.resolved(card, len(tuned)))


@every_method
def test_one_model_alone_is_merged_or_refused(card):
    base, tuned = cases.draw(card, (8, 6))
    params = {name: value[:1] if isinstance(value, tuple) else value for name, value in cases.neutral(card, 3).items()}
    fewest, _ = card.models
    if fewest > 1:
        with pytest.raises(RecipeError, match=f"merges (at least )?{fewest} models"):
            cases.call(card, base, tuned[:1], params)
        return
    torch.testing.assert_close(cases.call(card, base, tuned[:1], params), tuned[0], rtol=0, atol=1e-7)


@every_method_with_base
def test_opposite_changes_and_none_at_all_give_numbers_of_their_size(card):
    base, tuned = cases.draw(card, (8, 6), dtype=torch.float64)
    away = tuned[0] - base
    for changes in ((away, -away, away), (away, away * 0, -away), (away * 0, away * 0, away * 0)):
        models = base + torch.stack(changes)[: len(tuned)]
        for params in cases.variants(card, len(models)):
            merged = cases.call(card, base, models, params)
            assert merged.isfinite().all() and (merged - base).abs().max() <= 10 * away.abs().max()
