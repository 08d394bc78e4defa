"""Mixtures beside mergekit-moe's own, where LIGATE_MERGEKIT_PYTHON names an interpreter that has it (0.1.5)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from ligate.verbs.mixture import moe
from test_moe import TOKENS, prompted, save, tokenizer

transformers = pytest.importorskip("transformers")

MERGEKIT = os.environ.get("LIGATE_MERGEKIT_PYTHON")
pytestmark = pytest.mark.skipif(not MERGEKIT, reason="LIGATE_MERGEKIT_PYTHON is not set")

BFLOAT16 = 2e-2  # mergekit computes hidden states in bfloat16
CASES = {
    "mixtral, embeddings": ("llama", "cheap_embed", 1e-6),
    "mixtral, last token": ("mistral", "hidden", BFLOAT16),
    "mixtral, mean of the tokens": ("llama", "hidden_avg", BFLOAT16),
    "qwen3, embeddings": ("qwen3", "cheap_embed", 1e-6),
    "qwen3, last token": ("qwen3", "hidden", BFLOAT16),
    "qwen2, embeddings": ("qwen2", "cheap_embed", 1e-6),
}


@pytest.mark.parametrize("case", CASES)
def test_the_mixture_is_mergekits(case, tmp_path):
    kind, mode, tolerance = CASES[case]
    more = {"sliding_window": None} if kind == "mistral" else {}
    dense = [save(tmp_path / name, kind, seed, **more) for seed, name in enumerate("ab")]
    tokenizer(dense[0], letters=kind == "qwen2")
    asked = prompted(dense[0], *dense, gate_mode=mode)
    if kind == "qwen2":
        shared = {"source_model": str(dense[1]), "positive_prompts": ["t11 t12"], "residual_scale": 0.1}
        asked["shared_experts"] = [shared]
    (tmp_path / "moe.yaml").write_text(yaml.safe_dump(asked))
    moe(tmp_path / "moe.yaml", tmp_path / "ours")
    _mergekit(tmp_path / "moe.yaml", tmp_path / "theirs")
    ours, theirs = (_loaded(tmp_path / name) for name in ("ours", "theirs"))
    assert type(ours) is type(theirs)
    wanted = theirs.state_dict()
    assert ours.state_dict().keys() == wanted.keys()
    for name, value in ours.state_dict().items():
        gate = name.endswith(("gate.weight", "shared_expert_gate.weight"))
        torch.testing.assert_close(value, wanted[name], atol=tolerance if gate else 0, rtol=2e-7, msg=name)
    if tolerance < BFLOAT16:
        with torch.inference_mode():
            torch.testing.assert_close(ours(TOKENS).logits, theirs(TOKENS).logits, atol=1e-5, rtol=1e-5)


def _mergekit(config: Path, out: Path) -> None:
    program = "from mergekit.scripts.moe import main; main()"
    command = [str(MERGEKIT), "-c", program, str(config), str(out), "--quiet", "--device", "cpu"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]


def _loaded(folder: Path) -> torch.nn.Module:
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32
    )
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()
