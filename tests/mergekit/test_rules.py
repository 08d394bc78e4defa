"""One tensor by each of mergekit's rules: what mergekit 0.1.5 made of it (rule_numbers.json) and what we make of it.

`write_rule_numbers.py` writes the numbers anew. It draws nothing at random: the noise is among them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rule_cases import CASES, SHAPE, RuleCase

from ligate.core.method import Site
from ligate.methods import _catalogue

NUMBERS = json.loads(Path(__file__).with_name("rule_numbers.json").read_text())
EXACT = {"rtol": 1e-9, "atol": 1e-12}
NEAR = {
    "multislerp": {"rtol": 0, "atol": 1e-8},  # adds 1e-8 to every length
    "della": {"rtol": 1e-6, "atol": 1e-8},  # in float32
    "della_linear": {"rtol": 1e-6, "atol": 1e-8},
}


def tensor(numbers: object) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def ours(case: RuleCase) -> torch.Tensor:
    base, changes, noise = (tensor(NUMBERS[name]) for name in ("base", "changes", "noise"))
    changes = changes[: case.models]
    changes[0] *= case.shrink
    if case.shrink:
        changes[1:] *= case.shrink
    place = Site("w", SHAPE, 0, lambda model, step: noise[model])
    rule = _catalogue.load(f"merge/{case.method}").function
    return rule(base if case.base else None, base + changes, site=place, **case.ours)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_tensor_comes_out_as_from_mergekit(case):
    theirs = tensor(NUMBERS["merged"][case.name])
    torch.testing.assert_close(ours(case), theirs, **NEAR.get(case.method, EXACT))
    base = tensor(NUMBERS["base"])
    assert (theirs - base).abs().max() > 1e-9, "the case shows nothing"
