"""`layer_swap` from the outside: who got which block stands in the record, and a recipe can decide it."""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file

RECIPE = """\
sources: {base: ./base, a: ./a, b: ./b}
merge:
  method: layer_swap
  base: base
  models: [a, b]
  parameters:
    compare: length
    preference:
      - {match: "layers.[01].*", value: {b: 0}}
      - {match: "layers.2.*", value: {a: 0}}
      - 1
"""


def test_blocks_come_whole_from_one_model_and_the_record_says_from_which(desk, fine):
    fine("merge", "--method", "layer_swap", "--base", "base", "a", "b", "-o", "out", "--set", "compare=length")
    found, a, b = (load_file(desk / name / "model.safetensors") for name in ("out", "a", "b"))
    entries = json.loads((desk / "out" / "ligate.json").read_text())["steps"][-1]["tensors"]
    for name, tensor in found.items():
        (taken,) = entries[name]["stats"]["choice"]["taken_from"]
        assert torch.equal(tensor, (a, b)[taken][name])
    fine("verify", "out")


def test_a_recipe_decides_by_hand(desk, fine):
    (desk / "swap.yaml").write_text(RECIPE)
    fine("merge", "swap.yaml", "out")
    found, a, b = (load_file(desk / name / "model.safetensors") for name in ("out", "a", "b"))
    for number, model in enumerate((a, a, b)):
        name = f"layers.{number}.up.weight"
        assert torch.equal(found[name], model[name])


def test_a_recipe_that_wants_no_model_is_refused(desk, ligate):
    (desk / "swap.yaml").write_text(RECIPE.replace("value: {b: 0}", "value: 0"))
    ran = ligate("check", "swap.yaml")
    assert ran.code == 2
    assert "the preference of every model is 0" in ran.err
    assert "swap.yaml:9" in ran.err
