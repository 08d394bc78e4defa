"""Mixtures of experts load with transformers, strictly, and compute what they should."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ligate import InputError, NonFiniteError, Problems, RecipeError, StorageError, load, verify
from ligate.io import open_source
from ligate.io.low_rank import read_numbers
from ligate.verbs.mixture import moe

transformers = pytest.importorskip("transformers")

SIZE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
KINDS = {
    "llama": lambda **more: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZE, **more)),
    "mistral": lambda **more: transformers.MistralForCausalLM(transformers.MistralConfig(**SIZE, **more)),
    "qwen2": lambda **more: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SIZE, **more)),
    "qwen3": lambda **more: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SIZE, head_dim=16, **more)),
}
TOKENS = torch.tensor([[1, 5, 9, 30, 2, 17]])


def save(folder: Path, kind: str, seed: int = 0, dtype=torch.float32, **more) -> Path:
    torch.manual_seed(seed)
    model = KINDS[kind](**more)
    for weight in model.parameters():  # norms and biases that are not all ones and zeros
        weight.data += 0.05 * torch.randn_like(weight)
    model.to(dtype).save_pretrained(folder)
    return folder


def logits(folder: Path, kind=transformers.AutoModelForCausalLM) -> torch.Tensor:
    with torch.inference_mode():
        model, info = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
        return model.eval()(TOKENS).logits


def numbers(folder: Path) -> dict[str, np.ndarray]:
    with closing(open_source(str(folder), label="x")) as source:
        return {n: read_numbers(source, n, 0, h.numel).reshape(h.shape) for n, h in source.headers().items()}


def config(base: Path, *experts: Path, **more) -> dict:
    return {
        "base_model": str(base),
        "gate_mode": "random",
        "experts": [{"source_model": str(expert)} for expert in experts],
        **more,
    }


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mixture_of_one_model_computes_what_the_model_does(kind, tied, tmp_path):
    dense = save(tmp_path / "dense", kind, tie_word_embeddings=tied)
    made = moe(config(dense, dense, dense, dense), tmp_path / "mixed")
    assert made.layout == {"llama": "mixtral", "mistral": "mixtral"}.get(kind, f"{kind}_moe")
    assert made.per_token == 2
    assert "same model" in made.notes[0]
    torch.testing.assert_close(logits(tmp_path / "mixed"), logits(dense), atol=2e-5, rtol=1e-4)
    assert load(tmp_path / "mixed").architecture.endswith("ForCausalLM")
    assert verify(tmp_path / "mixed").tensors == made.tensors


def test_every_weight_stands_where_the_layout_has_it(tmp_path):
    dense = [save(tmp_path / name, "llama", seed) for seed, name in enumerate("abc")]
    moe(config(*dense, experts_per_token=1), tmp_path / "mixed")
    mixed, (a, b, c) = numbers(tmp_path / "mixed"), map(numbers, dense)
    layer = "model.layers.1."
    for part, ours in (("gate_proj", "w1"), ("down_proj", "w2"), ("up_proj", "w3")):
        for number, model in enumerate((b, c)):
            wanted = model[f"{layer}mlp.{part}.weight"]
            np.testing.assert_array_equal(mixed[f"{layer}block_sparse_moe.experts.{number}.{ours}.weight"], wanted)
    assert mixed[f"{layer}block_sparse_moe.gate.weight"].shape == (2, 32)
    for name, value in a.items():
        if ".mlp." not in name:
            np.testing.assert_array_equal(mixed[name], value)
    assert len(mixed) == len(a) - 2 * 3 + 2 * (2 * 3 + 1)
    told = json.loads((tmp_path / "mixed" / "config.json").read_text())
    assert (told["model_type"], told["num_local_experts"], told["num_experts_per_tok"]) == ("mixtral", 2, 1)


def test_an_expert_may_be_a_model_with_an_adapter(tmp_path):
    from ligate.verbs.extract_lora import extract_lora

    one, two = (save(tmp_path / name, "llama", seed) for seed, name in enumerate("ab"))
    extract_lora(two, one, tmp_path / "adapter", rank=32, exclude=["*norm*"])
    moe(config(one, one, f"{one}+{tmp_path / 'adapter'}"), tmp_path / "mixed")
    mixed, wanted = numbers(tmp_path / "mixed"), numbers(two)
    name = "model.layers.0.block_sparse_moe.experts.1.w2.weight"
    np.testing.assert_allclose(mixed[name], wanted["model.layers.0.mlp.down_proj.weight"], atol=1e-6)
    asked = prompted(one, two, two, gate_mode="hidden", base_model=f"{one}+{tmp_path / 'adapter'}")
    with pytest.raises(InputError, match="hidden states of a model with an adapter"):
        moe(asked, tmp_path / "other")


def scaled(folder: Path, out: Path, factor: float) -> Path:
    """A dense model whose feed-forward counts so many times."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for layer in model.model.layers:
        layer.mlp.down_proj.weight.data *= factor
    model.save_pretrained(out)
    return out


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_a_shared_expert_is_added_through_its_own_gate(kind, tmp_path):
    dense = save(tmp_path / "dense", kind)
    shared = [{"source_model": str(dense), "residual_scale": 0.5}]
    asked = config(dense, dense, dense, shared_experts=shared, architecture="qwen", gate_mode="cheap_embed")
    with pytest.raises(Problems, match="no `positive_prompts"):
        moe(asked, tmp_path / "mixed")
    tokenizer(dense, letters=kind == "qwen2")
    for expert, prompt in zip(asked["experts"], ("t5 t6", "t7"), strict=True):
        expert["positive_prompts"] = [prompt]
    made = moe(asked, tmp_path / "mixed")
    assert made.layout == "qwen2_moe"
    # without prompts the shared expert's gate is zero, so sigmoid(0) x 0.5 of it comes to the whole
    wanted = logits(scaled(dense, tmp_path / "scaled", 1.25))
    torch.testing.assert_close(logits(tmp_path / "mixed"), wanted, atol=5e-5, rtol=1e-4)


def tokenizer(folder: Path, *, letters: bool = False) -> None:
    """Words `t3` to `t63`; or letters, as the classes want that transformers has for some model types."""
    special = {"<unk>": 0, "<s>": 1, "</s>": 2}
    model = {"type": "WordLevel", "vocab": {**special, **{f"t{n}": n for n in range(3, 64)}}, "unk_token": "<unk>"}
    if letters:
        vocab = {**special, **{letter: number for number, letter in enumerate("t0123456789Ġ", 3)}}
        model = {"type": "BPE", "vocab": vocab, "merges": []}
    begin = {"id": 1, "content": "<s>", "special": True, "single_word": False, "lstrip": False, "rstrip": False}
    data = {
        "version": "1.0",
        "added_tokens": [{**begin, "normalized": False}],
        "pre_tokenizer": None if letters else {"type": "WhitespaceSplit"},
        "model": model,
    }
    (folder / "tokenizer.json").write_text(json.dumps(data))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


def prompted(base: Path, *experts: Path, **more) -> dict:
    asked = config(base, *experts, **more)
    prompts = ((["t5 t6 t7", "t8 t9 t10"], []), (["t20 t21 t22"], ["t30 t31 t32", "t33 t34 t35"]), (["t40 t5 t3"], []))
    for expert, (positive, negative) in zip(asked["experts"], prompts, strict=False):
        expert |= {"positive_prompts": positive, "negative_prompts": negative}
    return asked


@pytest.mark.parametrize("mode", ["hidden", "hidden_avg", "cheap_embed"])
def test_gates_are_the_directions_of_their_prompts(mode, tmp_path):
    dense = [save(tmp_path / name, "llama", seed) for seed, name in enumerate("ab")]
    tokenizer(dense[0])
    moe(prompted(dense[0], *dense, gate_mode=mode), tmp_path / "mixed")
    model = transformers.AutoModelForCausalLM.from_pretrained(dense[0], dtype=torch.float32).eval()

    def states(*tokens: int) -> torch.Tensor:
        with torch.inference_mode():
            if mode == "cheap_embed":
                return model.model.embed_tokens.weight[[1, *tokens]].sum(0).expand(2, -1)
            found = torch.stack(model(torch.tensor([[1, *tokens]]), output_hidden_states=True).hidden_states[:-1])[:, 0]
            return found.mean(1) if mode == "hidden_avg" else found[:, -1]

    def unit(value: torch.Tensor) -> torch.Tensor:
        return value / value.norm(dim=-1, keepdim=True)

    away = states(30, 31, 32) + states(33, 34, 35)
    first = unit(states(5, 6, 7) + states(8, 9, 10))
    towards = states(20, 21, 22)
    second = unit(unit(towards) - unit(away)) if mode == "cheap_embed" else unit(towards - away / 2)
    mixed = numbers(tmp_path / "mixed")
    for layer in range(2):
        found = torch.from_numpy(mixed[f"model.layers.{layer}.block_sparse_moe.gate.weight"])
        torch.testing.assert_close(found, torch.stack([first[layer], second[layer]]), atol=1e-5, rtol=1e-4)


def test_each_layer_has_its_own_gate_whatever_the_order_in_the_file(tmp_path):
    dense = tmp_path / "dense"
    sizes = SIZE | {"num_hidden_layers": 12}  # in the file, layer 10 comes before layer 2
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).save_pretrained(dense)
    tokenizer(dense)
    moe(prompted(dense, dense, dense, gate_mode="hidden"), tmp_path / "mixed")
    model = transformers.AutoModelForCausalLM.from_pretrained(dense).eval()
    with torch.inference_mode():
        one, two = (
            torch.stack(model(torch.tensor([prompt]), output_hidden_states=True).hidden_states)[:, 0, -1]
            for prompt in ([1, 5, 6, 7], [1, 8, 9, 10])
        )
    mixed = numbers(tmp_path / "mixed")
    for layer in range(12):
        wanted = torch.nn.functional.normalize(one[layer] + two[layer], dim=0)
        found = torch.from_numpy(mixed[f"model.layers.{layer}.block_sparse_moe.gate.weight"][0])
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_gates_do_not_change_with_the_number_of_processors(tmp_path):
    sizes = SIZE | {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4}
    sizes |= {"num_attention_heads": 8, "num_key_value_heads": 8}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).save_pretrained(tmp_path / "dense")
    tokenizer(tmp_path / "dense")
    asked = prompted(*[tmp_path / "dense"] * 3, gate_mode="hidden")
    asked["experts"][0]["positive_prompts"] = [" ".join(f"t{3 + number % 60}" for number in range(300))]
    before, records = torch.get_num_threads(), []
    for count in (1, 2):
        torch.set_num_threads(count)
        try:
            moe(asked, tmp_path / str(count))
            assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(before)
        records.append((tmp_path / str(count) / "ligate.json").read_bytes())
    assert records[0] == records[1]


@pytest.mark.parametrize("mode", ["hidden", "cheap_embed"])
def test_a_base_that_makes_nan_of_the_prompts_is_told_so(mode, tmp_path):
    dense = save(tmp_path / "dense", "llama")
    tokenizer(dense)
    tensors = load_file(dense / "model.safetensors")
    tensors["model.embed_tokens.weight"][6, 3] = float("nan")
    save_file(tensors, dense / "model.safetensors", {"format": "pt"})
    with pytest.raises(NonFiniteError, match="prompts of expert 1 is not finite"):
        moe(prompted(dense, dense, dense, gate_mode=mode), tmp_path / "mixed")
    assert not list(tmp_path.glob("mixed*"))


def test_code_that_lies_beside_a_base_is_not_run_and_nobody_is_asked(tmp_path, monkeypatch):
    dense = save(tmp_path / "dense", "llama")
    (dense / "strange.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Strange:\n    pass\n")
    said = {"tokenizer_class": "Strange", "auto_map": {"AutoTokenizer": ["strange.Strange", None]}}
    (dense / "tokenizer_config.json").write_text(json.dumps(said))
    monkeypatch.setattr("builtins.input", lambda question: "y")
    with pytest.raises(InputError, match="tokenizer cannot be loaded"):
        moe(prompted(dense, dense, dense, gate_mode="cheap_embed"), tmp_path / "mixed")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"hidden_size": -32}, "hidden states -32 wide, other than 6 tensors"),
        ({"hidden_size": 10**12}, "1000000000000 wide"),
        ({"num_hidden_layers": 3}, "tells of 3 layers, the weights have 2"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_told(told, text, tmp_path):
    dense = save(tmp_path / "dense", "llama")
    path = dense / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **told}))
    with pytest.raises(InputError, match=text):
        moe(config(dense, dense, dense), tmp_path / "mixed")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("layers.1.", "layers.2.", "the last of them number 2"),
        ("layers.1.", f"layers.{'1' * 5000}.", "no place for"),
        ("model.layers.1.", "other.layers.1.", "several stacks of layers: model.layers, other.layers"),
        ("layers.1.mlp.up_proj", "layers.1.up_proj", "lacks 1 tensor: model.layers.1.mlp.up_proj.weight"),
        ("down_proj", "down_projection", "lacks 2 tensors"),
    ],
)
def test_layers_that_are_not_a_models_layers_are_told(old, new, text, tmp_path):
    dense = save(tmp_path / "dense", "llama")
    tensors = load_file(dense / "model.safetensors")
    tensors = {name.replace(old, new): value for name, value in tensors.items()}
    save_file(tensors, dense / "model.safetensors", {"format": "pt"})
    with pytest.raises((InputError, Problems), match=text):
        moe(config(dense, dense, dense), tmp_path / "mixed")


def test_random_gates_and_noise_follow_the_seed_alone(tmp_path):
    dense = save(tmp_path / "dense", "qwen3", dtype=torch.bfloat16)
    asked = config(dense, dense, dense)
    asked["experts"][1]["noise_scale"] = 0.5

    def made(out: str, **more) -> dict[str, np.ndarray]:
        moe(asked, tmp_path / out, **more)
        return numbers(tmp_path / out)

    one, again, other = made("one"), made("again", threads=1), made("other", seed=1)
    assert (tmp_path / "one" / "ligate.json").read_bytes() == (tmp_path / "again" / "ligate.json").read_bytes()
    gate, noisy = "model.layers.0.mlp.gate.weight", "model.layers.0.mlp.experts.1.up_proj.weight"
    plain = one["model.layers.0.mlp.experts.0.up_proj.weight"]
    assert not np.array_equal(one[gate], other[gate])
    assert not np.array_equal(one[noisy], other[noisy])
    assert np.std(one[noisy] - plain) == pytest.approx(0.5, rel=0.05)
    assert abs(np.mean(one[gate])) < 0.4
    assert np.std(one[gate]) == pytest.approx(1, rel=0.2)
    uniform = made("uniform") if asked.update(gate_mode="uniform_random") else made("uniform2")
    assert np.abs(uniform[gate]).max() <= 32**-0.5
    assert again.keys() == one.keys()


def test_the_dtype_is_as_asked_and_shards_are_indexed(tmp_path):
    dense = save(tmp_path / "dense", "llama", dtype=torch.bfloat16)
    moe(config(dense, dense, dense, dtype="float32"), tmp_path / "mixed", shard_size="40KB")
    assert {value.dtype for value in numbers(tmp_path / "mixed").values()} == {np.dtype("float32")}
    assert (tmp_path / "mixed" / "model.safetensors.index.json").exists()
    assert json.loads((tmp_path / "mixed" / "config.json").read_text())["dtype"] == "float32"
    torch.testing.assert_close(logits(tmp_path / "mixed"), logits(dense), atol=2e-5, rtol=1e-4)


def test_an_old_config_that_leaves_defaults_out_keeps_their_meaning(tmp_path):
    dense = save(tmp_path / "dense", "mistral", sliding_window=None, rms_norm_eps=1e-6)
    said = json.loads((dense / "config.json").read_text())
    for key in ("rope_parameters", "rms_norm_eps", "tie_word_embeddings", "hidden_act", "head_dim"):
        said.pop(key, None)
    (dense / "config.json").write_text(json.dumps(said))
    moe(config(dense, dense, dense), tmp_path / "mixed")
    torch.testing.assert_close(logits(tmp_path / "mixed"), logits(dense), atol=2e-5, rtol=1e-4)


def test_bad_configs_are_told_at_their_lines(tmp_path):
    text = "\n".join(
        (
            "base_model: nowhere",
            "gate_mod: hidden",
            "experts_per_token: 5",
            "dtype: int8",
            "experts:",
            "  - source_model: nowhere",
            "    positive_promts: [a]",
            "  - positive_prompts: [a]",
            "    noise_scale: -1",
            "merge_method: ties",
        )
    )
    (tmp_path / "bad.yaml").write_text(text + "\n")
    with pytest.raises(Problems) as caught:
        moe(tmp_path / "bad.yaml", tmp_path / "out")
    told = str(caught.value)
    for line, words in (
        (2, "gate_mode"),
        (3, "from 1 to 2"),
        (4, "no dtype"),
        (7, "positive_prompts"),
        (8, "`source_model:` is missing"),
        (9, "at least 0"),
        (10, "ligate merge"),
        (1, "no such file or folder"),
    ):
        assert any(f"bad.yaml:{line}" in one and words in one for one in map(str, caught.value.found)), (line, told)
    assert not list(tmp_path.glob("out*"))
    with pytest.raises(RecipeError, match="no such config"):
        moe(tmp_path / "none.yaml", tmp_path / "out")


def test_models_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    a, b = save(tmp_path / "a", "llama"), save(tmp_path / "b", "qwen3")

    def refused(kind, text, asked):
        with pytest.raises(kind, match=text):
            moe(asked, tmp_path / "out")
        assert not list(tmp_path.glob("out*"))

    refused(InputError, "`model_type` is qwen3", config(a, a, b))
    refused(RecipeError, "no shared experts", config(a, a, a, shared_experts=[{"source_model": str(a)}]))
    refused(RecipeError, "is not written", config(a, a, a, architecture="deepseek"))
    refused(InputError, "does not fit", config(a, a, a, architecture="qwen3"))
    refused(InputError, "tokenizer cannot be loaded", prompted(a, a, a, gate_mode="hidden"))
    narrow = tmp_path / "narrow"
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZE | {"intermediate_size": 40})).save_pretrained(narrow)
    refused(Problems, "has other shapes", config(a, a, narrow))
    moe(config(a, a, a), tmp_path / "fine")
    monkeypatch.setattr("ligate.verbs.mixture._run", None)  # nothing below comes as far as that
    biased = save(tmp_path / "biased", "llama", attention_bias=True)
    with pytest.raises(StorageError, match="already holds files"):
        moe(config(a, a, a), tmp_path / "fine")
    refused(InputError, "biases", config(biased, biased, biased))
    same = config(a, a, a, gate_mode="hidden")
    for expert in same["experts"]:
        expert["positive_prompts"] = ["t5"]
    refused(RecipeError, "same prompts", same)
