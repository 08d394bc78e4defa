from __future__ import annotations

import pytest
import yaml

from ligate.core.tensors import Header
from ligate.engine.record import Entry, Input, Record, StepRecord
from ligate.verbs.model_card import Parent, licence_note, model_card, parent

ENTRY = Entry(Header("F32", (1,)), "d", 1, "merge/linear", None, (Input("a", "w", "da"),), {}, {})
RECORD = Record(
    {"ligate": "1"}, {"merge": {"models": ["a"]}}, {"a": {}}, (StepRecord(None, "p", {"w": ENTRY}, ()),), {}, {}
)


def front_matter(parents):
    return yaml.safe_load(model_card(RECORD, parents).split("---\n")[1])


def test_the_hub_reads_parents_relation_and_licence():
    facts = front_matter([Parent("a", "org/a", "mit"), Parent("b", None, "mit")])
    assert facts["base_model"] == ["org/a"]  # the Hub would take `b` for somebody's model
    assert facts["base_model_relation"] == "merge"
    assert facts["license"] == "mit"


def test_licences_that_differ_are_told_and_none_is_chosen():
    parents = [Parent("a", None, "mit"), Parent("b", None, "llama3")]
    assert front_matter(parents)["license"] == "other"
    assert "a: mit, b: llama3" in licence_note(parents)
    assert "settle which terms hold" in model_card(RECORD, parents)


def test_an_unknown_licence_is_not_made_up():
    parents = [Parent("a", None, "mit"), Parent("b", None, None)]
    assert "license" not in front_matter(parents)
    assert licence_note(parents).startswith("no licence is known of b")


def test_nothing_is_said_where_nothing_is_known():
    assert licence_note([Parent("a", None, None)]) is None


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# x", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: my-licence\n---\n", "my-licence"),
        ("---\nlicense: [a\n---\n", None),
        ("---\n- a\n---\n", None),
        ("license: mit", None),
        ("---\nnever closed", None),
        ("", None),
    ],
)
def test_the_licence_stands_in_the_parents_card(tmp_path, text, licence):
    (tmp_path / "README.md").write_text(text)
    assert parent("a", None, tmp_path).licence == licence


def test_a_parent_without_a_card_has_no_licence(tmp_path):
    assert parent("a", None, tmp_path).licence is None
    assert parent("a", None, None).licence is None
