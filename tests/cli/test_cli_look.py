"""The verbs that only look: check, explain, inspect, diff, methods, init, help."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from ligate.methods import _catalogue


def test_check_forecasts_and_touches_nothing(desk, fine, contents):
    before = contents(desk)
    told = fine("check", "recipe.yaml", "out", "--json").json
    (step,) = told["steps"]
    written = sum(x.nbytes for x in load_file(desk / "base" / "model.safetensors").values())
    assert (step["tensors"], step["written"]) == (5, written)
    assert step["read"] == step["passes"] * 3 * written
    assert told["room"]["free"] > told["room"]["needed"] > written
    assert contents(desk) == before


def test_check_forecasts_every_step(desk, fine):
    text = fine("check", "steps.yaml").out
    assert "mean" in text
    assert "result" in text
    assert "with 1 thread\n" in fine("check", "steps.yaml", "--threads", "1").out + "\n"


def test_check_tells_all_problems_at_once(desk, ligate):
    tensors = load_file(desk / "b" / "model.safetensors")
    tensors["norm.weight"] = torch.ones(9)
    del tensors["layers.1.up.weight"]
    save_file(tensors, desk / "b" / "model.safetensors")
    ran = ligate("check", "recipe.yaml")
    assert ran.code == 3
    assert all(word in ran.err for word in ("norm.weight", "[9]", "layers.1.up.weight", "2 problems"))


def test_check_looks_at_the_place_of_the_output(desk, fine, ligate):
    fine("merge", "recipe.yaml", "out")
    assert ligate("check", "recipe.yaml", "out").code == 5
    fine("check", "recipe.yaml", "out", "--overwrite")


def test_too_little_room_is_told_before_anything_is_written(desk, ligate, monkeypatch, contents):
    from ligate.verbs import preflight

    monkeypatch.setattr(preflight, "free_bytes", lambda out: 1000)
    before = contents(desk)
    ran = ligate("merge", "recipe.yaml", "out")
    assert ran.code == 5
    assert "are needed" in ran.err
    assert contents(desk) == before


def test_explain_names_the_line_of_every_value(desk, fine):
    told = fine("explain", "recipe.yaml", "--tensor", "norm.weight", "--json").json[0]
    found = {(p["name"], p["model"]): (p["value"], p["origin"]) for p in told["parameters"]}
    assert found["density", "a"] == (0.4, "recipe.yaml:10")
    assert found["weight", "b"] == (0.4, "recipe.yaml:11")
    assert found["scale", None] == (1.0, "default")
    assert [one["label"] for one in told["ingredients"]] == ["base", "a", "b"]


def test_explain_follows_gradients_patterns_and_steps(desk, fine):
    (desk / "recipe.yaml").write_text(
        "sources: {a: ./a, b: ./b}\n"
        "merge:\n"
        "  method: linear\n"
        "  models: [a, b]\n"
        "  parameters:\n"
        "    weight:\n"
        "      a: [0.0, 1.0]\n"
        "      b:\n"
        "        - {match: '*.up.*', value: 3}\n"
        "        - 2\n"
    )
    told = fine("explain", "recipe.yaml", "--tensor", "layers.1.up.weight", "--json").json[0]
    a, b = (p for p in told["parameters"] if p["name"] == "weight")
    assert (a["value"], a["origin"]) == (0.5, "recipe.yaml:7, spread over the layers: 0.0, 1.0")
    assert (b["value"], b["origin"]) == (3.0, "recipe.yaml:9, for tensors like `*.up.*`")
    steps = fine("explain", "steps.yaml", "--tensor", "norm.weight", "--json").json
    assert [one["step"] for one in steps] == ["mean", None]


def test_explain_tells_the_defaults_of_mergekit_from_what_a_config_says(desk, fine):
    (desk / "merge.yml").write_text(
        "merge_method: ties\n"
        "base_model: ./base\n"
        "models:\n"
        "  - {model: ./a, parameters: {weight: 0.5}}\n"
        "  - {model: ./b, parameters: {weight: [{filter: norm, value: 2}, {value: 1}]}}\n"
    )
    told = fine("explain", "merge.yml", "--tensor", "norm.weight", "--json").json[0]
    found = {(p["name"], p["model"]): (p["value"], p["origin"]) for p in told["parameters"]}
    assert found["weight", "a"] == (0.5, "merge.yml:4")
    assert found["weight", "b"] == (2.0, "merge.yml:5, for tensors like `norm`")
    assert found["density", "a"] == (1.0, "default of mergekit's `ties`")
    assert found["scope", None] == ("tensor", "default of mergekit's `ties`")


def test_explain_looks_at_names_in_a_model_where_the_pattern_does(desk, fine):
    for label in ("a", "b"):
        (desk / label / "config.json").write_text('{"num_hidden_layers": 3}')
    (desk / "stack.yaml").write_text(
        "sources: {a: ./a, b: ./b}\n"
        "merge:\n"
        "  method: passthrough\n"
        "  slices:\n"
        "    - layers: {b: [2, 3]}\n"
        "    - layers: {a: [0, 2]}\n"
        "  parameters:\n"
        "    scale:\n"
        "      - {match_source: '*.2.*', value: 3}\n"
        "      - 1\n"
    )
    origins = [
        fine("explain", "stack.yaml", "--tensor", f"layers.{n}.up.weight", "--json").json[0]["parameters"][0]["origin"]
        for n in (0, 2)
    ]
    assert origins == ["stack.yaml:9, for tensors like `*.2.*`", "stack.yaml:10"]


def test_explain_reads_a_record(desk, fine):
    fine("merge", "recipe.yaml", "out")
    told = fine("explain", "out", "--tensor", "norm.weight", "--json").json
    record = json.loads((desk / "out" / "ligate.json").read_text())
    assert told["digest"] == record["steps"][0]["tensors"]["norm.weight"]["digest"]
    text = fine("explain", "out", "--tensor", "norm.weight").out
    assert told["digest"] in text
    assert "density" in text


@pytest.mark.parametrize("what", ["recipe.yaml", "out"])
def test_explain_suggests_a_tensor(desk, fine, ligate, what):
    fine("merge", "recipe.yaml", "out")
    ran = ligate("explain", what, "--tensor", "norm.wieght")
    assert ran.code == 2
    assert "norm.weight" in ran.err


def test_inspect_lists_tensors(desk, fine):
    text = fine("inspect", "base").out
    assert "layers.2.up.weight" in text
    assert "16 x 8" in text
    told = fine("inspect", "base", "--json", "--stats", "--only", "norm.*").json
    assert [tensor["name"] for tensor in told["tensors"]] == ["norm.weight"]
    assert told["tensors"][0]["numbers"]["nonfinite"] == 0


def test_diff_measures_and_draws(desk, fine):
    told = fine("diff", "base", "a", "--json", "--plot", "p.html").json
    assert (told["same"], len(told["tensors"])) == (False, 5)
    assert (desk / "p.html").read_text().count("<circle") == 5
    assert "same numbers" in fine("diff", "a", "a").out
    short = fine("diff", "base", "a").out
    assert short.count("layers.") == 3


def test_models_without_a_common_shape_are_not_called_equal(desk, fine):
    for name, length in (("short", 2), ("long", 3)):
        save_file({"w": torch.ones(length)}, desk / f"{name}.safetensors")
    text = fine("diff", "short.safetensors", "long.safetensors").out
    assert text.splitlines()[0] == "no tensor has one shape in both"
    assert "shapes differ: w is 2 in" in text
    assert "100" not in text


def test_models_with_adapters_are_looked_at_like_others(desk, fine):
    rows, columns = torch.ones(16, 2), torch.ones(2, 8)
    adapter = desk / "lora"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    prefix = "base_model.model.layers.1.up"
    save_file(
        {f"{prefix}.lora_A.weight": columns, f"{prefix}.lora_B.weight": rows}, adapter / "adapter_model.safetensors"
    )
    found = fine("diff", "base", "base+lora", "--json").json
    changed = {one["name"]: one["largest"] for one in found["tensors"] if one["largest"]}
    assert changed == {"layers.1.up.weight": 2.0}
    assert fine("inspect", "base+lora", "--json").json["label"] == "base-lora"


def test_a_distance_that_is_not_finite_is_called_so(desk, fine):
    tensors = load_file(desk / "b" / "model.safetensors")
    tensors["norm.weight"][0] = float("nan")
    save_file(tensors, desk / "b" / "model.safetensors")
    assert "not finite" in fine("diff", "a", "b").out


@pytest.mark.parametrize("method", _catalogue.ids())
def test_every_card_can_be_shown(fine, method):
    text = fine("methods", method).out
    assert "source:" in text
    assert fine("methods", method, "--json").json["id"] == method


def test_methods_lists_all(fine):
    text = fine("methods").out
    assert all(method in text for method in _catalogue.ids())


@pytest.mark.parametrize("method", _catalogue.ids())
def test_every_method_has_a_recipe_to_start_from_that_runs(desk, fine, method):
    card = _catalogue.load(method)
    for name in card.measured:
        for label in ("a", "b"):
            weights = load_file(desk / label / "model.safetensors")
            matrices = {key: one for key, one in weights.items() if one.ndim == 2}
            save_file({key: measured(one, name) for key, one in matrices.items()}, desk / f"{label}.{name}")
    fine("init", "new.yaml", "--method", method)
    fine("merge", "new.yaml", "out")


def measured(weight: torch.Tensor, name: str) -> torch.Tensor:
    """Something for a weight: a matrix of its inputs, or a number for each of its own."""
    return torch.eye(weight.shape[-1]) if name == "grams" else weight.float().square()


def test_init_never_replaces_a_file(desk, ligate, contents):
    before = contents(desk)
    assert ligate("init", "recipe.yaml").code == 5
    assert contents(desk) == before


def test_help_names_every_verb(fine):
    verbs = ["merge", "check", "explain", "methods", "init", "inspect", "diff", "resume", "verify", "replay", "demo"]
    text = fine("--help").out
    assert all(f"  {verb} " in text for verb in verbs)
    assert fine().out == text
    for verb in verbs:
        assert "Usage: ligate " + verb in fine(verb, "--help").out


def test_the_version_is_told(fine):
    from ligate import __version__

    assert fine("--version").out == f"ligate {__version__}\n"


@pytest.fixture
def llamas(desk):
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=50
    )
    for name in ("x", "y"):
        LlamaForCausalLM(config).save_pretrained(desk / name)
    return desk


def test_a_result_is_loaded_and_run_once(llamas, fine, ligate):
    fine("merge", "--method", "linear", "x", "y", "-o", "out")
    told = fine("check", "out", "--load", "--json").json
    assert told["architecture"] == "LlamaForCausalLM"
    assert told["outputs"]["logits"] == [1, 8, 50]


def test_a_result_that_does_not_work_is_told(llamas, fine, ligate):
    fine("merge", "--method", "linear", "x", "y", "-o", "out", "--no-hash")
    path = llamas / "out" / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "lm_head.weight": tensors["lm_head.weight"] * float("inf")}, path, {"format": "pt"})
    assert ligate("check", "out", "--load").code == 4
    save_file({name: x for name, x in tensors.items() if name != "lm_head.weight"}, path, {"format": "pt"})
    ran = ligate("check", "out", "--load")
    assert ran.code == 3
    assert "lm_head.weight" in ran.err
    assert ligate("check", "base", "--load").code == 3


def test_a_result_that_is_cut_short_is_named(llamas, ligate):
    file = llamas / "x" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    ran = ligate("check", "x", "--load")
    assert ran.code == 3
    assert all(word in ran.err for word in ("model.safetensors", "cut short"))


def test_a_folder_instead_of_a_recipe_gets_the_right_command(desk, fine, ligate):
    ran = ligate("check", "base")
    assert ran.code == 2
    assert "`ligate check OUT --load`" in ran.err
