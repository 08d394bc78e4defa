"""`ligate extend`: an OPCM merge goes on where it ended."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ligate.verbs.extend import extend

SHAPES = {"a[0].w": (12, 20), "b": (7,), "c.w": (9, 4)}


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    base = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()}
    for label in ("base", "other-base", "one", "two", "three", "four"):
        (tmp_path / label).mkdir()
        step = 0.0 if label == "base" else 0.1
        moved = {n: t + step * torch.randn(t.shape, generator=generator, dtype=torch.float64) for n, t in base.items()}
        save_file(moved, tmp_path / label / "model.safetensors")
    return tmp_path


def weights(folder):
    return load_file(folder / "model.safetensors")


OPCM = ("merge", "--method", "opcm", "--base", "base")


def test_in_three_goes_it_is_the_merge_of_all_at_once(models, fine):
    fine(*OPCM, "one", "two", "three", "four", "-o", "whole")
    fine(*OPCM, "one", "two", "-o", "first")
    fine("extend", "first", "three", "-o", "second")
    ran = fine("extend", "second", "four", "-o", "third", "--base", "base", "--json")
    assert json.loads(ran.out)["tensors"] == len(SHAPES)
    whole, third = weights(models / "whole"), weights(models / "third")
    for name in SHAPES:
        torch.testing.assert_close(third[name], whole[name], rtol=1e-9, atol=1e-11)
    fine("verify", "third")
    fine("replay", "third", "again")


def test_only_opcm_of_scale_one_goes_on(models, fine, ligate):
    fine("merge", "--method", "ties", "--base", "base", "one", "two", "-o", "ties")
    fine(*OPCM, "one", "two", "--set", "scale=0.5", "-o", "half")
    for out, words in (
        ("ties", "only OPCM can be continued"),
        ("half", "scale other than 1"),
        ("one", "no ligate.json"),
    ):
        ran = ligate("extend", out, "three", "-o", "next")
        assert ran.code in (2, 3) and words in ran.err
        assert not (models / "next").exists()


def test_another_base_and_a_lost_one_are_told(models, fine, ligate):
    fine(*OPCM, "one", "two", "-o", "first")
    ran = ligate("extend", "first", "three", "-o", "next", "--base", "other-base")
    assert ran.code == 6 and "the base differs" in ran.err
    (models / "first.log.json").unlink()
    ran = ligate("extend", "first", "three", "-o", "more")
    assert ran.code == 3 and "--base PATH" in ran.err


def test_a_model_of_another_shape_is_told_without_what_follows_from_it(models, fine, ligate):
    fine(*OPCM, "one", "two", "-o", "first")
    save_file(
        {**load_file(models / "three" / "model.safetensors"), "c.w": torch.ones(9, 5)}, models / "wide.safetensors"
    )
    ran = ligate("extend", "first", "wide.safetensors", "-o", "next")
    assert (ran.code, ran.err.count("->")) == (3, 1)
    assert "c.w: shape [9, 5] here" in ran.err


def test_in_python_one_model_is_no_list_of_letters(models, fine):
    fine(*OPCM, "one", "two", "-o", "first")
    assert extend("first", "three", "second", base="base").tensors == len(SHAPES)
