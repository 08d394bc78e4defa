"""Results against float64 references that share no code with Ligate (benchmarks/accuracy.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import accuracy

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
WEIGHTS = (0.5, 0.3, 0.2)
DENSITY = 0.2
MOST_DIFFERING = {"linear": 1e-4, "ties": 5e-4}
SHAPES = {"layers.0.w": (300, 401), "layers.1.w": (129, 1024), "layers.1.norm": (301,), "one": (1,)}


@pytest.fixture(scope="module", params=DTYPES)
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and three experts: normal weights, heavy-tailed changes, many of which 16 bits cannot show."""
    folder = tmp_path_factory.mktemp(request.param)
    draw = torch.Generator().manual_seed(7)
    base = {name: torch.randn(shape, generator=draw) * 0.02 for name, shape in SHAPES.items()}
    for model in ("base", "one", "two", "three"):
        spread = 0.0 if model == "base" else 2e-4
        moved = {name: x + torch.randn(x.shape, generator=draw) ** 3 * spread for name, x in base.items()}
        (folder / model).mkdir()
        save_file(
            {name: x.to(DTYPES[request.param]) for name, x in moved.items()},
            folder / model / "model.safetensors",
            metadata={"format": "pt"},
        )
    return folder


def merged(models: Path, rule: str, experts: tuple[str, ...], dtype: str = "") -> Path:
    """The merge by Ligate from a configuration of mergekit's: its TIES trims per tensor and + wins a tied vote."""
    import ligate

    lines = [f"merge_method: {rule}", *([f"base_model: {models / 'base'}"] if rule == "ties" else []), "models:"]
    for expert, weight in zip(experts, WEIGHTS, strict=False):
        density = f", density: {DENSITY}" if rule == "ties" else ""
        lines.append(f"  - {{model: {models / expert}, parameters: {{weight: {weight}{density}}}}}")
    recipe = models / f"{rule}-{'-'.join(experts)}{dtype}.yml"
    recipe.write_text("\n".join([*lines, *([f"dtype: {dtype}"] if dtype else [])]) + "\n")
    out = recipe.with_suffix("")
    ligate.merge(str(recipe), str(out))
    return out


def measured(models: Path, rule: str, out: Path, experts: tuple[str, ...]) -> accuracy.Tally:
    folders = [models / expert for expert in experts]
    base = models / "base" if rule == "ties" else None
    return accuracy.compare_folders(rule, out, folders, WEIGHTS[: len(experts)], base, DENSITY)


@pytest.mark.parametrize("rule", ["linear", "ties"])
def test_a_merge_is_the_float64_merge_rounded_once(models: Path, rule: str):
    experts = ("one", "two", "three")
    found = measured(models, rule, merged(models, rule, experts), experts)
    assert found.elements == sum(int(np.prod(shape)) for shape in SHAPES.values())
    assert found.beyond_one_ulp == 0
    if models.name.startswith("F32"):
        return  # within one unit in the last place is the promise
    assert found.share_differing <= MOST_DIFFERING[rule]


@pytest.mark.parametrize("expert", ["one", "two", "three"])
def test_exactly_the_reference_entries_are_kept(models: Path, expert: str):
    """With one model and a wide output type an entry differs from the base exactly if it was kept."""
    found = measured(models, "ties", merged(models, "ties", (expert,), "float32"), (expert,))
    assert found.moved_apart == 0


def test_every_coordinate_elects_the_reference_sign(models: Path):
    experts = ("one", "two", "three")
    found = measured(models, "ties", merged(models, "ties", experts, "float32"), experts)
    assert found.moved_apart == 0
    assert found.sign_apart == 0


# The reference itself, by hand:


def test_ties_by_hand():
    base = np.zeros(4)
    models = [np.array([4.0, -1, 2, 0.5]), np.array([2.0, 3, -1, 0.5]), np.array([-1.0, 2, 4, -0.5])]
    assert accuracy.ties(base, models, [1, 1, 1], 0.5).tolist() == [3, 2.5, 3, 0]


def test_linear_by_hand():
    assert accuracy.linear([np.array([1.0, 2]), np.array([3.0, 6])], [1, 3]).tolist() == [2.5, 5.0]


def test_ties_at_the_threshold_are_all_kept():
    assert accuracy.trimmed(np.array([3.0, -2, 2, 1]), 0.5).tolist() == [3, -2, 2, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_that_of_the_type(dtype: str):
    draw = np.random.default_rng(0)
    numbers = draw.standard_normal(20_000).astype(np.float32).astype(np.float64) * 2.0 ** draw.integers(-30, 9, 20_000)
    exact = torch.from_numpy(numbers).float().to(DTYPES[dtype]).double().numpy()
    assert np.array_equal(accuracy.rounded(numbers, dtype), exact)


def test_one_wrong_element_is_found():
    right = np.array([1.0, 2.0, -3.0])
    wrong = np.array([1.0, 2.25, 3.0])
    found = accuracy.compare(wrong, right, "BF16", np.zeros(3))
    assert (found.differ, found.beyond_one_ulp, found.sign_apart, found.moved_apart) == (2, 2, 1, 0)
