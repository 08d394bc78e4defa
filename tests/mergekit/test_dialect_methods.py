"""What mergekit's methods and their parameters are called here."""

from __future__ import annotations

from textwrap import dedent

import pytest
from spoken import parsed, settings, told

from ligate.methods._catalogue import load
from ligate.recipe.dialects.mergekit_methods import RULES, method_id
from ligate.recipe.schema import Gradient

TIES = """
    merge_method: ties
    base_model: org/base
    models: [{model: org/math}, {model: org/code}]
    parameters: {weight: 0.3, density: 0.6}
    """


@pytest.mark.parametrize("name", sorted(RULES))
def test_no_parameter_is_left_to_our_own_defaults(name):
    rule = RULES[name]
    assert set(rule.fixed) | {rule.params[rule.required].name if rule.required else None} - {None} == set(
        load(method_id(name)).params
    )


@pytest.mark.parametrize("name", ["linear", "karcher"])
def test_a_base_that_is_no_origin_is_an_input(name):
    text = f"merge_method: {name}\nbase_model: o\nmodels: [{{model: a}}, {{model: b}}]\nparameters: {{weight: 1}}"
    step = parsed(text).steps[0]
    assert (step.base, step.models) == (None, ("a", "b", "o"))


@pytest.mark.parametrize("name", ["nuslerp", "multislerp"])
def test_a_base_that_may_be_left_out_is_an_origin_where_it_is_given(name):
    text = f"merge_method: {name}\nmodels: [{{model: a}}, {{model: b}}]\nparameters: {{weight: 1}}\n"
    assert (parsed(text).steps[0].base, parsed(text).steps[0].models) == (None, ("a", "b"))
    based = parsed(text.replace("models: [", "models: [{model: o}, ") + "base_model: o")
    assert (based.steps[0].base, based.steps[0].models) == ("o", ("a", "b"))


def test_the_base_of_one_slice_is_not_that_of_another_where_it_may_be_left_out():
    text = """
        merge_method: nuslerp
        slices:
          - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 2]}]
          - base_model: o
            sources:
              - {model: a, layer_range: [2, 4]}
              - {model: o, layer_range: [2, 4]}
              - {model: b, layer_range: [2, 4]}
        parameters: {weight: 1}
        """
    step = parsed(text).steps[0]
    assert (step.base, [entry.base for entry in step.slices]) == (None, [None, "o"])


def test_quoted_numbers_and_words_for_switches_count_as_in_mergekit():
    recipe = parsed(dedent(TIES).replace("density: 0.6", 'density: "6e-1", normalize: "no"'))
    assert settings(recipe, "density")[0] == (0.6, None, None)
    assert settings(recipe, "normalize")[0] == (False, None, None)


def test_rescale_is_mergekits_restored_l1_norm():
    recipe = parsed(dedent(TIES).replace("merge_method: ties", "merge_method: dare_ties"))
    assert settings(recipe, "rescale") == [("l1", None, None)]


NUSLERP = """
    merge_method: nuslerp
    models: [{model: a}, {model: b}]
    parameters:
      weight: 1
"""


@pytest.mark.parametrize(
    ("switches", "along"),
    [
        ("", [("tensor", None)]),
        ("nuslerp_row_wise: true", [("tensor", None)]),
        ("nuslerp_flatten: false", [("rows", None)]),
        ("nuslerp_flatten: false, nuslerp_row_wise: true", [("columns", None)]),
        ("nuslerp_flatten: {filter: mlp, value: false}", [("rows", "mlp"), ("tensor", None)]),
        ("nuslerp_flatten: {filter: mlp, value: false}, nuslerp_row_wise: 1", [("columns", "mlp"), ("tensor", None)]),
        ("nuslerp_flatten: no, nuslerp_row_wise: {filter: mlp, value: yes}", [("columns", "mlp"), ("rows", None)]),
        ("nuslerp_flatten: [false, true]", [(Gradient(("rows", "tensor")), None)]),
        ("nuslerp_flatten: no, nuslerp_row_wise: [true, false]", [(Gradient(("columns", "rows")), None)]),
        ("nuslerp_row_wise: [true, false]", [("tensor", None)]),
    ],
)
def test_both_switches_of_nuslerp_say_along_what_the_angle_is(switches, along):
    found = settings(parsed(NUSLERP + "".join(f"      {line}\n" for line in _lines(switches))), "along")
    assert [(value, match) for value, _, match in found] == along


def _lines(switches: str) -> list[str]:
    """At the commas between the switches, not at those in a list or a mapping."""
    return switches.replace(", nuslerp", "\nnuslerp").splitlines()


def test_switches_of_nuslerp_that_depend_on_the_tensor_in_two_ways_are_refused():
    switches = "nuslerp_flatten: {filter: mlp, value: false}\n      nuslerp_row_wise: [true, false]\n"
    text = told(NUSLERP + "      " + switches)
    assert "merge.yml:6" in text and "one of them must have one value for all tensors" in text


def test_a_slice_overrides_one_switch_of_nuslerp_and_keeps_the_other():
    text = """
        merge_method: nuslerp
        slices:
          - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 2]}]
            parameters: {nuslerp_flatten: false}
        parameters: {weight: 1, nuslerp_row_wise: true}
        """
    (entry,) = parsed(text).steps[0].slices
    assert [one.value for one in entry.settings if one.name == "along"] == ["columns"]
    assert settings(parsed(text), "along") == [("tensor", None, None)]


def test_a_guard_against_zero_that_makes_no_difference_is_noted_a_larger_one_refused():
    text = "merge_method: multislerp\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1, eps: 1e-8}"
    (note,) = parsed(text).notes
    assert note.startswith("merge.yml:3: `eps` has no effect")
    assert "`eps` above 1e-06 has no counterpart" in told(text.replace("1e-8", "0.1"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("model_stock, parameters: {filter_wise: true}", {"along": "rows", "negative_cosine": "extrapolate"}),
        ("sce, parameters: {select_topk: 0.3}", {"density": 0.3, "least_energy": 1e-6}),
        ("ramplus_tl, parameters: {r: 0.3, alpha: 0.4, epsilon: 1e-4}", {"boost": 0.3, "cap": 0.4, "epsilon": 1e-4}),
        ("ramplus_tl", {"boost": 0.1, "cap": 0.2, "epsilon": 1e-5, "scale": 1.0}),
        ("karcher, parameters: {max_iter: 3, tol: 1e-4}", {"max_iter": 3, "tol": 1e-4, "weight": 1.0}),
        ("breadcrumbs, parameters: {weight: 1, gamma: 0.2, rescale: on}", {"gamma": 0.2, "rescale": "l1"}),
        ("della_linear, parameters: {weight: 1, epsilon: 0.1}", {"epsilon": 0.1, "rescale": "l1", "normalize": False}),
    ],
)
def test_parameters_have_our_names(config, expected):
    recipe = parsed(f"{{merge_method: {config}, base_model: o, models: [{{model: a}}, {{model: b}}]}}")
    found = {one.name: one.value for one in reversed(recipe.steps[0].settings)}
    assert {name: found[name] for name in expected} == expected


def test_settings_say_what_the_config_calls_them():
    recipe = parsed("merge_method: nearswap\nbase_model: o\nmodels: [{model: a}]\nparameters: {t: 0.1}")
    assert [(one.name, one.spoken) for one in recipe.steps[0].settings] == [("near", "t")]
