from __future__ import annotations

import json

import pytest

from ligate.core.errors import InputError, VerifyError
from ligate.core.tensors import Header
from ligate.engine.blocks import SEGMENT
from ligate.engine.record import Entry, Input, Record, StepRecord, check, from_text, model_digest, to_text

EMPTY = json.dumps({"format": 1, "steps": [], "versions": {}, "recipe": {}, "sources": {}, "files": {}, "digest": None})


def entry(digest="d0", *, shape=(2, 3), segment=SEGMENT, stats=None, params=None, method="merge/linear"):
    inputs = (Input("a", "w", "da"), Input("b", "w", "db"))
    return Entry(Header("BF16", shape), digest, segment, method, None, inputs, params or {}, stats or {})


def record(**tensors):
    step = StepRecord(None, "plan", tensors or {"w": entry()}, (("a", "extra"),))
    return Record(
        {"ligate": "1"}, {"merge": {}}, {"a": {"hub": "o/a"}, "b": {}}, (step,), {"format": "pt"}, {"c": "f0"}
    )


def found(made, **other):
    tensors = {name: (one.header, one.digest) for name, one in made.tensors.items()}
    return {"tensors": tensors, "metadata": made.metadata, "files": made.files} | other


def test_what_is_written_is_read_back_the_same():
    made = record(w=entry(params={"weight": (0.5, 1.0)}, stats={"s": {"kept": [1, 2]}}), v=entry("d1", segment=7))
    text = to_text(made)
    again = from_text(text)
    assert to_text(again) == text
    assert again.tensors["w"].inputs == made.tensors["w"].inputs
    assert again.tensors["v"].segment == 7
    assert again.steps[0].dropped == (("a", "extra"),)
    assert again.sources == made.sources


def test_equal_parameters_are_stored_once():
    made = record(v=entry(params={"weight": 1.0}), w=entry(params={"weight": 1.0}), x=entry(params={"weight": 2.0}))
    data = json.loads(to_text(made))
    assert data["steps"][0]["parameters"] == [{"weight": 1.0}, {"weight": 2.0}]
    assert [from_text(to_text(made)).tensors[name].params["weight"] for name in "vwx"] == [1.0, 1.0, 2.0]


def test_what_is_not_finite_becomes_a_word():
    json.loads(to_text(record(w=entry(stats={"s": {"norm": float("nan")}}))), parse_constant=pytest.fail)


def test_a_source_is_told_with_the_digest_of_what_was_read_of_it():
    data = json.loads(to_text(record()))
    assert data["sources"]["a"] == {"hub": "o/a", "tensors": 1, "digest": model_digest({"w": "da"})}


def test_the_digest_of_a_model_does_not_depend_on_the_order_of_its_tensors():
    assert model_digest({"a": "1", "b": "2"}) == model_digest({"b": "2", "a": "1"})
    assert model_digest({"a": "1", "b": "2"}) != model_digest({"a": "2", "b": "1"})
    assert model_digest({"a": "1", "b": None}) is None


def test_nothing_is_found_where_nothing_changed():
    made = record()
    assert check(made, **found(made)) == []


@pytest.mark.parametrize(
    ("change", "kind", "name"),
    [
        ({"tensors": {}}, "tensor", "w"),
        ({"tensors": {"w": (Header("BF16", (2, 3)), "other")}}, "tensor", "w"),
        ({"tensors": {"w": (Header("BF16", (3, 2)), "d0")}}, "tensor", "w"),
        ({"tensors": {"w": (Header("F16", (2, 3)), "d0")}}, "tensor", "w"),
        ({"files": {}}, "file", "c"),
        ({"files": {"c": "other"}}, "file", "c"),
        ({"files": {"c": "f0", "new": "f1"}}, "file", "new"),
        ({"metadata": {}}, "metadata", "safetensors header"),
    ],
)
def test_every_change_is_named(change, kind, name):
    made = record()
    (mismatch,) = check(made, **found(made, **change))
    assert (mismatch.kind, mismatch.name) == (kind, name)


def test_a_tensor_too_many_is_named():
    made = record()
    more = {**found(made)["tensors"], "extra": (Header("F32", ()), None)}
    assert [one.name for one in check(made, **found(made, tensors=more))] == ["extra"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 99}', '{"format": 1}', '{"format": 1, "steps": 3, "sources": {}}', EMPTY]
)
def test_what_is_no_record_is_refused(text):
    with pytest.raises(InputError):
        from_text(text)


def test_a_record_whose_own_digest_does_not_fit_was_changed():
    text = to_text(record())
    with pytest.raises(VerifyError, match="digest"):
        from_text(text.replace('"digest": "d0"', '"digest": "d1"'))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"merge": {}', '"merge": {"method": "ties"}'),
        ('"ligate": "1"', '"ligate": "2"'),
        ('"weight": 0.25', '"weight": 0.75'),
        ('"merge/linear"', '"merge/ties"'),
        ('"extra"', '"others"'),
        ('"plan": "plan"', '"plan": "other"'),
        ('"hub": "o/a"', '"hub": "o/b"'),
        ('"c": "f0"', '"c": "f1"'),
        ('"format": 1', '"recipe": {},\n"format": 1'),  # a second recipe, which JSON passes over
        ('"format": 1', '"more": 1,\n"format": 1'),
        ('"format": 1', '"format":  1'),
    ],
)
def test_whatever_else_was_changed_breaks_the_seal(old, new):
    text = to_text(record(w=entry(params={"weight": 0.25})))
    assert old in text
    with pytest.raises(VerifyError, match="seal"):
        from_text(text.replace(old, new))


def test_nothing_may_stand_behind_the_seal():
    text = to_text(record())
    with pytest.raises(VerifyError, match="seal"):
        from_text(text.removesuffix("\n}\n") + ',\n"more": 1\n}\n')


def test_a_record_without_a_seal_is_refused():
    text = to_text(record())
    with pytest.raises(VerifyError, match="no seal"):
        from_text(text[: text.index(',\n"seal"')] + "\n}\n")
