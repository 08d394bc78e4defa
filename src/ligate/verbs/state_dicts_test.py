from __future__ import annotations

import copy

import pytest
import torch

from ligate.core.errors import InputError, LigateError, NonFiniteError, RecipeError
from ligate.verbs.state_dicts import merge_modules, merge_state_dicts


def dicts(count, **kinds):
    draw = torch.Generator().manual_seed(0)
    return [{"w": torch.randn(3, 4, generator=draw), "b": torch.randn(4, generator=draw)} for _ in range(count)]


def test_a_weighted_average_by_hand():
    merged = merge_state_dicts("linear", None, [{"w": torch.tensor([1.0])}, {"w": torch.tensor([4.0])}], weight=[2, 1])
    assert merged["w"].tolist() == [2.0]


def test_named_models_take_values_by_name():
    models = {"x": {"w": torch.tensor([1.0])}, "y": {"w": torch.tensor([4.0])}}
    assert merge_state_dicts("linear", None, models, weight={"x": 0, "y": 1})["w"].tolist() == [4.0]


def test_values_over_the_layers_of_each_model():
    models = [{f"layers.{layer}.w": torch.tensor([number]) for layer in range(3)} for number in (1.0, 4.0)]
    merged = merge_state_dicts("linear", None, models, weight=[[0, 1], [1, 0]])
    assert [tensor.item() for tensor in merged.values()] == [4.0, 2.5, 1.0]
    by_name = merge_state_dicts("linear", None, dict(zip("ab", models, strict=True)), weight={"a": [0, 1], "b": [1, 0]})
    assert [tensor.item() for tensor in by_name.values()] == [4.0, 2.5, 1.0]


@pytest.mark.parametrize("weight", [[[[0]], [1]], [[], [1]], [{"w": 1}, 1]])
def test_values_that_cannot_be_read_are_told(weight):
    with pytest.raises(RecipeError, match="`weight` cannot be"):
        merge_state_dicts("linear", None, dicts(2), weight=weight)


def test_what_is_handed_in_stays_as_it_is():
    base, *models = dicts(3)
    before = copy.deepcopy([base, *models])
    merged = merge_state_dicts("ties", base, models, density=0.5)
    for kept, given in zip(before, [base, *models], strict=True):
        assert all(torch.equal(kept[name], given[name]) for name in kept)
    merged["w"].zero_()
    assert all(torch.equal(before[0][name], base[name]) for name in base)


def test_views_and_transposed_tensors_are_read_right():
    a = torch.arange(12.0).view(3, 4)
    merged = merge_state_dicts("linear", None, [{"w": a.t()}, {"w": torch.zeros(4, 3)}])
    assert torch.equal(merged["w"], a.t() / 2)


def test_the_dtype_can_be_asked_for():
    assert merge_state_dicts("linear", None, dicts(2), dtype="bfloat16")["w"].dtype == torch.bfloat16


def test_modules_give_a_new_module():
    one, two = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    before = copy.deepcopy(one.state_dict())
    merged = merge_modules("linear", None, [one, two])
    assert merged is not one
    assert torch.allclose(merged.weight, (one.weight + two.weight) / 2)
    assert torch.equal(one.weight, before["weight"])


def test_tensors_can_be_left_out_on_request():
    assert list(merge_state_dicts("linear", None, dicts(2), drop=["b"])) == ["w"]


def test_models_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="model2"):
        merge_state_dicts("linear", None, [{"w": torch.ones(2)}, {"w": torch.ones(3)}])


def test_nan_is_named():
    with pytest.raises(NonFiniteError, match="model2"):
        merge_state_dicts("linear", None, [{"w": torch.ones(1)}, {"w": torch.tensor([float("nan")])}])


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: merge_state_dicts("lineer", None, dicts(2)), "linear"),
        (lambda: merge_state_dicts("linear", None, dicts(2), wieght=1), "weight"),
        (lambda: merge_state_dicts("ties", None, dicts(2)), "base"),
        (lambda: merge_state_dicts("ties", {"w": torch.ones(1)}, {"base": {"w": torch.ones(1)}}), "rename"),
        (lambda: merge_modules("linear", None, []), "no model"),
    ],
)
def test_mistakes_are_told(call, word):
    with pytest.raises(RecipeError) as caught:
        call()
    assert word in str(caught.value)


def test_something_else_is_no_model():
    with pytest.raises(InputError, match="int is no model"):
        merge_state_dicts("linear", None, [{"w": torch.ones(1)}, 3])


def test_what_was_measured_is_handed_in_beside_the_models():
    models, known = dicts(2), [{"w": torch.full((3, 4), 3.0)}, {"w": torch.ones(3, 4)}]
    merged = merge_state_dicts("fisher", None, models, measured={"fisher": known}, normalize=False)
    torch.testing.assert_close(merged["w"], models[0]["w"] * 0.75 + models[1]["w"] * 0.25)
    torch.testing.assert_close(merged["b"], (models[0]["b"] + models[1]["b"]) / 2)
    named = dict(zip("xy", models, strict=True)), {"fisher": dict(zip("xy", known, strict=True))}
    again = merge_state_dicts("fisher", None, named[0], measured=named[1], normalize=False)
    assert torch.equal(again["w"], merged["w"])


@pytest.mark.parametrize(("measured", "text"), [
    ({}, "needs a measured `fisher`"),
    ({"fisher": [{"w": torch.ones(3, 4)}]}, "needs a measured `fisher` of model2"),
    ({"fisher": {"model1": {"w": torch.ones(3, 4)}, "other": {"w": torch.ones(3, 4)}}}, "given for `other`"),
    ({"importance": {"w": torch.ones(3, 4)}}, "takes no measured `importance`"),
])  # fmt: skip
def test_measured_tensors_that_are_lacking_or_too_many_are_told(measured, text):
    with pytest.raises(LigateError) as error:
        merge_state_dicts("fisher", None, dicts(2), measured=measured)
    assert text in str(error.value)
