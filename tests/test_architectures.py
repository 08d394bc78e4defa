"""Tiny random models of many architectures: every tensor is merged, and what loads the parents loads the result.

No table of architectures takes part: tensors of the same name are merged, whatever they belong to.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ligate.core.errors import LigateError
from ligate.verbs.merge import merge
from ligate.verbs.verify import verify
from tiny_models import ARCHITECTURES, Architecture, Convolutions, pipeline, plain_module, sentence_encoder

LINEAR = """
merge_method: linear
models:
  - {model: a, parameters: {weight: 1}}
  - {model: b, parameters: {weight: 3}}
"""
TIES = """
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1, density: 0.4}
"""
Tensors = dict[str, NDArray[np.generic]]


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=lambda architecture: architecture.name)
def family(request, tmp_path_factory) -> tuple[Architecture, Path]:
    """The architecture, and a folder with the models base, a and b and their merges linear and ties."""
    architecture, room = request.param, tmp_path_factory.mktemp(request.param.name)
    for seed, label in enumerate(("base", "a", "b")):
        architecture.build(seed).save_pretrained(room / label)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(room)
        for name, config in (("linear", LINEAR), ("ties", TIES)):
            (room / f"{name}.yml").write_text(config)
            merge(f"{name}.yml", room / name, fsync=False)
    return architecture, room


def tensors(folder: Path) -> Tensors:
    """Of a folder and of the folders in it, by `folder/name`."""
    files = sorted(folder.rglob("*.safetensors"))
    parts = {file.parent.relative_to(folder).as_posix(): load_file(file) for file in files}
    return {name if below == "." else f"{below}/{name}": x for below, part in parts.items() for name, x in part.items()}


def assert_average(found: Tensors, a: Tensors, b: Tensors) -> None:
    assert set(found) == set(a) == set(b)
    for name, tensor in found.items():
        expected = (a[name].astype(np.float64) + 3 * b[name].astype(np.float64)) / 4
        np.testing.assert_allclose(tensor, expected, rtol=1.2e-7, atol=1e-12, err_msg=name)


def test_every_tensor_is_the_average(family):
    _, room = family
    found, a, b = (tensors(room / name) for name in ("linear", "a", "b"))
    assert list(found) == list(a)
    assert_average(found, a, b)


def test_every_tensor_of_a_ties_merge_differs_from_all_models_or_did_not_change(family):
    _, room = family
    models = [tensors(room / label) for label in ("base", "a", "b")]
    for name, tensor in tensors(room / "ties").items():
        changed = any(not np.array_equal(model[name], models[0][name]) for model in models[1:])
        assert changed != np.array_equal(tensor, models[0][name]), name


def test_transformers_loads_the_result_with_the_same_names_and_computes_with_it(family):
    architecture, room = family
    model, report = architecture.kind.from_pretrained(room / "linear", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    a, b = (architecture.kind.from_pretrained(room / label).state_dict() for label in ("a", "b"))
    assert list(model.state_dict()) == list(a)
    for name, tensor in model.state_dict().items():
        expected = (a[name].double() + 3 * b[name].double()) / 4 if tensor.is_floating_point() else a[name]
        torch.testing.assert_close(tensor.double(), expected.double(), rtol=1.2e-7, atol=1e-12, msg=name)
    with torch.inference_mode():
        outputs = model.eval()(**architecture.inputs)
    found = [x for x in outputs.values() if isinstance(x, torch.Tensor) and x.is_floating_point()]
    assert found
    assert all(x.isfinite().all() for x in found)


@pytest.fixture
def merged_folder(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Merge three models that `write` makes; the folder of the result."""

    def run(write: Callable[[Path, int], None], suffix: str = "", config: str = LINEAR) -> Path:
        monkeypatch.chdir(tmp_path)
        for seed, label in enumerate(("base", "a", "b")):
            write(tmp_path / f"{label}{suffix}", seed)
        (tmp_path / "merge.yml").write_text(
            config.replace("model: a", f"model: a{suffix}").replace("l: b", f"l: b{suffix}")
        )
        merge("merge.yml", "out", fsync=False)
        return tmp_path / "out"

    return run


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_sentence_encoder_is_merged_with_its_dense_layer(merged_folder, tmp_path):
    out = merged_folder(sentence_encoder)
    assert files(out) == files(tmp_path / "a") | {"README.md", "ligate.json"}
    found = tensors(out)
    assert {"2_Dense/weight", "2_Dense/bias", "pooler.dense.weight"} <= set(found)
    assert_average(found, tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    assert json.loads((out / "modules.json").read_text()) == json.loads((tmp_path / "a" / "modules.json").read_text())
    assert verify(out).tensors == len(found)


def test_a_pipeline_is_merged_component_by_component_into_a_folder_of_the_same_form(merged_folder, tmp_path):
    out = merged_folder(pipeline)
    assert files(out) == files(tmp_path / "a") | {"README.md", "ligate.json"}
    found = tensors(out)
    assert_average(found, tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    unet = Convolutions()
    state = {name.removeprefix("unet/"): torch.from_numpy(x) for name, x in found.items() if name.startswith("unet/")}
    unet.load_state_dict(state, strict=True)
    assert unet(torch.ones(1, 4, 8, 8)).isfinite().all()
    assert verify(out).tensors == len(found)


def test_weights_beside_the_components_of_a_pipeline_are_no_part_of_it(merged_folder, tmp_path):
    """Hub repositories offer the whole pipeline as one file too, which would be merged a second time."""

    def with_single_files(folder: Path, seed: int) -> None:
        pipeline(folder, seed)
        for name in ("model-v1.safetensors", "model-v1-pruned.safetensors"):
            (folder / name).write_bytes((folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes())

    out = merged_folder(with_single_files)
    assert not list(out.glob("*.safetensors"))
    assert {name.partition("/")[0] for name in tensors(out)} == {"unet", "vae", "text_encoder"}


def test_a_pipeline_in_a_variant_alone_gets_the_names_that_loaders_expect(merged_folder, tmp_path):
    def in_half(folder: Path, seed: int) -> None:
        pipeline(folder, seed)
        for file in folder.rglob("*.safetensors"):
            file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))

    out = merged_folder(in_half)
    assert {file.name for file in out.rglob("*.safetensors")} == {
        "diffusion_pytorch_model.safetensors",
        "model.safetensors",
    }
    assert_average(tensors(out), tensors(tmp_path / "a"), tensors(tmp_path / "b"))


def test_a_component_that_one_pipeline_lacks_is_named(merged_folder):
    def without_vae(folder: Path, seed: int) -> None:
        pipeline(folder, seed)
        if folder.name == "b":
            (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()

    with pytest.raises(LigateError, match=r"lacks 12 tensors that `a` has: vae/conv_in\.bias, vae/conv_in\.weight"):
        merged_folder(without_vae)


def test_the_state_dict_of_a_plain_module(merged_folder, tmp_path):
    out = merged_folder(plain_module, ".pt")
    a, b = (torch.load(tmp_path / f"{label}.pt") for label in ("a", "b"))
    found = tensors(out)
    assert list(found) == list(a)
    assert_average(found, *({name: x.numpy() for name, x in state.items()} for state in (a, b)))
    module = Convolutions()
    module.load_state_dict({name: torch.from_numpy(x) for name, x in found.items()}, strict=True)
    assert module(torch.ones(1, 4, 8, 8)).isfinite().all()
