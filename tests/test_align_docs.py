"""What docs/align.md tells to type works, in its order."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ligate.cli.main import main

transformers = pytest.importorskip("transformers")
pytest.importorskip("scipy")

PAGE = (Path(__file__).parent.parent / "docs" / "align.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A and B, one.safetensors and two.pt, and the files that the page shows."""
    monkeypatch.chdir(tmp_path)
    sizes = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)
    for seed, name in enumerate(("A", "B", "B-tuned")):
        torch.manual_seed(seed)
        transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / name)
    for seed, name in enumerate(("one.safetensors", "two.pt")):
        torch.manual_seed(seed)
        state = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).state_dict()
        save_file(dict(state), name) if name.endswith("safetensors") else torch.save(dict(state), name)
    for text in (*blocks("yaml"), *blocks("python")):
        if name := re.match(r"# (\S+)\n", text):
            (tmp_path / name[1]).write_text(text)
    monkeypatch.delitem(sys.modules, "networks", raising=False)
    return tmp_path


def test_what_the_page_tells_to_type_works(desk, capsys):
    lines = [line.removeprefix("$ ") for text in blocks("console") for line in text.splitlines() if line[:1] == "$"]
    assert len(lines) >= 7
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "ligate"
        assert main(words[1:]) == 0, f"{line}\n{capsys.readouterr().err}"
    recipe = next(text for text in blocks("yaml") if text.startswith("sources:"))
    Path("recipe.yaml").write_text(recipe)
    assert main(["merge", "recipe.yaml", "from-recipe"]) == 0, capsys.readouterr().err
    assert main(["verify", "from-recipe"]) == 0
