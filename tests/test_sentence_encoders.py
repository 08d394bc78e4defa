"""The recipe of docs/sentence_encoders.md gives the weights of FusionSent's own code."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ligate.cli.main import main

PAGE = (Path(__file__).parent.parent / "docs" / "sentence_encoders.md").read_text("utf-8")

# `merge_models(labels, pairs, t=0.5)` of sebischair/FusionSent, of the waves below
THEIRS = {
    "encoder.weight": [0.5999974960653973, -0.07735172860014727, -1.226336856570124,
                       0.7876489124645941, 0.24319491702200097, 0.15711144023556575],
    "encoder.bias": [0.27884498675264724, -1.0703905223153083, 1.0461131821131584, -0.12125491036611308],
    "norm.weight": [0.9964067935943604, 1.0033981800079346, 1.0007128715515137],
}  # fmt: skip


def waves(count: int, seed: int) -> torch.Tensor:
    return torch.sin(torch.arange(1, count + 1, dtype=torch.float64) * (1 + 0.37 * seed) + seed).float()


def encoder(seed: int) -> dict[str, torch.Tensor]:
    norm = 1 + 0.01 * waves(3, seed + 2)
    return {"encoder.weight": waves(6, seed).reshape(2, 3), "encoder.bias": waves(4, seed + 1), "norm.weight": norm}


def test_the_recipe_gives_what_the_authors_code_gives(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("labels", 1), ("pairs", 4)):
        Path(name).mkdir()
        save_file(encoder(seed), f"{name}/model.safetensors")
    recipe = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert recipe is not None
    Path("fusionsent.yaml").write_text(recipe[1])
    assert main(["merge", "fusionsent.yaml", "fusionsent"]) == 0, capsys.readouterr().err
    merged = load_file("fusionsent/model.safetensors")
    for name, theirs in THEIRS.items():
        torch.testing.assert_close(merged[name].flatten(), torch.tensor(theirs), rtol=0, atol=1e-6)
