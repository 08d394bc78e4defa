from __future__ import annotations

import pytest
import torch

from ligate.core.errors import RecipeError
from ligate.io.memory import MemorySource
from ligate.io.views import aliased, prefix_between, stripped


def source(*names: str) -> MemorySource:
    return MemorySource("mine", {name: torch.full((2,), float(place)) for place, name in enumerate(names)})


def read(view: object, name: str) -> list[float]:
    out = torch.zeros(view.headers()[name].shape)
    view.read_into(name, 0, memoryview(out.view(torch.uint8).numpy()))
    return out.tolist()


def test_a_prefix_is_taken_off_where_it_stands():
    view = stripped(source("module.up", "module.down", "head"), "module.")
    assert list(view.headers()) == ["up", "down", "head"]
    assert read(view, "down") == [1, 1] and read(view, "head") == [2, 2]
    assert view.label == "mine" and view.place("up") == "memory" and view.folder is None


def test_a_prefix_that_no_name_has_is_an_error():
    with pytest.raises(RecipeError, match=r"(?s)no tensor name begins with 'modul\.'.*'module\.up'"):
        stripped(source("module.up"), "modul.")


@pytest.mark.parametrize(("names", "words"), [(("m.up", "up"), "'m.up' and 'up'"), (("m.", "m.x"), "would have none")])
def test_a_prefix_never_makes_two_tensors_one(names, words):
    with pytest.raises(RecipeError, match=words):
        stripped(source(*names), "m.")


def test_an_alias_is_a_further_name_of_the_same_numbers():
    view = aliased(source("a", "embed"), {"head": "embed"})
    assert list(view.headers()) == ["a", "embed", "head"]
    assert read(view, "head") == read(view, "embed") == [1, 1]


@pytest.mark.parametrize(
    ("alias", "words"), [({"a": "embed"}, "a tensor 'a' of its own"), ({"head": "embde"}, "did you mean 'embed'")]
)
def test_an_alias_must_be_new_and_lead_somewhere(alias, words):
    with pytest.raises(RecipeError, match=words):
        aliased(source("a", "embed"), alias)


@pytest.mark.parametrize("prefix", ["model.", "module.", "_orig_mod.", "base_model.model.", "_orig_mod.module."])
def test_a_known_prefix_is_recognised_on_the_side_that_has_it(prefix):
    plain = [f"layers.{i}.weight" for i in range(3)]
    longer = [prefix + name for name in plain]
    assert prefix_between(longer, plain) == prefix
    assert prefix_between(plain, longer) is None


def test_a_prefix_that_explains_most_names_is_told_even_if_some_more_differ():
    plain = [f"encoder.layer.{i}.weight" for i in range(9)]
    headed = [f"bert.{name}" for name in plain] + ["classifier.weight"]
    assert prefix_between(headed, plain) == "bert."


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (["model.a", "model.b"], ["model.a", "model.c"]),
        (["model.a", "model.b", "model.c"], ["a", "x", "y"]),
        (["a"], ["b"]),
        ([], ["a"]),
        (["module.a"], []),
    ],
)
def test_models_that_differ_otherwise_get_no_such_advice(names, others):
    assert prefix_between(names, others) is None
