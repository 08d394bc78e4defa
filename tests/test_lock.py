"""A locked model computes what it did, is recognised, and is undone by whoever has its base: end to end."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ligate import InputError, RecipeError, StorageError, check_lock, lock, merge, undo_lock, unlock, verify
from ligate.align.alignment import load
from ligate.align.stored import read_tensor
from ligate.io import open_source
from ligate.verbs.lock_signs import FAR

transformers = pytest.importorskip("transformers")
from tiny_models import by_name  # noqa: E402

GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
FAMILIES = {"bert": 4, "llama": 4, "qwen2": 4, "gpt2": 2, "vit": 4, "mixtral": 4, "t5-gated": 12, "phi": 4}
"""With the number of groups in heads: queries with keys, values with outputs; in GPT-2 all of them are one tensor."""


def network(name: str) -> Any:
    architecture = by_name(name)
    more = GROUPED if name in ("llama", "qwen2") else {}
    return architecture._replace(settings={**architecture.settings, **more})


def written(name: str, folder: Path, *, seed: int = 0, tuned: float = 0.0, dtype: torch.dtype = torch.float32) -> Path:
    """A tiny model with weights large enough that all of it matters, biases too; `tuned` away from itself."""
    model = network(name).build(seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=draw))
        for value in model.parameters():
            value.add_(tuned * value.abs().mean() * torch.randn(value.shape, generator=draw))
    model.to(dtype).save_pretrained(folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    with closing(open_source(str(folder), label="m")) as source:
        return {name: read_tensor(source, name).float() for name in source.headers()}


def apart(one: Path, other: Path) -> float:
    """The largest distance of a tensor, as a share of its norm."""
    a, b = weights(one), weights(other)
    return max(float((a[name] - b[name]).norm() / a[name].norm().clamp_min(1e-9)) for name in a)


def said(name: str, folder: Path) -> torch.Tensor:
    model = network(name).kind.from_pretrained(folder).float().eval()
    with torch.no_grad():
        return model(**network(name).inputs)[0]


@pytest.fixture
def bert(tmp_path) -> Path:
    return written("bert", tmp_path / "bert")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_function_stays_and_the_key_takes_the_lock_off(name, tmp_path):
    model = written(name, tmp_path / "model")
    found = lock(model, tmp_path / "locked", key=tmp_path / "key", seed=1)
    assert len(found.groups) == FAMILIES[name]
    assert found.change is not None and found.change.stored < 1e-5 and found.change.bfloat16 < 0.1
    torch.testing.assert_close(said(name, tmp_path / "locked"), said(name, model), atol=1e-4, rtol=1e-4)
    assert apart(model, tmp_path / "locked") > 0.5
    unlock(tmp_path / "locked", tmp_path / "key", tmp_path / "back")
    assert apart(model, tmp_path / "back") < 1e-6
    verify(tmp_path / "locked")
    verify(tmp_path / "back")


@pytest.mark.parametrize("name", ["llama", "vit", "gpt2", "mixtral"])
def test_all_units_can_be_locked(name, tmp_path):
    model = written(name, tmp_path / "model")
    found = lock(model, tmp_path / "locked", key=tmp_path / "key", everything=True, seed=1)
    assert len(found.groups) > FAMILIES[name]
    torch.testing.assert_close(said(name, tmp_path / "locked"), said(name, model), atol=1e-4, rtol=1e-4)
    unlock(tmp_path / "locked", tmp_path / "key", tmp_path / "back")
    assert apart(model, tmp_path / "back") < 1e-5


def test_biases_and_grouped_heads_are_locked_together(tmp_path):
    """By hand, from the key: values of group g and the outputs of both of its heads."""
    model = written("qwen2", tmp_path / "model")
    lock(model, tmp_path / "locked", key=tmp_path / "key")
    each = next(one for one in load(tmp_path / "key").maps if "v_proj" in one.group.name)
    before, after = weights(model), weights(tmp_path / "locked")
    start = "model.layers.0.self_attn."
    for group, m in enumerate(each.write.float()):
        rows = slice(8 * group, 8 * group + 8)
        torch.testing.assert_close(after[start + "v_proj.weight"][rows], m @ before[start + "v_proj.weight"][rows])
        torch.testing.assert_close(after[start + "v_proj.bias"][rows], m @ before[start + "v_proj.bias"][rows])
        for head in (2 * group, 2 * group + 1):
            columns = slice(8 * head, 8 * head + 8)
            expected = before[start + "o_proj.weight"][:, columns] @ torch.linalg.inv(m)
            torch.testing.assert_close(after[start + "o_proj.weight"][:, columns], expected, atol=1e-5, rtol=1e-4)


def test_locks_without_a_seed_differ_and_those_with_one_do_not(bert, tmp_path):
    for name, seed in (("a", None), ("b", None), ("c", 1), ("d", 1)):
        lock(bert, tmp_path / name, seed=seed, run=False)
    assert apart(tmp_path / "a", tmp_path / "b") > 0.5
    assert apart(tmp_path / "c", tmp_path / "d") == 0


def test_what_is_published_tells_nothing_of_the_matrices(bert, tmp_path):
    (bert / "tokenizer.json").write_text('{"of": "bert"}')
    lock(bert, tmp_path / "locked", key=tmp_path / "key")
    left = {path.name for path in (tmp_path / "locked").iterdir()}
    assert left == {"README.md", "config.json", "ligate.json", "model.safetensors", "tokenizer.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"bert", "locked", "key"}
    record = json.loads((tmp_path / "locked" / "ligate.json").read_text())
    assert record["recipe"] == {"locked": {"model": "bert", "groups": "attention"}} and record["sources"] == {}
    assert all(entry["models"] == [] and "stats" not in entry for entry in record["steps"][0]["tensors"].values())
    lock(bert, tmp_path / "other", key=tmp_path / "key2")
    other = json.loads((tmp_path / "other" / "ligate.json").read_text())

    def without_digests(told: dict[str, Any]) -> dict[str, Any]:
        tensors = {name: {**one, "digest": ""} for name, one in told["steps"][0]["tensors"].items()}
        return {**told, "steps": [{**told["steps"][0], "tensors": tensors}], "digest": "", "seal": ""}

    assert without_digests(record) == without_digests(other)
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


def test_sixteen_bits_stay_sixteen_bits(tmp_path):
    model = written("llama", tmp_path / "model", dtype=torch.bfloat16)
    found = lock(model, tmp_path / "locked", key=tmp_path / "key", seed=0)
    assert found.change is not None and found.change.dtype == "bfloat16"
    assert 1e-4 < found.change.stored < 0.05
    held = load_file(tmp_path / "locked" / "model.safetensors")
    assert {value.dtype for value in held.values()} == {torch.bfloat16}
    unlock(tmp_path / "locked", tmp_path / "key", tmp_path / "back")
    assert apart(model, tmp_path / "back") < 0.01


def test_merges_with_a_locked_model_fail_and_the_attacker_with_the_base_repairs_them(tmp_path):
    name = "llama"
    base = written(name, tmp_path / "base")
    own, sibling = (written(name, tmp_path / f"tuned-{size}", tuned=size) for size in (0.02, 0.03))
    lock(own, tmp_path / "locked", seed=0)
    found = undo_lock(tmp_path / "locked", base, tmp_path / "undone", original=own)
    (attack,) = found.attacks
    assert found.original is not None and attack.cosine is not None
    assert found.locked > 0.3 > 10 * found.original * 0.5
    assert attack.distance < 1.1 * found.original and attack.cosine > 0.9
    torch.testing.assert_close(said(name, tmp_path / "undone"), said(name, own), atol=1e-4, rtol=1e-4)
    merged = {}
    for label in ("tuned-0.02", "locked", "undone"):
        recipe = {
            "sources": {"a": str(tmp_path / label), "b": str(sibling)},
            "merge": {"method": "linear", "models": ["a", "b"], "parameters": {"weight": 0.5}},
        }
        merge(recipe, tmp_path / f"merged-{label}")
        merged[label] = float((said(name, tmp_path / f"merged-{label}") - said(name, own)).norm())
    assert merged["locked"] > 5 * merged["tuned-0.02"]
    assert merged["undone"] < 1.5 * merged["tuned-0.02"]


def test_a_permuted_lock_is_undone_by_alignment(tmp_path):
    pytest.importorskip("scipy")
    base = written("llama", tmp_path / "base")
    own = written("llama", tmp_path / "own", tuned=0.01)
    lock(own, tmp_path / "locked", everything=True, seed=0)
    found = undo_lock(tmp_path / "locked", base, by=["heads", "align", "both"], original=own)
    by = {one.by: one for one in found.attacks}
    assert by["heads"].distance > 0.5 and found.out is None
    assert by["align"].distance < 0.1 and by["both"].distance <= by["align"].distance * 1.01
    told = check_lock(tmp_path / "locked", base).beside
    assert told is not None and told.relation == "locked" and told.after is not None and told.after > 0.95


def test_a_lock_is_recognised_beside_its_base_and_a_fine_tune_is_none(tmp_path):
    base = written("bert", tmp_path / "base")
    tuned, stranger = written("bert", tmp_path / "tuned", tuned=0.02), written("bert", tmp_path / "other", seed=9)
    lock(tuned, tmp_path / "locked", seed=0)
    for model, relation in ((tmp_path / "locked", "locked"), (tuned, "not locked"), (base, "not locked")):
        found = check_lock(model, base).beside
        assert found is not None and found.relation == relation
        assert (found.weights > FAR) == (relation == "locked") and found.function < 0.3
    found = check_lock(stranger, base)
    assert found.beside is not None and found.beside.relation == "no relative" and found.beside.after is not None


def test_turned_heads_need_a_reference(tmp_path):
    model = written("gpt2", tmp_path / "gpt2")
    locked = lock(model, tmp_path / "locked")
    assert any("one tensor" in note for note in locked.notes)
    alone = check_lock(tmp_path / "locked")
    assert not alone.locked and alone.signs == () and "leaves no signs" in alone.notes[0]
    assert check_lock(tmp_path / "locked", model).locked


def test_a_fine_tune_of_the_locked_model_comes_back_as_one_of_the_original(bert, tmp_path):
    lock(bert, tmp_path / "locked", key=tmp_path / "key")
    state = load_file(tmp_path / "locked" / "model.safetensors")
    state = {name: value + 1e-3 * value.abs() for name, value in state.items()}  # heads differ in size there
    save_file(state, tmp_path / "locked" / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="is not the key of locked as it is"):
        unlock(tmp_path / "locked", tmp_path / "key", tmp_path / "back")
    unlock(tmp_path / "locked", tmp_path / "key", tmp_path / "back", changed=True)
    assert 1e-5 < apart(bert, tmp_path / "back") < 0.02


def test_keys_of_other_models_are_refused(bert, tmp_path):
    other = written("bert", tmp_path / "other", seed=4)
    lock(bert, tmp_path / "locked", key=tmp_path / "key")
    lock(other, tmp_path / "locked2", key=tmp_path / "key2")
    lock(written("vit", tmp_path / "vit"), tmp_path / "locked3", key=tmp_path / "key3")
    with pytest.raises(InputError, match="is not the key of locked as it is"):
        unlock(tmp_path / "locked", tmp_path / "key2", tmp_path / "back")
    with pytest.raises(InputError, match="which locked lacks"):
        unlock(tmp_path / "locked", tmp_path / "key3", tmp_path / "back")
    with pytest.raises(InputError, match="no alignment"):
        unlock(tmp_path / "locked", bert / "model.safetensors", tmp_path / "back")
    (tmp_path / "text").write_text("no key")
    with pytest.raises(InputError):
        unlock(tmp_path / "locked", tmp_path / "text", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_what_is_no_model_or_has_no_heads_is_refused(tmp_path):
    with pytest.raises(InputError):
        lock(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        lock(tmp_path / "empty", tmp_path / "out")
    save_file({"a": torch.zeros(2, 2)}, tmp_path / "plain.safetensors")
    with pytest.raises(InputError, match=r"config\.json"):
        lock(tmp_path / "plain.safetensors", tmp_path / "out")
    config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], num_channels=1)
    transformers.ResNetModel(config).save_pretrained(tmp_path / "resnet")
    for ask in (lambda: lock(tmp_path / "resnet", tmp_path / "out"), lambda: check_lock(tmp_path / "resnet")):
        with pytest.raises(InputError):
            ask()
    assert not (tmp_path / "out").exists()


def test_places_that_are_taken_are_left_alone(bert, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(StorageError, match="already holds files"):
        lock(bert, tmp_path / "out", key=tmp_path / "key")
    assert not (tmp_path / "key").exists() and (tmp_path / "out" / "mine").read_text() == "mine"
    (tmp_path / "key").write_text("an older key")
    with pytest.raises(StorageError, match="there is something already"):
        lock(bert, tmp_path / "new", key=tmp_path / "key")
    (tmp_path / "new").mkdir()
    with pytest.raises(RecipeError, match="must not lie in the output"):
        lock(bert, tmp_path / "new", key=tmp_path / "new" / "key")
    with pytest.raises(StorageError, match="no folder for the key"):
        lock(bert, tmp_path / "new2", key=tmp_path / "nowhere" / "key")
    assert (tmp_path / "key").read_text() == "an older key" and not (tmp_path / "new2").exists()


def test_models_that_do_not_fit_together_are_told(bert, tmp_path):
    vit = written("vit", tmp_path / "vit")
    lock(bert, tmp_path / "locked")
    for ask in (lambda: check_lock(tmp_path / "locked", vit), lambda: undo_lock(tmp_path / "locked", vit)):
        with pytest.raises(InputError, match="has no tensor"):
            ask()
    wider = transformers.BertConfig(**{**by_name("bert").settings, "hidden_size": 32})
    transformers.BertModel(wider).save_pretrained(tmp_path / "wider")
    for ask in (lambda: check_lock(tmp_path / "locked", tmp_path / "wider"),
                lambda: undo_lock(tmp_path / "locked", tmp_path / "wider")):  # fmt: skip
        with pytest.raises(InputError, match="shape"):
            ask()
    with pytest.raises(RecipeError, match="no attack `head`"):
        undo_lock(tmp_path / "locked", bert, by=["head"])
