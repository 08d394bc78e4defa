"""Recipes with measured operands: from the text to the record, and what is told when something does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ligate.core.errors import InputError, LigateError, RecipeError, VerifyError
from ligate.core.method import method
from ligate.core.tensors import Header
from ligate.engine import blocks
from ligate.engine.plan import Operand, Out, Plan
from ligate.engine.run import run
from ligate.io.memory import MemorySink, MemorySource
from ligate.methods import _catalogue
from ligate.verbs.check import check
from ligate.verbs.explain import explain
from ligate.verbs.merge import merge, resume
from ligate.verbs.replay import replay
from ligate.verbs.verify import verify
from ligate.verbs.watch import Nobody

SHAPES = {"embed.weight": (9, 4), "up.weight": (6, 4), "up.bias": (6,), "unused": (0, 3)}


def model(seed: int, dtype=torch.float32) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=draw).to(dtype) for name, shape in SHAPES.items()}


def gram(seed: int) -> torch.Tensor:
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(seed))
    return x.T @ x / 20


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for number, label in enumerate(("a", "b")):
        save_file(model(number), tmp_path / f"{label}.safetensors")
        measured = {name: value.square() for name, value in model(number + 5).items() if name != "unused"}
        save_file(measured, tmp_path / f"{label}.fisher")
        save_file({"up.weight": gram(number)}, tmp_path / f"{label}.grams")
    return tmp_path


def recipe(place: Path, method: str = "fisher", **changes: object) -> dict:
    sources = {label: str(place / f"{label}.safetensors") for label in ("a", "b")}
    keyword = {"regmean": "grams"}.get(method, "fisher")
    measured = {keyword: {label: str(place / f"{label}.{keyword}") for label in ("a", "b")}}
    return {"sources": sources, "merge": {"method": method, "models": ["a", "b"], "measured": measured, **changes}}


def result(place: Path, name: str = "out") -> dict[str, torch.Tensor]:
    return load_file(place / name / f"{name}.safetensors")


def told(place: Path, **changes: object) -> str:
    with pytest.raises(LigateError) as error:
        check(recipe(place, **changes))
    return str(error.value)


def test_each_number_is_weighted_by_what_was_measured_of_it(place: Path):
    merge(recipe(place, parameters={"normalize": False}), place / "out")
    found = result(place)
    a, b, fa, fb = (load_file(place / name) for name in ("a.safetensors", "b.safetensors", "a.fisher", "b.fisher"))
    for name in set(SHAPES) - {"unused"}:
        due = (fa[name] * a[name] + fb[name] * b[name]) / (fa[name] + fb[name])
        torch.testing.assert_close(found[name], due, rtol=1e-5, atol=1e-7)


def test_the_length_of_what_was_measured_is_that_of_the_whole_model(place: Path):
    merge(recipe(place), place / "out")
    found = result(place)
    a, b, fa, fb = (load_file(place / name) for name in ("a.safetensors", "b.safetensors", "a.fisher", "b.fisher"))
    la, lb = (torch.cat([x.double().flatten() for x in f.values()]).norm() for f in (fa, fb))
    for name in set(SHAPES) - {"unused"}:
        due = (fa[name] / la * a[name] + fb[name] / lb * b[name]) / (fa[name] / la + fb[name] / lb)
        torch.testing.assert_close(found[name], due, rtol=1e-5, atol=1e-7, check_dtype=False)
    stats = json.loads((place / "out" / "ligate.json").read_text())["steps"][0]["tensors"]["up.bias"]["stats"]
    assert stats["lengths"]["fisher"] == pytest.approx([float(la), float(lb)], rel=1e-12)


def test_gram_matrices_have_a_shape_of_their_own_and_what_has_none_is_averaged(place: Path):
    merge(recipe(place, "regmean", parameters={"alpha": 1.0, "ridge": 0.0}), place / "out")
    found = result(place)
    a, b = (load_file(place / f"{label}.safetensors") for label in ("a", "b"))
    ga, gb = gram(0).double().numpy(), gram(1).double().numpy()
    wa, wb = (one["up.weight"].double().numpy() for one in (a, b))
    due = np.linalg.inv(ga + gb) @ (ga @ wa.T + gb @ wb.T)
    np.testing.assert_allclose(found["up.weight"].numpy(), due.T, rtol=1e-5)
    assert torch.equal(found["embed.weight"], ((a["embed.weight"].double() + b["embed.weight"]) / 2).float())


def test_the_record_names_what_was_measured_and_a_replay_needs_it(place: Path):
    merge(recipe(place), place / "out")
    text = json.loads((place / "out" / "ligate.json").read_text())
    entry = text["steps"][0]["tensors"]["up.weight"]
    assert [one[0] for one in entry["measured"]["fisher"]] == ["a+fisher", "b+fisher"]
    assert text["sources"]["a+fisher"]["digest"] and text["sources"]["a+fisher"]["tensors"] == 3
    assert text["recipe"]["merge"]["measured"] == {"fisher": {"a": "a+fisher", "b": "b+fisher"}}
    verify(place / "out")
    replay(place / "out", place / "again")
    save_file({name: one + 1 for name, one in load_file(place / "a.fisher").items()}, place / "other.fisher")
    with pytest.raises(VerifyError, match=r"source a\+fisher, tensor embed.weight was another one"):
        replay(place / "out", place / "third", sources={"a+fisher": str(place / "other.fisher")})


def test_the_card_of_a_result_lists_models_only(place: Path):
    merge(recipe(place), place / "out")
    assert "fisher" not in (place / "out" / "README.md").read_text().split("---")[1]


def test_a_label_may_stand_in_place_of_a_path(place: Path):
    merge(recipe(place), place / "out")
    given = recipe(place)
    given["sources"] |= {"importance": {"path": str(place / "a.fisher")}}
    given["merge"]["measured"]["fisher"]["a"] = "importance"
    merge(given, place / "other")
    first, second = (result(place, name) for name in ("out", "other"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_tensor_is_explained_with_what_was_measured(place: Path):
    (one,) = explain(recipe(place), "up.weight")
    assert [(each.role, each.label) for each in one.ingredients] == [
        ("model", "a"), ("model", "b"), ("fisher", "a+fisher"), ("fisher", "b+fisher")
    ]  # fmt: skip


def test_what_is_wrong_is_told_before_anything_is_read(place: Path):
    assert "needs a measured `fisher`" in told(place, measured={}) and "fisher: {a: PATH, b: PATH}" in told(
        place, measured={}
    )
    half = {"fisher": {"a": str(place / "a.fisher")}}
    assert "`merge/fisher` needs a measured `fisher` of b" in told(place, measured=half)
    assert "is measured for each model" in told(place, measured={"fisher": str(place / "a.fisher")})
    both = {"fisher": {label: str(place / f"{label}.fisher") for label in ("a", "b")}}
    assert "takes no measured `fishr`" in told(place, measured={**both, "fishr": str(place / "a.fisher")})
    assert "`merge/linear` takes no measured `fisher`" in told(place, method="linear", measured=both)
    assert "given for `c`, which is not merged" in told(
        place, measured={"fisher": {**both["fisher"], "c": str(place / "a.fisher")}}
    )
    missing = {"fisher": {**both["fisher"], "b": str(place / "nowhere.fisher")}}
    assert "nowhere.fisher" in told(place, measured=missing) and "recipe:" in told(place, measured=missing)
    assert "names no source" in told(place, measured={"fisher": {**both["fisher"], "b": None}})


def test_measured_tensors_that_do_not_fit_are_told_before_anything_is_read(place: Path):
    save_file({"up.weight": torch.ones(6, 5)}, place / "a.fisher")
    assert "has shape [6, 5], the tensor [6, 4]" in told(place)
    assert "`b+fisher` lacks" not in told(place) and "`a+fisher` lacks 2 tensors that the others have" in told(place)
    save_file({"up.weight": torch.ones(6, 4, dtype=torch.int64)}, place / "a.fisher")
    assert "stored as I64" in told(place)
    save_file({"model.up.weight": torch.ones(6, 4)}, place / "a.fisher")
    assert "no tensor of the merge is in `a+fisher`; it holds `model.up.weight`" in told(place)


def test_a_number_that_is_none_is_told_with_its_place(place: Path):
    bad = load_file(place / "b.grams")
    bad["up.weight"][2, 1] = torch.nan
    save_file(bad, place / "b.grams")
    with pytest.raises(LigateError, match=r"NaN at element 9 \(\[2, 1\]\)") as error:
        merge(recipe(place, "regmean"), place / "out")
    assert "model b+grams" in str(error.value)


def test_a_gram_matrix_of_another_layer_is_refused(place: Path):
    save_file({"up.weight": torch.eye(6)}, place / "a.grams")
    with pytest.raises(InputError, match=r"Gram matrix is \[6, 6\], the weight \[6, 4\]") as error:
        merge(recipe(place, "regmean"), place / "out")
    assert "inputs: first" in str(error.value) and "up.weight" in str(error.value)
    assert not (place / "out").exists()


@method(title="Steered", source="none", base="unused", measured={"steer": "step"})
def steered(base, tuned, *, steer=None, power: float = 1.0):
    """One measured tensor for all models."""
    return tuned.sum(0) if steer is None else tuned[0] + steer**power * (tuned[1] - tuned[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_are_cut_alike_from_models_and_measured(dtype, threads, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 1 << 8)
    monkeypatch.setattr(blocks, "SEGMENT", 1 << 10)
    draw = torch.Generator().manual_seed(0)
    models = [torch.randn(61, 77, generator=draw).to(dtype) for _ in range(2)]
    steer = torch.rand(61, 77, generator=draw)
    sources = [MemorySource("a", {"w": models[0]}), MemorySource("b", {"w": models[1]})]
    sources += [MemorySource("merge+steer", {"w": steer})]
    kind = {torch.bfloat16: "BF16", torch.float32: "F32"}[dtype]
    operands = (Operand(0, "w"), Operand(1, "w"))
    out = Out("w", kind, (61, 77), "steered", operands, None, {"power": 1.0}, {"steer": (Operand(2, "w"),)})
    sink = MemorySink({"w": Header(kind, (61, 77))})
    results = run(Plan(("a", "b", "merge+steer"), (out,)), sources, lambda name: steered.card, sink, threads=threads)
    wide = torch.float32 if dtype == torch.bfloat16 else torch.float64
    a, b = (one.to(wide) for one in models)
    assert torch.equal(sink.state_dict()["w"], (a + steer.to(wide) * (b - a)).to(dtype))
    assert results["w"].operands[Operand(2, "w")]


def test_a_rule_that_takes_no_measured_tensors_has_no_such_keyword():
    assert not any(card.measured for card in map(_catalogue.load, ("linear", "ties")))
    assert "steer" not in steered.card.params
    with pytest.raises(TypeError, match="measured 'models' is none of model, step"):
        method(title="x", source="x", base="unused", measured={"steer": "models"})  # type: ignore[dict-item]


def test_a_plan_without_measured_operands_has_the_digest_it_always_had():
    plan = Plan(("a",), (Out("w", "F32", (2,), "merge/linear", (Operand(0, "w"),), None, {"weight": (1.0,)}),))
    assert plan.digest() == "c619751ff01c56a63ba1f7cd1be25b77"


def test_two_steps_may_measure_the_same_keyword(place: Path):
    given = recipe(place)
    merge_ = given.pop("merge")
    given["steps"] = [
        {**merge_, "name": "first"},
        {"method": "fisher", "models": ["first", "b"],
         "measured": {"fisher": {"first": str(place / "a.fisher"), "b": str(place / "a.fisher")}}},
    ]  # fmt: skip
    merge(given, place / "out")
    sources = json.loads((place / "out" / "ligate.json").read_text())["sources"]
    assert {"a+fisher", "b+fisher", "first+fisher", "b+fisher+2"} <= set(sources)
    replay(place / "out", place / "again")


def test_an_unknown_method_tells_nothing_of_what_is_measured(place: Path):
    with pytest.raises(RecipeError, match="there is no method 'fischer'"):
        check(recipe(place, "fischer"))


class Interrupted(Nobody):
    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, nbytes: int) -> None:
        self.left -= nbytes
        if self.left < 0:
            raise KeyboardInterrupt


def interrupted(place: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        merge(recipe(place, "regmean"), place / "out", threads=1, watch=Interrupted(500))


def test_an_interrupted_merge_goes_on_with_the_same_measured_tensors(place: Path):
    merge(recipe(place, "regmean"), place / "whole")
    interrupted(place)
    resume(place / "out")
    assert (place / "out" / "out.safetensors").read_bytes() == (place / "whole" / "whole.safetensors").read_bytes()


def test_an_interrupted_merge_does_not_go_on_with_others(place: Path):
    interrupted(place)
    save_file({"up.weight": torch.eye(4) * 2, "more": torch.ones(3)}, place / "b.grams")
    with pytest.raises(InputError, match="has changed since the merge began") as error:
        resume(place / "out")
    assert "b.grams" in str(error.value)


def test_memory_counts_what_was_measured(place: Path):
    for label in ("a", "b"):
        save_file({"w": torch.ones(2, 3000)}, place / f"{label}.safetensors")
        save_file({"w": torch.eye(3000)}, place / f"{label}.grams")
    found = check(recipe(place, "regmean"), memory="8GB", threads=1)
    linear = {"method": "linear", "models": ["a", "b"]}
    without = check({**recipe(place, "regmean"), "merge": linear}, memory="8GB", threads=1)
    matrix = 3000 * 3000
    due = 2 * (4 + 8) * matrix + 8 * 4 * matrix  # as stored, as numbers, and what the rule works in
    assert found.steps[0].read - without.steps[0].read == 2 * 4 * matrix
    assert due * 0.99 < found.peak_memory - without.peak_memory < due * 1.01
    with pytest.raises(RecipeError, match="is too little"):
        check(recipe(place, "regmean"), memory="700MB", threads=1)
