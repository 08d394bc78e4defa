"""Against PEFT itself: every tensor of the model after `merge_and_unload` in float32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ligate.core.tensors import torch_dtype
from ligate.io.adapter import lay_adapter
from ligate.io.checkpoint import open_checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

ATTENTION = ["q_proj", "v_proj"]


def llama(**settings: object) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "vocab_size": 50}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, **settings))


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=24, n_layer=1, n_head=2, n_positions=8, **ends))


def vision() -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(
        ResNetConfig(num_channels=3, embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic")
    )


CASES = {
    "plain": (llama, {"target_modules": ATTENTION}),
    "all_linear": (llama, {"target_modules": "all-linear", "r": 3}),
    "rank_stabilised": (llama, {"target_modules": ATTENTION, "use_rslora": True}),
    "dora": (llama, {"target_modules": ["q_proj", "down_proj"], "use_dora": True}),
    "patterns": (
        llama,
        {
            "target_modules": ["q_proj", "k_proj", "up_proj"],
            "rank_pattern": {"layers.1.self_attn.q_proj": 7, "^model.layers.0.mlp.up_proj": 2},
            "alpha_pattern": {"k_proj": 32, ".*layers.1.*up_proj": 5},
        },
    ),
    "embedding": (llama, {"target_modules": ["embed_tokens", "q_proj"]}),
    "embedding_dora": (llama, {"target_modules": ["embed_tokens"], "use_dora": True}),
    "saved_modules": (llama, {"target_modules": ATTENTION, "modules_to_save": ["lm_head", "norm"]}),
    "lora_bias": (lambda: llama(attention_bias=True), {"target_modules": ATTENTION, "lora_bias": True}),
    "all_biases": (lambda: llama(attention_bias=True), {"target_modules": ATTENTION, "bias": "all"}),
    "orthogonal": (llama, {"target_modules": ATTENTION, "init_lora_weights": "orthogonal"}),
    "gpt2": (gpt2, {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "gpt2_dora": (gpt2, {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True, "use_dora": True}),
    "convolution": (vision, {"target_modules": ["convolution"], "modules_to_save": ["1"]}),
    "convolution_dora": (vision, {"target_modules": ["convolution"], "use_dora": True}),
}


def trained(folder: Path, make: object, settings: dict[str, object]) -> tuple[Path, Path, dict[str, Tensor]]:
    """A base model, an adapter whose every tensor is random, and what PEFT makes of the two."""
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(5)
    model = make()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder / "base")
    wrapped = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 12, **settings}))
    for name, parameter in wrapped.named_parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, mean=1.0 if "magnitude" in name else 0.0, std=0.3)
    wrapped.save_pretrained(folder / "adapter")
    fresh = type(model).from_pretrained(folder / "base", dtype=torch.float32)
    merged = PeftModel.from_pretrained(fresh, folder / "adapter").merge_and_unload()
    return folder / "base", folder / "adapter", merged.state_dict()


def read(source: object, name: str, start: int = 0, stop: int | None = None) -> Tensor:
    header = source.headers()[name]
    stop = header.numel if stop is None else stop
    out = torch.zeros(stop - start, dtype=torch_dtype(header.dtype))
    source.read_into(name, start, memoryview(out.view(torch.uint8).numpy()))
    return out


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_is_what_peft_merges(tmp_path, case):
    base, adapter, merged = trained(tmp_path, *CASES[case])
    plain, laid = open_checkpoint(base, "a"), lay_adapter(open_checkpoint(base, "a"), adapter)
    changed = 0
    assert list(laid.headers()) == list(plain.headers())
    for name, header in laid.headers().items():
        found = read(laid, name).view(header.shape)
        torch.testing.assert_close(found, merged[name], rtol=2e-6, atol=2e-6)
        changed += not torch.equal(found, read(plain, name).view(header.shape))
    assert changed >= len(open_checkpoint(adapter / "adapter_model.safetensors", "a").headers()) // 3
    laid.close()


@pytest.mark.parametrize("case", ["plain", "dora", "embedding", "gpt2", "gpt2_dora", "lora_bias", "convolution"])
def test_a_number_has_the_same_bits_in_whatever_range_it_is_asked_for(tmp_path, case):
    base, adapter, _ = trained(tmp_path, *CASES[case])
    laid = lay_adapter(open_checkpoint(base, "a"), adapter)
    for name, header in laid.headers().items():
        whole = read(laid, name).view(torch.uint8)
        size = len(whole) // max(header.numel, 1)
        for start in range(0, header.numel, 1 + header.numel // 9):
            for count in (1, 3, 41, 500):
                stop = min(start + count, header.numel)
                assert torch.equal(read(laid, name, start, stop).view(torch.uint8), whole[start * size : stop * size])


HASH = """
import hashlib, sys
from pathlib import Path
from ligate.io.adapter import lay_adapter
from ligate.io.checkpoint import open_checkpoint
laid = lay_adapter(open_checkpoint(Path(sys.argv[1]), "a"), Path(sys.argv[2]))
state = hashlib.sha256()
for name, header in laid.headers().items():
    out = bytearray(header.nbytes)
    laid.read_into(name, 0, memoryview(out))
    state.update(out)
print(state.hexdigest(), "torch" in sys.modules)
"""


def test_threads_of_the_linear_algebra_change_no_bit_and_torch_is_not_needed(tmp_path):
    """Larger than what the library shares among threads when it may."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    large_adapter(base, adapter, rows=700, columns=1100, rank=33)
    said = set()
    for threads in ("1", "2", "4"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", HASH, str(base), str(adapter)]
        said.add(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert len(said) == 1
    assert said.pop().split()[1] == "False"


def large_adapter(base: Path, adapter: Path, *, rows: int, columns: int, rank: int, **config: object) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(1)
    base.mkdir()
    adapter.mkdir()
    save_file({"up.weight": torch.randn(rows, columns).bfloat16()}, base / "model.safetensors")
    factors = {
        "base_model.model.up.lora_A.weight": torch.randn(rank, columns),
        "base_model.model.up.lora_B.weight": torch.randn(rows, rank),
    }
    save_file(factors, adapter / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, **config}
    (adapter / "adapter_config.json").write_text(json.dumps(told))


def test_the_product_is_exact_to_the_last_bit_of_float32(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    large_adapter(base, adapter, rows=37, columns=70, rank=9)
    laid = lay_adapter(open_checkpoint(base, "a"), adapter, 0.5)
    factors = open_checkpoint(adapter / "adapter_model.safetensors", "a")
    a = read(factors, "base_model.model.up.lora_A.weight").view(9, 70).double()
    b = read(factors, "base_model.model.up.lora_B.weight").view(37, 9).double()
    weight = read(open_checkpoint(base, "a"), "up.weight").view(37, 70).double()
    found = read(laid, "up.weight").view(37, 70)
    assert torch.equal(found, (weight + 0.5 * 2 * (b @ a)).float())
    header = laid.headers()["up.weight"]
    assert (header.dtype, header.native) == ("F32", "BF16")


def test_adapters_are_laid_one_over_the_other(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    large_adapter(base, adapter, rows=20, columns=30, rank=2)
    twice = lay_adapter(lay_adapter(open_checkpoint(base, "a"), adapter, 0.25), adapter, 0.75)
    once = lay_adapter(open_checkpoint(base, "a"), adapter)
    torch.testing.assert_close(read(twice, "up.weight"), read(once, "up.weight"), rtol=1e-6, atol=1e-6)
    assert twice.headers()["up.weight"].native == "BF16"


def test_the_numbers_depend_on_the_adapters_files_too(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    large_adapter(base, adapter, rows=20, columns=30, rank=2)
    laid = lay_adapter(open_checkpoint(base, "mine"), adapter)
    names = [path.name for path in laid.files()]
    assert names == ["model.safetensors", "adapter_config.json", "adapter_model.safetensors"]
    assert (laid.label, laid.folder, laid.place("up.weight")) == ("mine", base, str(base / "model.safetensors"))
    laid.prefetch("up.weight", 0, 5)
    laid.read_into("up.weight", 0, memoryview(bytearray()))
