"""Results against float64 references that share no code with Ligate (benchmarks/accuracy.py)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import accuracy

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
EXACT = (0.5, 0.25, 0.25)  # powers of two: float64 makes no error, so every element is compared
DECIMAL = (0.5, 0.3, 0.2)  # what people write
EXPERTS = ("one", "two", "three")
DENSITY = 0.2
MOST_DIFFERING = {"linear": 1e-4, "ties": 5e-4}
SHAPES = {"layers.0.w": (300, 401), "layers.1.w": (129, 1024), "layers.1.norm": (301,), "one": (1,)}


@pytest.fixture(scope="module", params=DTYPES)
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and three experts: normal weights, heavy-tailed changes, many of which 16 bits cannot show."""
    folder = tmp_path_factory.mktemp(request.param)
    draw = torch.Generator().manual_seed(7)
    base = {name: torch.randn(shape, generator=draw) * 0.02 for name, shape in SHAPES.items()}
    for model in ("base", *EXPERTS):
        spread = 0.0 if model == "base" else 2e-4
        moved = {name: x + torch.randn(x.shape, generator=draw) ** 3 * spread for name, x in base.items()}
        (folder / model).mkdir()
        save_file(
            {name: x.to(DTYPES[request.param]) for name, x in moved.items()},
            folder / model / "model.safetensors",
            metadata={"format": "pt"},
        )
    return folder


def merged(models: Path, rule: str, weights: Mapping[str, float], dtype: str = "") -> Path:
    """The merge by Ligate from a configuration of mergekit's: its TIES trims per tensor and + wins a tied vote."""
    import ligate

    recipe = models / f"{rule}-{'-'.join(map(str, weights.values()))}{dtype}.yml"
    density = {"density": DENSITY} if rule == "ties" else {}
    config = {
        "merge_method": rule,
        **({"base_model": str(models / "base")} if rule == "ties" else {}),
        "models": [
            {"model": str(models / name), "parameters": {"weight": w, **density}} for name, w in weights.items()
        ],
        **({"dtype": dtype} if dtype else {}),
    }
    recipe.write_text(json.dumps(config))
    ligate.merge(str(recipe), str(recipe.with_suffix("")), overwrite=True)
    return recipe.with_suffix("")


def measured(models: Path, rule: str, weights: Mapping[str, float], dtype: str = "") -> accuracy.Tally:
    out = merged(models, rule, weights, dtype)
    base = models / "base" if rule == "ties" else None
    folders = [models / expert for expert in weights]
    return accuracy.compare_folders(rule, out, folders, tuple(weights.values()), base, DENSITY)


@pytest.mark.parametrize("weights", [EXACT, DECIMAL], ids=["exact", "decimal"])
@pytest.mark.parametrize("rule", ["linear", "ties"])
def test_a_merge_is_the_float64_merge_rounded_once(models: Path, rule: str, weights: tuple[float, ...]):
    found = measured(models, rule, dict(zip(EXPERTS, weights, strict=True)))
    assert found.elements == sum(math.prod(shape) for shape in SHAPES.values())
    assert found.undecided < (found.elements / 5 if weights == DECIMAL else 1)  # tenths: one in ten lies half-way
    assert found.beyond_one_ulp == 0
    if "F32" not in models.name:  # there within one unit in the last place is the promise
        assert found.share_differing <= MOST_DIFFERING[rule]


@pytest.mark.parametrize("expert", EXPERTS)
def test_exactly_the_reference_entries_are_kept(models: Path, expert: str):
    """With one model and a wide output type an entry differs from the base exactly if it was kept."""
    assert measured(models, "ties", {expert: 1.0}, "float32").moved_apart == 0


@pytest.mark.parametrize("weights", [EXACT, DECIMAL], ids=["exact", "decimal"])
def test_every_coordinate_elects_the_reference_sign(models: Path, weights: tuple[float, ...]):
    found = measured(models, "ties", dict(zip(EXPERTS, weights, strict=True)), "float32")
    assert found.moved_apart == 0
    assert found.sign_apart == 0


# The reference itself, by hand:


def test_ties_by_hand():
    base = np.zeros(4)
    models = [np.array([4.0, -1, 2, 0.5]), np.array([2.0, 3, -1, 0.5]), np.array([-1.0, 2, 4, -0.5])]
    assert accuracy.ties(base, models, [1, 1, 1], 0.5).value.tolist() == [3, 2.5, 3, 0]


def test_linear_by_hand():
    assert accuracy.linear([np.array([1.0, 2]), np.array([3.0, 6])], [1, 3]).value.tolist() == [2.5, 5.0]


def test_ties_at_the_threshold_are_all_kept():
    assert accuracy.trimmed(np.array([3.0, -2, 2, 1]), 0.5).tolist() == [3, -2, 2, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_that_of_the_type(dtype: str):
    draw = np.random.default_rng(0)
    numbers = draw.standard_normal(20_000).astype(np.float32).astype(np.float64) * 2.0 ** draw.integers(-30, 9, 20_000)
    exact = torch.from_numpy(numbers).float().to(DTYPES[dtype]).double().numpy()
    assert np.array_equal(accuracy.rounded(numbers, dtype), exact)


def test_wrong_elements_are_found():
    right, certain = np.array([1.0, 2.0, -3.0]), np.zeros(3)
    wrong = np.array([1.0, 2.25, 3.0])
    found = accuracy.compare(wrong, accuracy.Reference(right, certain, certain > 0), "BF16", certain)
    assert (found.differ, found.beyond_one_ulp, found.sign_apart, found.moved_apart) == (2, 2, 1, 0)


def test_an_exact_half_with_decimal_weights_is_undecided_and_with_powers_of_two_it_is_not():
    step = 2.0**-7  # of bf16 above 1
    models = [np.array([1.0]), np.array([1.0 + step])]
    assert accuracy.compare(np.ones(1), accuracy.linear(models, (0.5, 0.5)), "BF16").undecided == 0
    models.append(np.array([1.0 + step]))  # 0.5 x 1 + 0.3 x (1 + step) + 0.2 x (1 + step) lies half-way
    assert accuracy.compare(np.ones(1), accuracy.linear(models, DECIMAL), "BF16").undecided == 1
