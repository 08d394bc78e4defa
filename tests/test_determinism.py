"""The same recipe on the same inputs gives the same folder, whatever the hash seed, threads, memory and place."""

from __future__ import annotations

from pathlib import Path

import pytest

from running import DARE, TIES, digest, ligate, make_checkpoints

RUNS = [(seed, (1, 2, 4)[seed % 3]) for seed in range(10)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_checkpoints(folder)
    return folder


@pytest.mark.parametrize("recipe", [TIES, DARE], ids=["ties", "dare"])
def test_ten_runs_over_hash_seeds_and_threads_give_the_same_folder(models: Path, recipe: str, tmp_path: Path):
    (models / "recipe.yaml").write_text(recipe)
    found: set[str] = set()
    for seed, threads in RUNS:
        out = tmp_path / f"run-{seed}"
        ligate(
            ["merge", "recipe.yaml", out, "--quiet", "--threads", str(threads)],
            models,
            environment={"PYTHONHASHSEED": str(seed)},
        )
        found.add(digest(out))
    assert len(found) == 1


def test_memory_does_not_change_a_byte(models: Path, tmp_path: Path):
    (models / "recipe.yaml").write_text(TIES)
    ligate(["merge", "recipe.yaml", tmp_path / "much", "--quiet"], models)
    ligate(["merge", "recipe.yaml", tmp_path / "little", "--quiet", "--memory", "600M"], models)
    assert digest(tmp_path / "much") == digest(tmp_path / "little")


def test_another_place_gives_the_same_bytes(models: Path, tmp_path: Path):
    """Neither the folder of the inputs nor that of the output is told inside the result."""
    make_checkpoints(tmp_path / "elsewhere")
    for folder in (models, tmp_path / "elsewhere"):
        (folder / "recipe.yaml").write_text(TIES)
    ligate(["merge", "recipe.yaml", tmp_path / "here", "--quiet"], models)
    ligate(["merge", "recipe.yaml", tmp_path / "there", "--quiet"], tmp_path / "elsewhere")
    assert digest(tmp_path / "here") == digest(tmp_path / "there")


def test_another_seed_gives_other_bytes(models: Path, tmp_path: Path):
    """The comparison above can fail."""
    for seed in (11, 12):
        (models / "recipe.yaml").write_text(DARE.replace("seed: 11", f"seed: {seed}"))
        ligate(["merge", "recipe.yaml", tmp_path / f"seed-{seed}", "--quiet"], models)
    assert digest(tmp_path / "seed-11") != digest(tmp_path / "seed-12")
