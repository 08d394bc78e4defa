"""An extracted adapter, laid over its base by PEFT and by Ligate, gives the fine-tuned model back."""

from __future__ import annotations

import json
import warnings
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
import torch

from ligate import InputError, NonFiniteError, RecipeError, StorageError
from ligate.io import open_source
from ligate.io.low_rank import read_numbers
from ligate.verbs.extract_lora import REPORT, extract_lora

transformers = pytest.importorskip("transformers")


def llama(**more):
    config = transformers.LlamaConfig(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, **more
    )
    return transformers.LlamaForCausalLM(config)


def gpt2():
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4, n_positions=20)
    )


def bert():
    config = transformers.BertConfig(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    return transformers.BertModel(config)


def whisper():
    config = transformers.WhisperConfig(
        vocab_size=60,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_mel_bins=8,
        max_source_positions=10,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    return transformers.WhisperForConditionalGeneration(config)


def trained(model, where: Path, rank: int, *, everything: bool = True, dtype=torch.float32) -> tuple[Path, Path]:
    """The model as it is, and after each of its matrices moved by a matrix of this rank (vectors by anything)."""
    draw = torch.Generator().manual_seed(8)
    model = model.to(dtype).eval()
    model.save_pretrained(where / "base")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            rows = weight.reshape(len(weight), -1)
            left = torch.randn(len(rows), rank, generator=draw) * 0.3
            step = (left @ torch.randn(rank, rows.shape[1], generator=draw)).reshape(weight.shape)
            if weight.dim() > 1 or everything:
                weight.add_((step * (0.1 if "norm" in name else 1)).to(dtype))
    model.save_pretrained(where / "tuned")
    return where / "tuned", where / "base"


def numbers(path: Path) -> dict[str, np.ndarray]:
    with closing(open_source(str(path), label="x", adapters=())) as source:
        return {name: read_numbers(source, name, 0, header.numel) for name, header in source.headers().items()}


def over(base: Path, adapter: Path) -> dict[str, np.ndarray]:
    with closing(open_source(str(base), label="x", adapters=[(str(adapter), None, 1.0)])) as source:
        return {name: read_numbers(source, name, 0, header.numel) for name, header in source.headers().items()}


def by_peft(kind, base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    peft = pytest.importorskip("peft")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.PeftModel.from_pretrained(kind.from_pretrained(base), str(adapter))
        merged = model.merge_and_unload()
    return {name: value.detach() for name, value in merged.state_dict().items()}


MODELS = {
    "llama": llama,
    "tied llama": lambda: llama(tie_word_embeddings=True),
    "gpt2": gpt2,
    "bert": bert,
    "whisper": whisper,
}


@pytest.mark.parametrize("name", MODELS)
def test_with_the_rank_of_the_change_the_model_comes_back(name, tmp_path):
    model = MODELS[name]()
    tuned, base = trained(model, tmp_path, 3)
    whole = [
        glob for glob in ("*norm*", "*Norm*", "*bias", "*ln_*") if any(fnmatchcase(n, glob) for n in numbers(base))
    ]
    found = extract_lora(tuned, base, tmp_path / "adapter", rank=3, whole=whole)
    assert found.error < 1e-6
    assert not found.left_out
    laid, wanted = over(base, tmp_path / "adapter"), numbers(tuned)
    for tensor, value in wanted.items():
        np.testing.assert_allclose(laid[tensor], value, atol=2e-6, err_msg=tensor)
    merged = by_peft(type(model), base, tmp_path / "adapter")
    for tensor, value in type(model).from_pretrained(tuned).state_dict().items():
        if found.notes and tensor.endswith(("embed_tokens.weight", "lm_head.weight", "proj_out.weight")):
            continue  # PEFT adds the change of a tied embedding twice when it merges, which the note says
        torch.testing.assert_close(merged[tensor], value, atol=2e-6, rtol=1e-5, msg=lambda m, t=tensor: f"{t}: {m}")


def test_peft_runs_an_adapter_of_a_tied_model_as_it_should(tmp_path):
    peft = pytest.importorskip("peft")
    tuned, base = trained(llama(tie_word_embeddings=True), tmp_path, 3, everything=False)
    found = extract_lora(tuned, base, tmp_path / "adapter", rank=3)
    assert "embed_tokens" in found.notes[0]
    tokens = torch.arange(6)[None]
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        start = transformers.LlamaForCausalLM.from_pretrained(base)
        model = peft.PeftModel.from_pretrained(start, str(tmp_path / "adapter"))
        wanted = transformers.LlamaForCausalLM.from_pretrained(tuned)(tokens).logits
        torch.testing.assert_close(model(input_ids=tokens).logits, wanted, atol=1e-4, rtol=1e-4)


def test_of_the_embeddings_only_that_of_tokens_is_the_output_layer_too(tmp_path):
    tuned, base = trained(gpt2(), tmp_path, 3, everything=False)
    found = extract_lora(tuned, base, tmp_path / "adapter", rank=3)
    assert "transformer.wpe.weight" in {one.name for one in found.tensors}
    (note,) = found.notes
    assert note.startswith("transformer.wte.weight is the output layer too")
    only = extract_lora(tuned, base, tmp_path / "places", rank=3, exclude=["*wte*"])
    assert only.notes == ()
    assert "ensure_weight_tying" not in (tmp_path / "places" / "adapter_config.json").read_text()


class Picture(torch.nn.Module):
    """Convolutions, a head behind numbers, a lookup: nothing that transformers knows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3)
        self.embedding = torch.nn.Embedding(10, 6)
        self.head = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))

    def forward(self, image: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(image).mean((2, 3)) + self.embedding(token))


def test_any_module_comes_back(tmp_path):
    peft = pytest.importorskip("peft")
    torch.manual_seed(4)
    before, after = Picture(), Picture()
    base, tuned = (put(tmp_path / n, m.state_dict()) for n, m in (("base", before), ("tuned", after)))
    found = extract_lora(tuned, base, tmp_path / "adapter", energy=1.0, whole=["*.bias"])
    assert found.error < 1e-6
    inputs = torch.randn(2, 3, 8, 8), torch.tensor([1, 7])
    model = peft.PeftModel.from_pretrained(before, str(tmp_path / "adapter"))
    torch.testing.assert_close(model(*inputs), after(*inputs), atol=1e-5, rtol=1e-4)
    laid, wanted = over(base, tmp_path / "adapter"), numbers(tuned)
    assert all(np.allclose(laid[name], wanted[name], atol=1e-6) for name in wanted)


class Twice(torch.nn.Module):
    """Two heads, the name of one of which ends like the other's."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = torch.nn.Linear(6, 6), torch.nn.Linear(6, 4)
        self.aux = torch.nn.ModuleDict({"head": torch.nn.Linear(6, 4)})

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        inner = self.body(numbers)
        return self.head(inner) + self.aux["head"](inner)


def test_names_that_end_alike_keep_their_own_ranks(tmp_path):
    peft = pytest.importorskip("peft")
    torch.manual_seed(5)
    before, after = Twice(), Twice()
    after.load_state_dict(before.state_dict())
    with torch.no_grad():
        after.head.weight += torch.outer(torch.ones(4), torch.arange(6.0))
        for layer in (after.body, after.aux["head"]):
            layer.weight[:4] += torch.eye(6)[:4]
    base, tuned = (put(tmp_path / n, m.state_dict()) for n, m in (("base", before), ("tuned", after)))
    found = extract_lora(tuned, base, tmp_path / "adapter", energy=1.0)
    assert {one.name: one.rank for one in found.tensors} == {"body.weight": 4, "head.weight": 1, "aux.head.weight": 4}
    laid, wanted = over(base, tmp_path / "adapter"), numbers(tuned)
    assert all(np.allclose(laid[name], wanted[name], atol=1e-6) for name in wanted)
    inputs = torch.randn(3, 6)
    model = peft.PeftModel.from_pretrained(before, str(tmp_path / "adapter"))
    torch.testing.assert_close(model(inputs), after(inputs), atol=1e-5, rtol=1e-4)


def test_a_lower_rank_errs_as_much_as_reported(tmp_path):
    tuned, base = trained(llama(), tmp_path, 6)
    found = extract_lora(tuned, base, tmp_path / "adapter", rank=2, dtype="bfloat16", exclude=["*norm*"])
    laid, wanted, before = over(base, tmp_path / "adapter"), numbers(tuned), numbers(base)
    for one in found.tensors:
        change = wanted[one.name] - before[one.name]
        error = np.linalg.norm(wanted[one.name] - laid[one.name]) / np.linalg.norm(change)
        best = np.linalg.svd(change.reshape(one.shape), compute_uv=False)
        optimum = np.sqrt((best[2:] ** 2).sum() / (best**2).sum())
        assert one.error == pytest.approx(error, rel=1e-3)
        assert optimum <= one.error < optimum + 0.01  # bfloat16 factors
        assert one.kept == pytest.approx(1 - optimum**2, abs=1e-6)
    told = json.loads((tmp_path / "adapter" / REPORT).read_text())
    assert told["tensors"][0]["error"] == found.tensors[0].error


def test_energy_takes_as_many_directions_as_each_tensor_needs(tmp_path):
    tuned, base = trained(llama(), tmp_path, 6, everything=False)
    found = extract_lora(tuned, base, tmp_path / "adapter", energy=0.7)
    assert len({one.rank for one in found.tensors}) > 1
    assert all(one.kept >= 0.7 and one.error <= 0.3**0.5 + 1e-6 for one in found.tensors)
    laid, wanted = over(base, tmp_path / "adapter"), numbers(tuned)
    lost = sum(((laid[name] - wanted[name]).astype(float) ** 2).sum() for name in wanted)
    change = sum(one.change**2 for one in found.tensors)
    assert found.error == pytest.approx((lost / change) ** 0.5, rel=1e-4)
    merged = by_peft(transformers.LlamaForCausalLM, base, tmp_path / "adapter")
    for name, value in laid.items():
        np.testing.assert_allclose(merged[name].reshape(-1).numpy(), value, atol=1e-5, err_msg=name)
    capped = extract_lora(tuned, base, tmp_path / "capped", energy=0.7, rank=2)
    assert max(one.rank for one in capped.tensors) == 2


def test_the_same_bytes_for_any_number_of_threads_and_any_place(tmp_path, monkeypatch):
    monkeypatch.setattr("ligate.ops.truncation._SMALL", 64)
    tuned, base = trained(llama(), tmp_path, 6, everything=False)
    folders = []
    for threads in (1, 2):
        folders.append(tmp_path / str(threads) / "adapter")
        folders[-1].parent.mkdir()
        found = extract_lora(tuned, base, folders[-1], rank=1, threads=threads)
        assert {one.how for one in found.tensors} == {"gram"}
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == two
    assert sorted(one) == ["adapter_config.json", "adapter_model.safetensors", REPORT]


def put(folder: Path, tensors: dict[str, torch.Tensor], **config: object) -> Path:
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    (folder / "config.json").write_text(json.dumps({"architectures": {"not": "a list"}, **config}))
    return folder


@pytest.fixture
def two(tmp_path) -> tuple[Path, Path]:
    draw = torch.Generator().manual_seed(1)
    base = {
        "a.up.weight": torch.randn(6, 4, generator=draw),
        "a.norm.weight": torch.ones(4),
        "steps": torch.tensor([3]),
    }
    tuned = {**base, "a.up.weight": base["a.up.weight"] + 1}
    return put(tmp_path / "tuned", tuned), put(tmp_path / "base", base)


def test_what_cannot_be_extracted_is_refused_and_nothing_is_left(two, tmp_path):
    tuned, base = two
    out = tmp_path / "out"
    good = {"a.up.weight": torch.randn(6, 4), "a.norm.weight": torch.ones(4), "steps": torch.tensor([3])}

    def refused(kind, text, model=None, **options):
        other = put(tmp_path / "other", model) if model else tuned
        with pytest.raises(kind, match=text):
            extract_lora(other, base, out, **{"rank": 2, **options})
        assert not out.exists()
        assert not list(tmp_path.glob("*.partial"))

    refused(RecipeError, "give a rank or an energy", rank=None)
    refused(RecipeError, "at least 1", rank=0)
    refused(RecipeError, "above 0", energy=1.5)
    refused(RecipeError, "above 0", energy=float("nan"))
    refused(RecipeError, "no dtype for an adapter", dtype="int8")
    refused(RecipeError, "no tensor has a name like", include=["*.down.*"])
    refused(InputError, "lacks 1 tensor", {"a.up.weight": good["a.up.weight"], "steps": good["steps"]})
    refused(InputError, "differ in shape", {**good, "a.up.weight": torch.randn(7, 4)})
    refused(InputError, "no floating-point", {**good, "steps": torch.tensor([4])})
    refused(InputError, "hold the same numbers", include=["a.norm.*"])
    refused(InputError, "nothing that changed fits", {**good, "a.norm.weight": torch.zeros(4)}, include=["a.norm.*"])
    refused(
        NonFiniteError,
        r"element 5 \(\[1, 1\]\) is nan",
        {
            **good,
            "a.up.weight": torch.full((6, 4), 1.0).index_put(
                (torch.tensor(1), torch.tensor(1)), torch.tensor(float("nan"))
            ),
        },
    )
    refused(NonFiniteError, "float16", {**good, "a.up.weight": torch.full((6, 4), 1e12)}, dtype="float16")
    refused(RecipeError, "--memory", memory="1MB")


def test_an_output_in_use_is_refused_and_replaced_when_asked(two, tmp_path):
    tuned, base = two
    extract_lora(tuned, base, tmp_path / "out", rank=1)
    with pytest.raises(StorageError, match="already holds files"):
        extract_lora(tuned, base, tmp_path / "out", rank=1)
    assert extract_lora(tuned, base, tmp_path / "out", rank=2, overwrite=True).tensors[0].rank == 2
    with pytest.raises(StorageError, match="is also the input"):
        extract_lora(tuned, base, tuned, rank=1, overwrite=True)
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "merge.json").write_text("{}")
    with pytest.raises(StorageError, match="interrupted merge"):
        extract_lora(tuned, base, tmp_path / "new", rank=1)


def test_what_changed_and_is_not_stored_is_told(two, tmp_path):
    base = two[1]
    model = {"a.up.weight": torch.zeros(6, 4), "a.norm.weight": torch.zeros(4), "steps": torch.tensor([3])}
    found = extract_lora(put(tmp_path / "other", model), base, tmp_path / "out", rank=4)
    assert found.left_out == {"a.norm.weight": 2.0}
    assert "a.norm.weight" in found.notes[0]
    assert found.error > 0.1


def test_what_a_killed_process_left_is_in_nobodys_way(two, tmp_path):
    tuned, base = two
    left = tmp_path / "out.partial" / "model" / "factors"
    left.mkdir(parents=True)
    (left / "0.down").write_bytes(b"half")
    (tmp_path / "out.partial" / "lock").touch()
    extract_lora(tuned, base, tmp_path / "out", rank=1)
    assert not (tmp_path / "out.partial").exists()
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "thesis.tex").touch()
    with pytest.raises(StorageError, match="not made by Ligate"):
        extract_lora(tuned, base, tmp_path / "new", rank=1)
    assert (tmp_path / "new.partial" / "thesis.tex").exists()


def test_what_is_left_out_of_a_module_stored_in_full_stays_as_it_is_in_the_base(tmp_path):
    base = {"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(3), "a.steps": torch.zeros(1)}
    tuned = {"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3)}
    folders = put(tmp_path / "tuned", tuned), put(tmp_path / "base", base)
    left_out = ["a.weight", "a.steps"]
    found = extract_lora(*folders, tmp_path / "out", rank=1, whole=["a.bias"], exclude=left_out)
    assert set(found.whole) == set(base)  # PEFT wants all of the module
    laid = over(tmp_path / "base", tmp_path / "out")
    assert {name: value.max() for name, value in laid.items()} == {"a.weight": 0, "a.bias": 1, "a.steps": 0}


def test_empty_and_single_tensors_do_no_harm(tmp_path):
    base = {"a.weight": torch.zeros(3, 0), "scale": torch.tensor(2.0), "b.weight": torch.zeros(3, 2)}
    tuned = {**base, "scale": torch.tensor(3.0), "b.weight": torch.ones(3, 2)}
    found = extract_lora(put(tmp_path / "tuned", tuned), put(tmp_path / "base", base), tmp_path / "out", rank=9)
    assert [(one.name, one.rank) for one in found.tensors] == [("b.weight", 1)]
    assert found.left_out == {"scale": 1.0}
    with pytest.raises(InputError, match="cannot be stored as they are"):
        extract_lora(tmp_path / "tuned", tmp_path / "base", tmp_path / "new", rank=1, whole=["scale"])
