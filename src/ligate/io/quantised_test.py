from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ligate.core.errors import InputError
from ligate.core.tensors import Header, torch_dtype
from ligate.io.memory import MemorySource
from ligate.io.quantised import view_quantised

FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


def compressed(**weights: object) -> dict[str, object]:
    told = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, **weights}
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": told, "targets": ["Linear"]}},
    }


def quantised(*shape: int, dtype: torch.dtype = torch.float8_e4m3fn) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7)).mul(100).to(dtype)


def scales(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(8)).mul(1e-2).to(dtype)


def view(tensors: dict[str, Tensor], settings: dict[str, object] | None, **config: object):
    return view_quantised(
        MemorySource("mine", tensors), {"quantization_config": settings, **config} if settings else {}
    )


def read(source, name: str, start: int = 0, count: int | None = None) -> Tensor:
    header = source.headers()[name]
    out = torch.zeros(header.numel - start if count is None else count, dtype=torch_dtype(header.dtype))
    source.read_into(name, start, memoryview(out.view(torch.uint8).numpy()))
    return out


def blocks_of(weight: Tensor, scale: Tensor, size: int = 128) -> Tensor:
    spread = scale.float().repeat_interleave(size, -2).repeat_interleave(size, -1)
    return weight.float() * spread[..., : weight.shape[-2], : weight.shape[-1]]


def test_a_block_is_multiplied_by_its_scale_worked_by_hand():
    weight = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).to(torch.float8_e4m3fn)
    scale = torch.tensor([[0.5, 10.0]])
    found = view({"a.weight": weight, "a.weight_scale_inv": scale}, {**FP8, "weight_block_size": [2, 2]})
    assert read(found, "a.weight").tolist() == [0.5, 1.0, 30.0, 2.0, 2.5, 60.0]


@pytest.mark.parametrize("shape", [(256, 384), (300, 200), (5, 129), (3, 130, 257)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e8m0fnu])
def test_blocks_also_at_the_edges_and_for_stacked_experts(shape, dtype):
    weight = quantised(*shape)
    scale = scales(*shape[:-2], -(-shape[-2] // 128), -(-shape[-1] // 128), dtype=dtype)
    source = view({"experts.down_proj": weight, "experts.down_proj_scale_inv": scale}, FP8)
    assert torch.equal(read(source, "experts.down_proj"), blocks_of(weight, scale).view(-1))


def test_the_block_rule_is_that_of_transformers():
    fp8 = pytest.importorskip("transformers.integrations.finegrained_fp8")
    weight, scale = quantised(256, 384), scales(2, 3)
    expected = fp8.Fp8Dequantize(None)._dequantize_one(weight, scale)
    found = read(view({"a.weight": weight, "a.weight_scale_inv": scale}, FP8), "a.weight")
    assert torch.equal(found, expected.view(-1))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (6,), (6, 1)])
@pytest.mark.parametrize("suffix", ["_scale", "_scale_inv"])
def test_one_scale_for_all_or_one_for_each_row(shape, suffix):
    weight, scale = quantised(6, 10), scales(*shape, dtype=torch.bfloat16)
    strategy = "tensor" if scale.numel() == 1 else "channel"
    source = view({"a.weight": weight, f"a.weight{suffix}": scale}, compressed(strategy=strategy))
    assert torch.equal(read(source, "a.weight"), (weight.float() * scale.float().reshape(-1, 1)).view(-1))


def test_any_range_has_the_same_bits():
    weight, scale = quantised(130, 150, dtype=torch.float8_e5m2), scales(2, 2)
    source = view({"a.weight": weight, "a.weight_scale_inv": scale}, FP8)
    whole = read(source, "a.weight")
    for start in range(0, len(whole), 977):
        for count in (1, 149, 301):
            stop = min(start + count, len(whole))
            assert torch.equal(read(source, "a.weight", start, stop - start), whole[start:stop])


def test_long_reads_go_in_pieces_with_the_same_result(monkeypatch):
    weight, scale = quantised(40, 50), scales(40, 1)
    source = view({"a.weight": weight, "a.weight_scale": scale}, compressed())
    whole = read(source, "a.weight")
    monkeypatch.setattr("ligate.io.quantised._CHUNK", 77)
    assert torch.equal(read(source, "a.weight"), whole)


def test_scales_vanish_and_the_rest_stays():
    tensors = {
        "norm.weight": torch.ones(4, dtype=torch.bfloat16),
        "a.weight": quantised(4, 4),
        "a.weight_scale": scales(4, 1),
        "a.input_scale": scales(1),
        "attn.k_scale": scales(1),
        "logit_scale": torch.ones(()),
        "position_ids": torch.arange(4),
    }
    source = view(tensors, compressed(), torch_dtype="float16")
    assert source.headers() == {
        "norm.weight": Header("BF16", (4,)),
        "a.weight": Header("F32", (4, 4), rounds_to="F16"),
        "logit_scale": Header("F32", ()),
        "position_ids": Header("I64", (4,)),
    }
    assert read(source, "norm.weight").tolist() == [1] * 4


def test_results_are_stored_as_bfloat16_unless_the_config_says_otherwise():
    tensors = {"a.weight": quantised(4, 4), "a.weight_scale": scales(1)}
    assert view(tensors, compressed()).headers()["a.weight"].native == "BF16"
    nested = view_quantised(MemorySource("a", tensors), {"text_config": {"quantization_config": compressed()}})
    assert nested.headers()["a.weight"].native == "BF16"


def test_a_model_that_is_not_quantised_is_passed_on_as_it_is():
    source = MemorySource("a", {"w": torch.ones(2), "mask": torch.zeros(3, dtype=torch.uint8)})
    assert view_quantised(source, {}) is source
    assert view_quantised(MemorySource("a", {"w": torch.ones(2)}), {"quantization_config": FP8}) is not None


PACKED = torch.zeros(2, 4, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "awq"}, "awq"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"bits": 4}, "an unnamed method"),
        (compressed(type="int"), "8-bit int per channel"),
        (compressed(num_bits=4, strategy="group"), "4-bit float per group"),
        (compressed(symmetric=False), "8-bit float per channel"),
        ({**compressed(), "sparsity_config": {"format": "sparse-24-bitmask"}}, "stored sparse"),
        ({**compressed(), "transform_config": {"config_groups": {"u": {}}}}, "rotated"),
        (FP8, "the weight 'a.weight' is stored as U8"),
    ],
)
def test_other_methods_are_refused_by_name(settings, words):
    with pytest.raises(InputError, match=rf"(?s)model mine: .*{words}.*unquantised"):
        view({"a.weight": PACKED}, settings)


@pytest.mark.parametrize(
    ("name", "dtype", "words"),
    [
        ("a.weight", torch.float8_e4m3fn, "no config.json tells of their scales"),
        ("a.weight", torch.int8, "stored as I8"),
        ("a.SCB", torch.float32, "bitsandbytes"),
        ("a.weight.absmax", torch.float32, "bitsandbytes"),
        ("a.qweight", torch.int32, "GPTQ or AWQ"),
        ("a.weight_packed", torch.int32, "compressed-tensors"),
        ("experts.gate_up_proj_blocks", torch.uint8, "stored as U8"),
    ],
)
def test_weights_that_no_config_tells_of_are_refused_by_name(name, dtype, words):
    with pytest.raises(InputError, match=f"'{name}'.*{words}"):
        view({name: torch.zeros(2, 2, dtype=dtype)}, None)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({}, "has no scales"),
        ({"a.weight_scale": scales(1), "a.weight_scale_inv": scales(1)}, "two sets of scales"),
        ({"a.weight_scale": scales(3, 2)}, r"\[3, 2\] do not fit 'a.weight' \[4, 6\] in blocks of \[128, 128\]"),
        ({"a.weight_scale": torch.zeros(4, 1, dtype=torch.uint8)}, "have the dtype U8"),
        ({"a.weight_scale": scales(4, 1), "b.weight_scale": scales(4, 1)}, "'b.weight_scale' belong to no 8-bit"),
        ({"a.weight_scale": scales(1), "b.weight_packed": torch.zeros(2, dtype=torch.int32)}, "'b.weight_packed'"),
    ],
)
def test_scales_that_do_not_belong_are_errors(extra, words):
    with pytest.raises(InputError, match=words):
        view({"a.weight": quantised(4, 6), **extra}, FP8)


def test_blocks_of_another_size_than_told_are_refused():
    tensors = {"a.weight": quantised(128, 128), "a.weight_scale_inv": scales(2, 2)}
    with pytest.raises(InputError, match="do not fit"):
        view(tensors, FP8)
    told = compressed(strategy="block", block_structure=[64, 64])
    assert np.isfinite(read(view(tensors, told), "a.weight").numpy()).all()
