from __future__ import annotations

import pytest

from ligate.core.errors import RecipeError
from ligate.methods import _catalogue
from ligate.recipe.schema import AdapterSpec, Gradient
from ligate.verbs.compose import compose, spoken_value
from ligate.verbs.opening import label_of, labels_of
from ligate.verbs.sources import source_spec

TIES, SLERP = _catalogue.load("ties"), _catalogue.load("slerp")


def values(recipe):
    return [(s.name, s.model, s.value) for s in recipe.steps[0].settings]


def test_models_get_labels_from_their_paths():
    recipe = compose(TIES, ["x/math", "y/code"], "models/base", {})
    assert (recipe.steps[0].base, recipe.steps[0].models) == ("base", ("math", "code"))
    assert recipe.sources["code"].path == "y/code"


def test_equal_names_are_numbered():
    assert labels_of(["x/model", "y/model", "z/model.safetensors"]) == ("model", "model-2", "model-3")


@pytest.mark.parametrize(
    ("path", "label"),
    [("org/name@v1", "name"), ("/a/b c!/", "b-c"), ("..", "model"), ("m.bin", "m"), ("a.v2", "a.v2")],
)
def test_labels_are_plain(path, label):
    assert label_of(path) == label


def test_one_value_speaks_of_all_models_and_a_list_of_each():
    assert values(compose(TIES, ["a", "b"], "c", {"density": 0.2})) == [("density", None, 0.2)]
    assert values(compose(TIES, ["a", "b"], "c", {"weight": [1, 2]})) == [("weight", "a", 1), ("weight", "b", 2)]


def test_a_list_for_a_shared_parameter_is_spread_over_the_layers():
    assert values(compose(SLERP, ["a"], "b", {"t": [0, 1]})) == [("t", None, Gradient((0, 1)))]


def test_a_list_of_another_length_is_refused_with_the_models():
    with pytest.raises(RecipeError, match="3 values for 2 models"):
        compose(TIES, ["a", "b"], "c", {"weight": [1, 2, 3]})


def test_an_unknown_parameter_gets_the_nearest():
    with pytest.raises(RecipeError) as caught:
        compose(TIES, ["a", "b"], "c", {"denity": 0.2})
    assert "density" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.2", 0.2), ("3", 3), ("true", True), ("paper", "paper"), ("0.3,0.7", [0.3, 0.7]), ("none", None)],
)
def test_values_are_read_as_they_are_spoken(text, value):
    assert spoken_value(text) == value


def test_adapters_and_revisions_are_taken_apart():
    spec = source_spec("m", "org/name@v1+org/lora@v2+./local", "test")
    assert (spec.path, spec.revision) == ("org/name", "v1")
    assert spec.adapters == (AdapterSpec("org/lora", "v2"), AdapterSpec("./local"))


def test_a_path_that_exists_is_never_taken_apart(tmp_path):
    odd = tmp_path / "a+b@c"
    odd.mkdir()
    assert source_spec("m", str(odd), "test").path == str(odd)
