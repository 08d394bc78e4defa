"""A desk with small models to try commands on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from ligate.cli.main import main

RECIPE = """\
sources:
  base: ./base
  a: ./a
  b: ./b
merge:
  method: ties
  base: base
  models: [a, b]
  parameters:
    density: 0.4
    weight: {a: 0.6, b: 0.4}
"""
STEPS = """\
sources: {base: ./base, a: ./a, b: ./b}
steps:
  - {name: mean, method: linear, models: [a, b]}
  - {method: task_arithmetic, base: base, models: [mean], parameters: {scale: 0.5}}
"""


class Ran(NamedTuple):
    """What a command left on the screen."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """The current folder, with base/, a/, b/, recipe.yaml and steps.yaml in it."""
    draw = torch.Generator().manual_seed(5)
    shapes = {"embed.weight": (40, 8), **{f"layers.{i}.up.weight": (16, 8) for i in range(3)}, "norm.weight": (8,)}
    base = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    for label in ("base", "a", "b"):
        moved = {name: x + 0.1 * torch.randn(x.shape, generator=draw) * (label != "base") for name, x in base.items()}
        write(tmp_path / label, {name: x.bfloat16() for name, x in moved.items()})
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "steps.yaml").write_text(STEPS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, tensors: dict[str, torch.Tensor], licence: str = "mit") -> None:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "made-up", "torch_dtype": "bfloat16"}))
    (folder / "tokenizer.json").write_text(json.dumps({"of": folder.name}))
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n")


@pytest.fixture
def ligate(capsys) -> Callable[..., Ran]:
    """Run a command in this process."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def fine(ligate) -> Callable[..., Ran]:
    """Run a command that has to end well."""

    def run(*arguments: object) -> Ran:
        ran = ligate(*arguments)
        assert ran.code == 0, ran.err
        return ran

    return run


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder; the bytes of files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes | None]]:
    return snapshot
