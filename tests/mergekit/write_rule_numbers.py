"""Run by mergekit's own interpreter: `python write_rule_numbers.py > rule_numbers.json`, what 0.1.5 makes of the cases.

What mergekit draws at random is replaced by the numbers that are stored with its results.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import torch
from mergekit.merge_methods.api import merge_tensors
from rule_cases import CASES, SHAPE, STRETCH, RuleCase, inputs


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    """A base and changes of it, [3, *SHAPE], of which neighbours resemble each other."""
    g = torch.Generator().manual_seed(11)
    base = torch.randn(SHAPE, generator=g, dtype=torch.float64) * 0.1
    common = torch.randn(SHAPE, generator=g, dtype=torch.float64)
    own = torch.randn((3, *SHAPE), generator=g, dtype=torch.float64)
    stretch = torch.tensor(STRETCH, dtype=torch.float64).view(3, 1, 1)
    return _short(base), _short((common * 0.7 + own) * stretch * 0.01)


def _short(numbers: torch.Tensor) -> torch.Tensor:
    """Few digits are easier to read."""
    return numbers.round(decimals=6)


def merged(case: RuleCase, base: torch.Tensor, changes: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    base, models = inputs(case, base, changes)
    draws = iter(noise[[k for k, share in enumerate(_densities(case)) if share < 1]])
    torch.bernoulli = lambda chances: _drawn(chances, draws)
    named = {key: tuple(value) if isinstance(value, list) else value for key, value in case.params.items()}
    if case.base:
        return merge_tensors([base, *models], case.method, parameters=named, base_index=0)
    return merge_tensors(models, case.method, parameters=named)


def _drawn(chances: torch.Tensor, draws: Iterator[torch.Tensor]) -> torch.Tensor:
    return (next(draws) < chances).to(chances.dtype)


def _densities(case: RuleCase) -> list[float]:
    found = case.params.get("density", 1.0)
    return list(found) if isinstance(found, list) else [found] * case.models


def main() -> None:
    base, changes = tensors()
    noise = torch.rand((3, *SHAPE), generator=torch.Generator().manual_seed(12), dtype=torch.float64).round(decimals=4)
    results = {case.name: merged(case, base, changes, noise).tolist() for case in CASES}
    json.dump(
        {"base": base.tolist(), "changes": changes.tolist(), "noise": noise.tolist(), "merged": results}, sys.stdout
    )


if __name__ == "__main__":
    main()
