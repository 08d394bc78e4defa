from __future__ import annotations

import json

import pytest
import torch
import yaml

from ligate.io.memory import MemorySource
from ligate.methods import _catalogue
from ligate.recipe.parse import parse_text
from ligate.recipe.resolve import resolve
from ligate.recipe.schema import AlignSpec
from ligate.verbs.canonical import as_written, as_yaml, by_label, canonical

RECIPES = {
    "scalars": "merge: {method: linear, models: [a, b], parameters: {weight: 2, normalize: false}}",
    "by model": "merge: {method: linear, models: [a, b], parameters: {weight: {a: 0.3, b: 0.7}}}",
    "some models": "merge: {method: linear, models: [a, b], parameters: {weight: {b: 0.7}}}",
    "gradient": "merge: {method: slerp, base: a, models: [b], parameters: {t: [0, 0.5, 1]}}",
    "patterns": "merge: {method: ties, base: a, models: [b], parameters: "
    "{density: [{match: '*.0.*', value: 0.1}, {match: '*.w', value: {b: [0.2, 0.3]}}, 0.4]}}",
    "output": "merge: {method: linear, models: [a, b]}\noutput: {dtype: float32, donor: b, shard_size: 3MB, drop: [x]}",
    "steps": "steps: [{name: mid, method: linear, models: [a, b], dtype: float16}, "
    "{method: ties, base: a, models: [mid]}]\nseed: 5",
    "slices": "merge: {method: passthrough, slices: [{layers: {a: [0, 1]}}, {layers: {b: [0, 2]}, "
    "parameters: {scale: 0.5}}]}",
    "slices of two methods": "merge: {method: passthrough, parameters: {scale: 3}, slices: [{layers: {a: [0, 1]}}, "
    "{layers: {a: [0, 1], b: [0, 1]}, method: linear, parameters: {weight: {a: 1, b: 2}}}]}",
}
MERGEKIT = """
merge_method: task_arithmetic
base_model: a
models: [{model: b, parameters: {weight: [{filter: "0.w", value: 0.5}, {value: [0.1, 0.9]}]}}]
parameters: {lambda: 0.7}
dtype: float32
"""


@pytest.fixture
def sources():
    names = ("embed.weight", "layers.0.w", "layers.1.w", "x")
    tensors = {name: torch.ones(4, 4, dtype=torch.bfloat16) for name in names}
    return {label: MemorySource(label, tensors) for label in ("a", "b", "mid")}


def plans(recipe, sources):
    return [resolve(recipe, step, sources, _catalogue.load).digest() for step in recipe.steps]


@pytest.mark.parametrize("recipe", [*(f"sources: {{a: a, b: b}}\n{r}" for r in RECIPES.values()), MERGEKIT])
def test_the_canonical_recipe_has_the_same_plan_and_is_its_own_canonical_form(recipe, sources):
    parsed = parse_text(recipe)
    data = canonical(parsed, _catalogue.load, as_written)
    for text in (json.dumps(data), as_yaml(data)):
        again = parse_text(text)
        assert plans(again, sources) == plans(parsed, sources)
        assert canonical(again, _catalogue.load, as_written) == data


def test_every_default_is_written_out():
    data = canonical(parse_text("sources: {a: a, b: b}\nmerge: {method: linear, models: [a, b]}"), _catalogue.load)
    assert data["merge"]["parameters"] == {"weight": 1.0, "normalize": True}
    assert data["seed"] == 0


def test_labels_stand_for_paths():
    recipe = parse_text("sources: {a: {path: /x/y, adapter: [/p/q, /r/s]}}\nmerge: {method: passthrough, models: [a]}")
    source = canonical(recipe, _catalogue.load, by_label)["sources"]["a"]
    assert source["path"] == "a"
    assert [adapter["path"] for adapter in source["adapter"]] == ["a+1", "a+2"]


def test_a_substring_becomes_a_pattern_that_means_the_same():
    text = MERGEKIT.replace('"0.w"', '"[0]*"')
    settings = canonical(parse_text(text), _catalogue.load)["merge"]["parameters"]["weight"]
    assert "*[[]0][*]*" in settings[0].values()


def test_yaml_keeps_short_lists_on_one_line():
    text = as_yaml({"models": ["a", "b"], "slices": [{"layers": {"a": [0, 2]}}]})
    assert "models: [a, b]" in text
    assert yaml.safe_load(text) == {"models": ["a", "b"], "slices": [{"layers": {"a": [0, 2]}}]}


@pytest.mark.parametrize(
    ("align", "spec"),
    [
        ("x.safetensors", AlignSpec("x.safetensors")),
        ("{path: x.safetensors}", AlignSpec("x.safetensors")),
        ("{to: a}", AlignSpec(to="a")),
        (
            "{to: a, method: activations, seed: 4, starts: 2, groups: g.yaml, data: d.npz}",
            AlignSpec("", "a", "activations", 4, 2, "g.yaml", "d.npz"),
        ),
    ],
)
def test_alignments_are_read_back_as_they_were(align, spec):
    text = f"sources: {{a: a, b: {{path: b, align: {align}}}}}\nmerge: {{method: linear, models: [a, b]}}"
    parsed = parse_text(text)
    assert parsed.sources["b"].align == spec
    data = canonical(parsed, _catalogue.load, as_written)
    assert parse_text(as_yaml(data)).sources["b"].align == spec


def test_a_saved_alignment_has_a_label_of_its_own():
    recipe = parse_text("sources: {b: {path: b, align: /x/y}}\nmerge: {method: passthrough, models: [b]}")
    assert canonical(recipe, _catalogue.load, by_label)["sources"]["b"]["align"] == "b+alignment"
