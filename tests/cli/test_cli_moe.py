"""`ligate moe`, as somebody at a terminal meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

CONFIG = """\
base_model: ./one
gate_mode: random
experts:
  - source_model: ./one
  - source_model: ./two
"""


@pytest.fixture
def dense(tmp_path, monkeypatch) -> Path:
    """The current folder, with two models shaped like Llama's and a config."""
    draw = torch.Generator().manual_seed(2)
    shapes = {"model.embed_tokens.weight": (20, 8), "model.norm.weight": (8,), "lm_head.weight": (20, 8)}
    for layer in range(2):
        parts = {"self_attn.q_proj": (8, 8), "mlp.gate_proj": (12, 8), "mlp.up_proj": (12, 8), "mlp.down_proj": (8, 12)}
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in parts.items()}
    told = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2}
    for label in ("one", "two"):
        (tmp_path / label).mkdir()
        tensors = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
        save_file(tensors, tmp_path / label / "model.safetensors", {"format": "pt"})
        (tmp_path / label / "config.json").write_text(json.dumps({**told, "num_attention_heads": 2}))
    (tmp_path / "moe.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_config_becomes_a_mixture_that_verifies(dense, fine, ligate):
    ran = fine("moe", "moe.yaml", "mixed", "--dtype", "bfloat16")
    assert "mixtral, 2 experts, 2 per token" in ran.out
    assert "random gates" in ran.err
    fine("verify", "mixed")
    listed = fine("inspect", "mixed", "--json").json
    assert "model.layers.1.block_sparse_moe.experts.1.w2.weight" in {one["name"] for one in listed["tensors"]}
    card = (dense / "mixed" / "README.md").read_text()
    assert "A mixture of 2 experts" in card
    assert str(dense) not in card + (dense / "mixed" / "ligate.json").read_text()
    for command in (("merge", "moe.yaml", "other"), ("replay", "mixed", "other")):
        ran = ligate(*command)
        assert ran.code == 2
        assert "`ligate moe CONFIG OUT` builds it" in ran.err
    ran = ligate("moe", "moe.yaml", "mixed")
    assert ran.code == 5
    again = fine("moe", "moe.yaml", "mixed", "--overwrite", "--json").json
    assert (again["layout"], again["tensors"]) == ("mixtral", 19)


def test_a_mistake_is_told_with_its_line_and_leaves_nothing(dense, ligate):
    (dense / "moe.yaml").write_text(CONFIG + "expertsper_token: 1\n")
    ran = ligate("moe", "moe.yaml", "mixed")
    assert ran.code == 2
    assert "moe.yaml:6" in ran.err
    assert "did you mean 'experts_per_token'?" in ran.err
    (dense / "moe.yaml").write_text("- a\n")
    assert ligate("moe", "moe.yaml", "mixed").code == 2
    (dense / "two" / "model.safetensors").write_bytes(b"12345678")
    (dense / "moe.yaml").write_text(CONFIG)
    ran = ligate("moe", "moe.yaml", "mixed")
    assert ran.code == 3
    assert "two" in ran.err
    assert not list(dense.glob("mixed*"))


def test_numbers_that_are_not_finite_stop_it(dense, ligate):
    tensors = load_file(dense / "two" / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 2] = float("nan")
    save_file(tensors, dense / "two" / "model.safetensors", {"format": "pt"})
    ran = ligate("moe", "moe.yaml", "mixed")
    assert ran.code == 4
    assert "up_proj" in ran.err
    assert not list(dense.glob("mixed*"))
