from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from ligate.core.tensors import Header
from ligate.engine.record import Entry, Input, Record, StepRecord
from ligate.verbs.model_card import licence_note, model_card
from ligate.verbs.parents import Licence, Parent

ENTRY = Entry(Header("F32", (1,)), "d", 1, "merge/linear", None, (Input("a", "w", "da"),), {}, {})
RECORD = Record(
    {"ligate": "1"}, {"merge": {"models": ["a"]}}, {"a": {}}, (StepRecord(None, "p", {"w": ENTRY}, ()),), {}, {}
)
MIT, LLAMA = Licence(("mit",)), Licence(("llama3",))


def front_matter(parents):
    return yaml.safe_load(model_card(RECORD, parents).split("---\n")[1])


def test_the_hub_reads_parents_relation_and_licence():
    facts = front_matter([Parent("a", "org/a", MIT), Parent("b", None, MIT), Parent("c", "org/a", MIT)])
    assert facts["base_model"] == ["org/a"]  # the Hub would take `b` for somebody's model
    assert facts["base_model_relation"] == "merge"
    assert facts["license"] == "mit"


def test_whose_place_on_the_hub_is_not_known_is_told():
    card = model_card(RECORD, [Parent("a", "org/a"), Parent("b", None)])
    assert "Not named under `base_model`, since they were given as local paths: b." in card
    assert "base_model" not in front_matter([Parent("b", None)])


def test_licences_that_differ_are_told_and_none_is_chosen():
    parents = [Parent("a", None, MIT), Parent("b", None, LLAMA)]
    assert "license" not in front_matter(parents)
    assert "a: mit, b: llama3" in licence_note(parents)
    assert "settle which terms hold" in model_card(RECORD, parents)


def test_a_licence_of_its_own_keeps_name_and_link():
    own = Licence(("other",), "my-licence", "https://example.org/terms")
    facts = front_matter([Parent("a", None, own), Parent("b", None, own)])
    assert (facts["license"], facts["license_name"], facts["license_link"]) == ("other", *own[1:])
    assert licence_note([Parent("a", None, own), Parent("b", None, own._replace(link=None))])


def test_an_unknown_licence_is_not_made_up():
    parents = [Parent("a", None, MIT), Parent("b", None)]
    assert "license" not in front_matter(parents)
    assert licence_note(parents).startswith("no licence is known of b")


def test_nothing_is_said_where_nothing_is_known():
    assert licence_note([Parent("a", None)]) is None


def test_library_and_task_are_those_of_all_parents_but_adapters():
    a = Parent("a", None, None, "diffusers", "text-to-image")
    lora = Parent("a+1", None, None, "peft", None, is_adapter=True)
    facts = front_matter([a, lora, a._replace(label="b")])
    assert (facts["library_name"], facts["pipeline_tag"]) == ("diffusers", "text-to-image")
    facts = front_matter([a, Parent("b", None, None, "transformers", None)])
    assert not {"library_name", "pipeline_tag"} & set(facts)


@pytest.mark.parametrize(
    "name", ["a|b", "x\n---\nlicense: mit", "<script>alert(1)</script>", "`rm`", "[a](http://b)", "# h"]
)
def test_no_name_can_change_the_form_of_the_card(name):
    card = model_card(RECORD, [Parent(name, None, MIT), Parent("b", None, LLAMA)])
    _, facts, body = card.split("---\n", 2)
    assert set(yaml.safe_load(facts)) == {"tags"}
    assert "<script>" not in body
    assert "[a](http" not in body
    assert body.count("\n# ") == 1
    (row,) = [line for line in body.splitlines() if "| mit |" in line]
    assert row.replace("\\|", "").count("|") == 4


def test_a_recipe_with_backticks_stays_in_its_frame():
    recipe = {"output": {"chat_template": "```\n# mine\n````"}}
    card = model_card(replace(RECORD, recipe=recipe), [Parent("a", None)])
    assert "\n`````yaml\n" in card
    assert card.endswith("`````\n")
