"""What every method of the catalogue must hold. A new method is tested by existing."""

from __future__ import annotations

import inspect
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ligate.core.errors import RecipeError
from ligate.core.params import Range
from ligate.engine import blocks
from ligate.ops import order, pile

from . import cases

FLOATS = [torch.float32, torch.float64]


def by_id(card):
    return card.id


every_method = pytest.mark.parametrize("card", cases.CARDS, ids=by_id)
every_method_with_base = pytest.mark.parametrize("card", cases.WITH_BASE, ids=by_id)


@pytest.fixture
def small_cuts(monkeypatch):
    """Many segments, blocks, glimpses and fall-backs without large tensors."""
    for module, name, value in (
        (blocks, "BLOCK", 1 << 10),
        (blocks, "SEGMENT", 1 << 12),
        (blocks, "GLIMPSE", 1 << 6),
        (order, "SAMPLE", 1 << 10),
        (pile, "CAPACITY", 1 << 7),
        (pile, "BINS", 1 << 6),
    ):
        monkeypatch.setattr(module, name, value)


@every_method_with_base
@pytest.mark.parametrize("dtype", FLOATS)
def test_merging_copies_of_the_base_gives_the_base(card, dtype):
    base, tuned = cases.draw(card, (7, 5), dtype=dtype)
    for params in cases.variants(card, len(tuned)):
        assert torch.equal(cases.call(card, base, base.expand_as(tuned), params), base)


@every_method
@pytest.mark.parametrize("dtype", FLOATS)
def test_merging_copies_of_one_model_gives_that_model(card, dtype):
    base, tuned = cases.draw(card, (7, 5), dtype=dtype)
    merged = cases.call(card, base, tuned[:1].expand_as(tuned), cases.neutral(card, len(tuned)))
    torch.testing.assert_close(merged, tuned[0], rtol=0, atol=8 * torch.finfo(dtype).eps * tuned.abs().max().item())


@every_method
def test_the_order_of_the_models_matters_exactly_where_the_card_says(card):
    base, tuned = cases.draw(card, (40, 30), dtype=torch.float32)
    models = len(tuned)
    same = True
    for params in cases.variants(card, models):
        first = cases.merge(card, base, tuned, params)
        for turn in itertools.permutations(range(models)):
            turned = {
                name: tuple(value[k] for k in turn) if card.params[name].per_model else value
                for name, value in params.items()
            }
            names = [cases.labels(models)[k] for k in turn]
            merged = cases.merge(card, base, tuned[list(turn)], turned, names=names)
            same = same and torch.allclose(merged, first, rtol=3e-7, atol=1e-9)
    assert same == card.symmetric or models == 1


@every_method
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4)])
def test_shape_and_dtype_are_kept_and_inputs_untouched(card, dtype, shape):
    base, tuned = cases.draw(card, shape, dtype=dtype)
    before = [None if x is None else x.clone() for x in (base, tuned)]
    for params in cases.variants(card, len(tuned)):
        merged = cases.call(card, base, tuned, params)
        assert merged.shape == shape and merged.dtype == dtype
    assert torch.equal(tuned, before[1]) and (base is None or torch.equal(base, before[0]))


@every_method
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_blocks_through_the_engine_give_the_bits_of_the_whole_tensor(card, dtype, small_cuts):
    base, tuned = cases.draw(card, (130, 77), dtype=dtype)
    wide = torch.float32 if dtype == torch.bfloat16 else torch.float64
    for params in cases.variants(card, len(tuned)):
        whole = cases.call(card, None if base is None else base.to(wide), tuned.to(wide), params).to(dtype)
        merged = cases.merge(card, base, tuned, params)
        # Sums of squares and of magnitudes are added up block by block: an ulp of float64 in a coefficient.
        torch.testing.assert_close(merged, whole, rtol=1e-13, atol=1e-15 if dtype == torch.float64 else 0)
        assert torch.equal(merged, cases.merge(card, base, tuned, params, threads=3))


@every_method
def test_the_seed_alone_decides_what_is_random(card):
    base, tuned = cases.draw(card, (40, 30))
    drawn = False
    for params in cases.variants(card, len(tuned)):
        first, again, other = (cases.merge(card, base, tuned, params, seed=seed) for seed in (3, 3, 4))
        assert torch.equal(first, again)
        drawn = drawn or not torch.equal(first, other)
    assert drawn == ("Bernoulli" in (inspect.getdoc(card.function) or ""))


@every_method
def test_a_wrong_value_is_refused_with_its_limits(card):
    for param in card.params.values():
        wrong = [math.nan, "much"] if param.kind in (int, float) else ["much", 7]
        if param.limit and param.limit.high < math.inf:
            wrong += [param.limit.high + 0.5, param.limit.low - 0.5]
        for value in wrong:
            with pytest.raises(RecipeError, match=f"`{param.name}` must be") as error:
                param.checked(value)
            assert f"Got {value!r}" in str(error.value)
        assert param.required or param.checked(param.default) == param.default


@every_method
def test_a_share_lives_between_0_and_1(card):
    for name in {"density", "trim", "t"} & set(card.params):
        assert card.params[name].limit == Range(0, 1)


@every_method
def test_a_rule_called_with_the_wrong_number_of_values_says_so(card):
    base, tuned = cases.draw(card, (4, 4))
    for name in (name for name, param in card.params.items() if param.per_model):
        params = cases.resolved(card, len(tuned)) | {name: (1.0,) * (len(tuned) + 1)}
        with pytest.raises(RecipeError, match=f"`{name}` has {len(tuned) + 1} values for {len(tuned)} model"):
            cases.call(card, base, tuned, params)


@every_method
def test_the_docstring_tells_everything(card):
    doc = inspect.getdoc(card.function) or ""
    for part in (".. math::", "Shapes: ", "Source: ", "Differs: ", ">>> "):
        assert part in doc, f"{card.id} has no {part.strip()}"
    assert card.summary.endswith(".") and len(card.summary) < 120
    missing = [name for name in card.params if f"``{name}" not in doc]
    assert not missing, f"{card.id} does not explain {missing}"
    assert card.title and card.source


@every_method_with_base
@pytest.mark.parametrize("dtype", FLOATS)
def test_entries_in_which_no_model_differs_from_the_base_stay_as_they_are(card, dtype):
    if card.id in cases.KEEPS_NO_ROW:
        pytest.skip(cases.KEEPS_NO_ROW[card.id])
    base, tuned = cases.draw(card, (20, 30), dtype=dtype)
    tuned[:, 5:15] = base[5:15]
    for params in cases.variants(card, len(tuned)):
        assert torch.equal(cases.call(card, base, tuned, params)[5:15], base[5:15])
        assert torch.equal(cases.merge(card, base, tuned, params)[5:15], base[5:15])


DEGENERATE = {
    "all zero": lambda base, tuned: (base * 0, tuned * 0),
    "one model is the base": lambda base, tuned: (base, torch.cat([base[None], tuned[1:]])),
    "all models equal": lambda base, tuned: (base, tuned[:1].expand_as(tuned).clone()),
    "base zero": lambda base, tuned: (base * 0, tuned),
    "models zero": lambda base, tuned: (base, tuned * 0),
    "opposite": lambda base, tuned: (base, -base.expand_as(tuned)),
    "constant": lambda base, tuned: (torch.ones_like(base), torch.full_like(tuned, 2)),
    "one entry": lambda base, tuned: (base[:1, :1], tuned[:, :1, :1]),
    "tiny": lambda base, tuned: (base * 1e-38, tuned * 1e-38),
    "large": lambda base, tuned: (base * 1e30, tuned * 1e30),
}


@every_method
@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("dtype", FLOATS)
def test_degenerate_inputs_give_finite_results(card, kind, dtype):
    base, tuned = cases.draw(card, (6, 5), dtype=dtype)
    origin, tuned = DEGENERATE[kind](tuned[0] * 0.9 if base is None else base, tuned)
    for params in cases.variants(card, len(tuned)):
        merged = cases.call(card, None if base is None else origin, tuned, params)
        assert merged.isfinite().all(), (kind, params)


@every_method
def test_float32_rounded_once_is_float64_rounded_once(card):
    """bfloat16 checkpoints are computed in float32: hardly any stored number may differ for it."""
    base, tuned = cases.draw(card, (1000, 1000), dtype=torch.bfloat16)
    allowed = 1e-4 if card.id == "merge/linear" else 5e-4
    for params in (cases.resolved(card, len(tuned)), *list(cases.variants(card, len(tuned)))[-2:]):
        narrow, wide = (
            cases.call(card, None if base is None else base.to(dtype), tuned.to(dtype), params) for dtype in FLOATS
        )
        one, other = narrow.bfloat16().double(), wide.bfloat16().double()
        half_way = (wide - (one + other) / 2).abs() <= 1e-13 * wide.abs()  # no type can tell where such a one belongs
        differing = ((one != other) & ~half_way).double().mean().item()
        assert differing <= allowed, f"{differing:.4%} differ with {params}"


@every_method
def test_gradients_change_no_result_and_reach_every_model(card):
    base, tuned = cases.draw(card, (6, 5), dtype=torch.float64)
    params = cases.neutral(card, len(tuned))
    plain = cases.call(card, base, tuned, params)
    tuned.requires_grad_()
    with_gradient = cases.call(card, base, tuned, params)
    torch.testing.assert_close(with_gradient, plain, rtol=1e-14, atol=0)
    with_gradient.sum().backward()
    assert tuned.grad is not None and tuned.grad.isfinite().all()
    assert all(row.abs().sum() > 0 for row in tuned.grad)


@every_method
@settings(max_examples=20)
@given(
    numbers=st.lists(
        st.floats(-2, 2, width=32, allow_subnormal=False) | st.sampled_from([0.0, 1.0, -1.0]), min_size=4, max_size=40
    ),
    data=st.data(),
)
def test_any_numbers_give_finite_results_of_the_right_shape(card, numbers, data):
    models = cases.models_of(card)
    rows = len(numbers) // (models + 1)
    table = torch.tensor(numbers[: rows * (models + 1)]).view(models + 1, rows)
    base = table[0] if card.base == "required" else None
    params = data.draw(st.sampled_from(list(cases.variants(card, models))))
    merged = cases.call(card, base, table[1:], params)
    assert merged.shape == (rows,) and merged.isfinite().all()
