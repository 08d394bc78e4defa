"""What a mergekit config did stands in the record as a recipe of our own that does the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import grid
import pytest
from cases import CASES, DROPPED

from ligate.core.errors import LigateError
from ligate.methods import _catalogue
from ligate.recipe.parse import parse_text
from ligate.recipe.schema import Recipe
from ligate.verbs.canonical import as_written, canonical
from ligate.verbs.merge import merge
from ligate.verbs.preflight import plan_all
from ligate.verbs.replay import replay
from ligate.verbs.sources import open_sources

CONFIGS = {case.name: case.config for case in (*CASES, *DROPPED)} | {case.name: case.text for case in grid.cases()}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_recipe_in_the_record_has_the_same_plan(name, family_room, monkeypatch):
    monkeypatch.chdir(family_room)
    recipe = parse_text(CONFIGS[name], "merge.yml")
    again = parse_text(json.dumps(canonical(recipe, _catalogue.load, as_written)), "record.json")
    assert plans(again) == plans(recipe)


def plans(recipe: Recipe) -> list[str]:
    found: list[LigateError] = []
    sources = open_sources(recipe, found)
    try:
        planned = plan_all(recipe, sources, _catalogue.load, found, threads=None, memory=None)
        assert planned is not None, found
        return [stage.plan.digest() for stage in planned.stages]
    finally:
        sources.close()


CONFIG = """
name: half
merge_method: dare_linear
base_model: models/base
models: [{model: models/a, parameters: {weight: 1, density: [0.3, 0.7]}}]
dtype: bfloat16
---
merge_method: passthrough
slices:
  - sources: [{model: half, layer_range: [0, 3]}]
  - sources:
      - model: models/b
        layer_range: [1, 4]
        parameters: {scale: [{filter: layers.2.mlp, value: 3}, {value: 1}]}
out_dtype: float16
tokenizer_source: models/b
chat_template: chatml
random_seed: 5
"""


def test_replay_makes_the_same_folder_of_a_config_with_everything(family_room, tmp_path, monkeypatch):
    monkeypatch.chdir(family_room)
    (tmp_path / "merge.yml").write_text(CONFIG)
    merge(tmp_path / "merge.yml", tmp_path / "out")
    replay(tmp_path / "out", tmp_path / "new")
    assert digests(tmp_path / "new") == digests(tmp_path / "out")
    assert "<|im_start|>" in (tmp_path / "new" / "chat_template.jinja").read_text()


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
