"""What the tests of whole commands share: small checkpoints, a `ligate` process, the bytes of a folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

TIES = """\
sources:
  base: ./base
  one: ./one
  two: ./two
merge:
  method: ties
  base: base
  models: [one, two]
  parameters: {density: 0.4, weight: {one: 0.7, two: 0.5}}
output:
  shard_size: 3MB
"""
DARE = TIES.replace("method: ties", "method: dare_linear").replace("shard", "dtype: float32\n  shard") + "seed: 11\n"


def make_checkpoints(folder: Path, *, layers: int = 4, width: int = 256) -> None:
    """base/, one/ and two/ with equal names in bf16; the models are cut into files at different places."""
    draw = torch.Generator().manual_seed(3)
    shapes = {"embed.weight": (8 * width, width), "norm.weight": (width,)}
    shapes |= {f"layers.{i}.{part}.weight": (2 * width, width) for i in range(layers) for part in ("up", "down")}
    base = {name: torch.randn(shape, generator=draw) * 0.02 for name, shape in shapes.items()}
    for files, model in enumerate(("base", "one", "two"), 1):
        spread = 0.0 if model == "base" else 1e-3
        moved = {name: x + torch.randn(x.shape, generator=draw) ** 3 * spread for name, x in base.items()}
        _save({name: x.bfloat16() for name, x in moved.items()}, folder / model, files)


def _save(tensors: Mapping[str, torch.Tensor], folder: Path, files: int) -> None:
    import json

    folder.mkdir(parents=True)
    names = list(tensors)
    where: dict[str, str] = {}
    for number in range(files):
        file = f"model-{number + 1:05d}-of-{files:05d}.safetensors" if files > 1 else "model.safetensors"
        part = {name: tensors[name] for name in names[number::files]}
        save_file(part, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    if files > 1:
        index = {"metadata": {"total_size": sum(x.nbytes for x in tensors.values())}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"model_type": "made-up", "num_hidden_layers": 4}))


def ligate(
    arguments: Sequence[str | Path], folder: Path, *, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """One command in a process of its own, run in `folder`; the test fails with its message if it does."""
    ran = subprocess.run(
        command(arguments),
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"ligate {' '.join(map(str, arguments))}\n{ran.stdout}\n{ran.stderr}"
    return ran


def command(arguments: Sequence[str | Path]) -> list[str]:
    return [sys.executable, "-m", "ligate", *map(str, arguments)]


def digest(folder: Path) -> str:
    """Of every path below a folder and every byte of its files."""
    seen = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        seen.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        if path.is_file():
            seen.update(hashlib.sha256(path.read_bytes()).digest())
    return seen.hexdigest()
