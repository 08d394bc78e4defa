"""However a model is stored, a merge of it gives the same tensors: pickles, shards, wrappers, adapters, fp8."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ligate.core.errors import LigateError
from ligate.verbs.merge import merge
from running import digest, ligate

DRAW = torch.Generator().manual_seed(9)
SHAPES = {"model.embed.weight": (300, 64), "model.up.weight": (200, 64), "model.down.weight": (64, 200)}
BASE, TUNED = (
    {name: torch.randn(shape, generator=DRAW).mul(0.1).bfloat16() for name, shape in SHAPES.items()} for _ in range(2)
)
RECIPE = {
    "merge": {"method": "linear", "models": ["base", "tuned"], "parameters": {"weight": {"base": 0.25, "tuned": 0.75}}},
}


def stored(folder: Path, tensors: dict[str, Tensor], **config: object) -> None:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "made-up", **config}))


def merged(folder: Path, **tuned: object) -> dict[str, Tensor]:
    """Merge base/ and what lies in tuned/, read as `tuned` says."""
    sources = {"base": str(folder / "base"), "tuned": {"path": str(folder / "tuned"), **tuned}}
    (folder / "recipe.yaml").write_text(json.dumps({**RECIPE, "sources": sources}))
    merge(folder / "recipe.yaml", folder / "out")
    return load_file(folder / "out" / "model.safetensors")


@pytest.fixture
def folder(tmp_path):
    stored(tmp_path / "base", BASE)
    return tmp_path


@pytest.fixture
def expected(tmp_path_factory) -> dict[str, Tensor]:
    place = tmp_path_factory.mktemp("plain")
    stored(place / "base", BASE)
    stored(place / "tuned", TUNED)
    return merged(place)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_pickle(folder, expected):
    (folder / "tuned").mkdir()
    torch.save(TUNED, folder / "tuned" / "pytorch_model.bin")
    assert same(merged(folder), expected)


def test_pickles_in_shards_with_transposed_tensors(folder, expected):
    (folder / "tuned").mkdir()
    table: dict[str, str] = {}
    for number, (name, tensor) in enumerate(TUNED.items()):
        file = f"pytorch_model-{number + 1:05d}-of-00003.bin"
        torch.save({name: tensor.t().contiguous().t()}, folder / "tuned" / file)
        table[name] = file
    (folder / "tuned" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": table}))
    assert same(merged(folder), expected)


def test_a_wrapped_training_checkpoint_with_a_prefix(folder, expected):
    state = {f"module.{name}": tensor for name, tensor in TUNED.items()}
    (folder / "tuned").mkdir()
    torch.save({"epoch": 2, "state_dict": state, "optimizer": {"state": {}}}, folder / "tuned" / "last.pt")
    with pytest.raises(LigateError, match=r'strip_prefix: "module\."'):
        merged(folder)
    assert same(merged(folder, strip_prefix="module."), expected)


def test_an_adapter_over_the_base(folder):
    """Its sum is rounded once, with the merge: the same as merging with the exact sum."""
    a, b = torch.randn(4, 64, generator=DRAW), torch.randn(200, 4, generator=DRAW)
    (folder / "lora").mkdir()
    parts = {"base_model.model.model.up.lora_A.weight": a, "base_model.model.model.up.lora_B.weight": b}
    save_file(parts, folder / "lora" / "adapter_model.safetensors")
    (folder / "lora" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 2}))
    stored(folder / "tuned", BASE)
    found = merged(folder, adapter={"path": str(folder / "lora"), "scale": 0.5})
    change = 0.5 * (2 / 4) * (b.double() @ a.double())
    up = BASE["model.up.weight"].double()
    exact = 0.25 * up + 0.75 * (up + change).float().double()
    assert torch.equal(found["model.up.weight"], exact.bfloat16())
    assert torch.equal(found["model.down.weight"], BASE["model.down.weight"])


def test_eight_bit_weights_with_their_scales(folder):
    scales = {
        name: torch.rand(-(-shape[0] // 128), -(-shape[1] // 128), generator=DRAW) for name, shape in SHAPES.items()
    }
    weights = {name: torch.randn(shape, generator=DRAW).to(torch.float8_e4m3fn) for name, shape in SHAPES.items()}
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    tensors = weights | {f"{name}_scale_inv": scale for name, scale in scales.items()}
    stored(folder / "tuned", tensors, quantization_config=fp8)
    found = merged(folder)
    assert found.keys() == BASE.keys()
    for name, (rows, columns) in SHAPES.items():
        spread = scales[name].repeat_interleave(128, 0).repeat_interleave(128, 1)[:rows, :columns]
        exact = 0.25 * BASE[name].double() + 0.75 * (weights[name].float() * spread).double()
        assert torch.equal(found[name], exact.bfloat16())


def test_the_result_of_views_does_not_depend_on_threads(folder):
    torch.manual_seed(2)
    (folder / "lora").mkdir()
    parts = {"lora_A.weight": torch.randn(24, 64), "lora_B.weight": torch.randn(200, 24)}
    parts |= {"lora_magnitude_vector": torch.rand(200)}
    tensors = {f"base_model.model.model.up.{part}": tensor for part, tensor in parts.items()}
    save_file(tensors, folder / "lora" / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": 24, "lora_alpha": 3, "use_dora": True}
    (folder / "lora" / "adapter_config.json").write_text(json.dumps(told))
    (folder / "tuned").mkdir()
    torch.save({name: tensor.t().contiguous().t() for name, tensor in BASE.items()}, folder / "tuned" / "model.pt")
    sources = {"base": "./base", "tuned": {"path": "./tuned", "adapter": "./lora"}}
    (folder / "recipe.yaml").write_text(json.dumps({**RECIPE, "sources": sources, "output": {"dtype": "float32"}}))
    said = set()
    for threads in ("1", "2", "4"):
        out = folder / f"out{threads}"
        environment = {"OPENBLAS_NUM_THREADS": threads}
        ligate(["merge", "recipe.yaml", out, "--threads", threads, "--quiet"], folder, environment=environment)
        said.add(digest(out))
    assert len(said) == 1
