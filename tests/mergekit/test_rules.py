"""One tensor by each of mergekit's rules: what mergekit 0.1.5 made of it (rule_numbers.json), what a config makes here.

Each case goes from the text of a config through the dialect to our rule, so mapping and rule are guarded together,
without mergekit. `write_rule_numbers.py` writes the numbers anew. It draws nothing at random: the noise is among them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from rule_cases import CASES, SHAPE, RuleCase, inputs

from ligate.core.method import Site
from ligate.methods import _catalogue
from ligate.recipe.dialects.mergekit_methods import RULES
from ligate.recipe.findings import Findings
from ligate.recipe.parse import parse_text
from ligate.recipe.settings import Values

NUMBERS = json.loads(Path(__file__).with_name("rule_numbers.json").read_text())
EXACT = {"rtol": 1e-9, "atol": 1e-12}
IN_FLOAT32 = {"rtol": 1e-6, "atol": 1e-8}
NEAR = {
    "multislerp": {"rtol": 0, "atol": 1e-8},  # mergekit adds 1e-8 to every length
    **dict.fromkeys(("dare_linear", "dare_ties", "della", "della_linear", "ramplus_tl"), IN_FLOAT32),
}


def tensor(numbers: object) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def config(case: RuleCase) -> str:
    """The case as somebody would write it."""
    own = {name: value for name, value in case.params.items() if isinstance(value, list)}
    models = [
        {"model": f"m{k}", "parameters": {name: values[k] for name, values in own.items()}} for k in range(case.models)
    ]
    written = {"merge_method": case.method, "models": models}
    written["parameters"] = {name: value for name, value in case.params.items() if name not in own}
    return yaml.safe_dump(written | ({"base_model": "o"} if case.base else {}))


def ours(case: RuleCase) -> torch.Tensor:
    (step,) = parse_text(config(case), "merge.yml").steps
    card, findings = _catalogue.load(step.method), Findings()
    params = Values(card, step.settings, step.models, step.place).at("w", ["w"] * case.models, None, findings)
    assert not findings.errors()
    base, changes, noise = (tensor(NUMBERS[name]) for name in ("base", "changes", "noise"))
    base, models = inputs(case, base, changes)
    place = Site("w", SHAPE, 0, lambda model, step: noise[model])
    assert (step.base is not None) == case.base
    return card.function(base if case.base else None, models, site=place, **params)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_tensor_comes_out_as_from_mergekit(case):
    theirs = tensor(NUMBERS["merged"][case.name])
    torch.testing.assert_close(ours(case), theirs, **NEAR.get(case.method, EXACT))
    base, _ = inputs(case, tensor(NUMBERS["base"]), tensor(NUMBERS["changes"]))
    assert (theirs - base).abs().max() > 1e-9, "the case shows nothing"


def test_every_method_of_mergekit_has_a_case():
    assert {case.method for case in CASES} == set(RULES)
    assert len(RULES) == 20
