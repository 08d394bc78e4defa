"""Image models in one file each: weighted sum, add difference, block weights; one file comes out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ligate.methods import _catalogue
from ligate.recipe.parse import parse_text
from ligate.recipe.review import review

UNET = "model.diffusion_model"
SHAPES = {
    f"{UNET}.time_embed.0.weight": (6, 4),
    **{f"{UNET}.input_blocks.{n}.0.weight": (5, 4, 3, 3) for n in range(12)},
    f"{UNET}.middle_block.1.proj_in.weight": (4, 4),
    **{f"{UNET}.output_blocks.{n}.0.weight": (4, 5) for n in range(12)},
    f"{UNET}.out.2.bias": (4,),
    "first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3),
    "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight": (8, 4),
}
IDS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
BLOCKS = [0.9, *(n / 100 for n in range(25))]
STALE = {"format": "pt", "modelspec.title": "a", "modelspec.hash_sha256": "0xabc", "sshs_model_hash": "12"}


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """A folder with a, b and c: safetensors files, c a pickle as training leaves it."""
    draw = torch.Generator().manual_seed(11)
    for label in "abc":
        state = {name: torch.randn(shape, generator=draw).half() for name, shape in SHAPES.items()}
        state[IDS] = torch.arange(77)[None]
        if label == "c":
            torch.save({"global_step": 3, "state_dict": state}, tmp_path / "c.ckpt")
        else:
            save_file(state, tmp_path / f"{label}.safetensors", STALE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(shelf: Path, label: str) -> dict[str, torch.Tensor]:
    if label == "c":
        return torch.load(shelf / "c.ckpt")["state_dict"]
    return load_file(shelf / f"{label}.safetensors")


def assert_is(found: torch.Tensor, expected: torch.Tensor, name: str) -> None:
    np.testing.assert_array_equal(found.numpy(), expected.half().numpy(), err_msg=name)


def test_a_weighted_sum_is_one_file_named_like_its_folder(shelf, fine):
    fine(
        "merge", "--method", "task_arithmetic", "--base", "a.safetensors", "b.safetensors", "-o", "mix v1.5",
        "--set", "weight=0.3", "--set", "scale=1",
    )  # fmt: skip
    out = shelf / "mix v1.5"
    assert {path.name for path in out.iterdir()} == {"mix v1.5.safetensors", "ligate.json", "README.md"}
    found, a, b = load_file(out / "mix v1.5.safetensors"), read(shelf, "a"), read(shelf, "b")
    assert set(found) == set(a)
    assert torch.equal(found[IDS], a[IDS])
    for name in SHAPES:
        assert_is(found[name], a[name].double() * 0.7 + b[name].double() * 0.3, name)
    fine("verify", "mix v1.5")
    fine("replay", "mix v1.5", "again")
    assert (shelf / "again" / "again.safetensors").read_bytes() == (out / "mix v1.5.safetensors").read_bytes()


def test_add_difference(shelf, fine):
    fine(
        "merge", "--method", "add_difference", "--base", "c.ckpt", "a.safetensors", "b.safetensors", "-o", "sum",
        "--set", "multiplier=0.7",
    )  # fmt: skip
    found = load_file(shelf / "sum" / "sum.safetensors")
    a, b, c = (read(shelf, label) for label in "abc")
    for name in SHAPES:
        assert_is(found[name], a[name].double() + 0.7 * (b[name].double() - c[name].double()), name)


def test_block_weights(shelf, fine):
    weights = ",".join(map(str, BLOCKS))
    fine(
        "merge", "--method", "task_arithmetic", "--base", "a.safetensors", "b.safetensors", "-o", "blocks",
        "--blocks", f"weight={weights}", "--set", "scale=1",
    )  # fmt: skip
    found, a, b = load_file(shelf / "blocks" / "blocks.safetensors"), read(shelf, "a"), read(shelf, "b")
    for name in SHAPES:
        share = 0.9
        if name.startswith(UNET):
            part, number = name.removeprefix(f"{UNET}.").split(".")[:2]
            places = {"time_embed": None, "input_blocks": 1, "middle_block": 13, "output_blocks": 14, "out": 25}
            place = places[part]
            share = 0 if place is None else BLOCKS[place + (int(number) if part.endswith("blocks") else 0)]
        assert_is(found[name], a[name].double() + share * (b[name].double() - a[name].double()), name)


def test_digests_of_other_numbers_are_not_passed_on(shelf, fine):
    fine("merge", "--method", "linear", "a.safetensors", "b.safetensors", "-o", "mix")
    with safe_open(shelf / "mix" / "mix.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt", "modelspec.title": "a"}


def test_half_precision_and_several_files_come_on_request(shelf, fine):
    fine("merge", "--method", "linear", "a.safetensors", "b.safetensors", "-o", "mix", "--dtype", "float32")
    assert load_file(shelf / "mix" / "mix.safetensors")[f"{UNET}.out.2.bias"].dtype == torch.float32
    fine("merge", "--method", "linear", "a.safetensors", "b.safetensors", "-o", "parts", "--shard-size", "1KB")
    assert (shelf / "parts" / "parts.safetensors.index.json").exists()
    fine("verify", "parts")


@pytest.mark.parametrize("name", ["adapter_model", ".hidden", "part-00001-of-00002"])
def test_a_name_that_would_be_misread_is_not_given_to_the_file(shelf, fine, name):
    fine("merge", "--method", "linear", "a.safetensors", "b.safetensors", "-o", name)
    assert [path.name for path in (shelf / name).glob("*.safetensors")] == ["model.safetensors"]
    fine("verify", name)


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ("weight=0.5,0.5", "`weight` has 2 block weights"),
        ("weight=0.5,high", "a block weight must be a number. Got 'high' instead."),
        ("wieght=0.5", "`merge/task_arithmetic` has no parameter `wieght`\n  -> did you mean 'weight'?"),
        ("0.5,0.5", "'0.5,0.5' is no NAME=VALUE"),
        (f"weight={','.join('1' * 20)}", "no merged tensor matches `*diffusion_model.label_emb.*`"),
    ],
)
def test_block_weights_that_cannot_be_are_refused(shelf, ligate, blocks, words):
    ran = ligate(
        "merge", "--method", "task_arithmetic", "--base", "a.safetensors", "b.safetensors", "-o", "x",
        "--blocks", blocks,
    )  # fmt: skip
    assert ran.code == 2
    assert words in ran.err
    assert not (shelf / "x").exists()


def test_a_model_without_blocks_is_one_problem(desk, ligate):
    numbers = ",".join("1" * 26)
    ran = ligate(
        "merge", "--method", "task_arithmetic", "--base", "base", "a", "-o", "x", "--blocks", f"weight={numbers}"
    )
    assert (ran.code, ran.err.count("->")) == (2, 1)
    assert "no merged tensor matches `*diffusion_model.input_blocks.0.*`, " in ran.err
    assert "and 24 more" in ran.err


def test_block_weights_go_with_a_method(shelf, ligate):
    ran = ligate("merge", "recipe.yaml", "out", "--blocks", "weight=1")
    assert "--blocks goes with --method" in ran.err


INPAINTING = """\
sources:
  a: ./wide.safetensors
  b: {path: ./b.safetensors, fill: a}
  c: {path: ./c.ckpt, fill: a}
merge:
  method: add_difference
  base: c
  models: [a, b]
  parameters: {multiplier: 1}
output: {donor: a}
"""
CONV = f"{UNET}.input_blocks.0.0.weight"


@pytest.fixture
def inpainting(shelf) -> Path:
    """The shelf with wide.safetensors: a with five more input channels; and a recipe that makes b an inpainting one."""
    wide = read(shelf, "a")
    wide[CONV] = torch.cat([wide[CONV], torch.ones(5, 5, 3, 3).half()], 1)
    save_file(wide, shelf / "wide.safetensors", {"format": "pt"})
    (shelf / "recipe.yaml").write_text(INPAINTING)
    return shelf


def test_missing_input_channels_are_filled_from_the_wide_model(inpainting, fine):
    fine("merge", "recipe.yaml", "out")
    found = load_file(inpainting / "out" / "out.safetensors")
    a, b, c = (read(inpainting, label) for label in ("wide", "b", "c"))
    assert torch.equal(found[CONV][:, 4:], a[CONV][:, 4:])
    for name in SHAPES:
        merged, own = (x[name][:, :4] if name == CONV else x[name] for x in (found, a))
        assert_is(merged, own.double() + (b[name].double() - c[name].double()), name)
    fine("verify", "out")
    fine("replay", "out", "again")
    assert json.loads((inpainting / "out" / "ligate.json").read_text())["recipe"]["sources"]["b"]["fill"] == "a"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (", fill: a}", "}", "give each narrower source `fill: WIDER`"),
        (
            "c: {path: ./c.ckpt, fill: a}",
            "c: {path: ./c.ckpt, fill: b}",
            "no tensor is narrower than in `b`",
        ),
        ("fill: a}", "fill: d}", "`fill: d` is no source"),
        ("fill: a}", "fill: b}", "source `b` cannot be filled from `b`"),
    ],
)
def test_what_cannot_be_filled_is_told(inpainting, ligate, old, new, words):
    (inpainting / "recipe.yaml").write_text(INPAINTING.replace(old, new, 1))
    ran = ligate("check", "recipe.yaml")
    assert ran.code in (2, 3)
    assert words in ran.err


@pytest.mark.parametrize("page", ["architectures.md", "diffusion.md"])
def test_recipes_in_the_docs_are_recipes(page):
    text = (Path(__file__).parents[2] / "docs" / page).read_text("utf-8")
    found = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found
    for recipe in found:
        assert not review(parse_text(recipe, page), _catalogue.load)
