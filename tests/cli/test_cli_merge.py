"""`ligate merge` from the outside: what it leaves, what it refuses, what it says."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

PLUGIN = '''
from ligate import method


@method(title="Larger", source="none", base="unused", models=(2, 2))
def larger(base, tuned, *, site=None, scale: float = 1.0):
    """Take the larger number, times `scale`."""
    return tuned.amax(0) * scale
'''


def test_a_recipe_gives_a_whole_model_folder(desk, fine):
    ran = fine("merge", "recipe.yaml", "out")
    assert "5 tensors" in ran.out
    names = {path.name for path in (desk / "out").iterdir()}
    assert names == {"model.safetensors", "config.json", "tokenizer.json", "ligate.json", "README.md"}
    assert json.loads((desk / "out" / "tokenizer.json").read_text()) == {"of": "base"}
    assert not (desk / "out.partial").exists()


def test_the_log_is_beside_the_output_and_knows_the_paths(desk, fine):
    fine("merge", "recipe.yaml", "out", "--threads", "2")
    log = json.loads((desk / "out.log.json").read_text())
    assert log["sources"]["a"]["path"] == str(desk / "a")
    assert log["settings"]["threads"] == 2


def test_neither_record_nor_card_tell_where_or_when(desk, fine):
    fine("merge", "recipe.yaml", "out")
    for name in ("ligate.json", "README.md"):
        assert str(desk) not in (desk / "out" / name).read_text()


def test_no_recipe_is_needed(desk, fine):
    fine("merge", "recipe.yaml", "by-recipe")
    fine(
        "merge", "--method", "ties", "--base", "base", "a", "b", "-o", "by-hand", "--set", "density=0.4",
        "--weight", "0.6", "--weight", "0.4",
    )  # fmt: skip
    one, two = (load_file(desk / out / "model.safetensors") for out in ("by-recipe", "by-hand"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_options_replace_what_the_recipe_says(desk, fine):
    fine("merge", "recipe.yaml", "out", "--dtype", "float32", "--shard-size", "1KB", "--seed", "3")
    assert len(list((desk / "out").glob("*.safetensors"))) > 1
    assert json.loads((desk / "out" / "config.json").read_text())["torch_dtype"] == "float32"
    record = json.loads((desk / "out" / "ligate.json").read_text())
    assert (record["recipe"]["seed"], record["recipe"]["output"]["dtype"]) == (3, "F32")


def test_json_is_for_machines(fine, desk):
    told = fine("merge", "recipe.yaml", "out", "--json").json
    assert (told["out"], told["tensors"]) == ("out", 5)
    assert told["digest"] == json.loads((desk / "out" / "ligate.json").read_text())["digest"]


def test_quiet_says_nothing(fine, desk):
    ran = fine("merge", "recipe.yaml", "out", "-q")
    assert (ran.out, ran.err) == ("", "")


def test_a_used_output_is_refused_and_replaced_on_request(desk, fine, ligate, contents):
    fine("merge", "recipe.yaml", "out", "--shard-size", "1KB")
    before = contents(desk)
    ran = ligate("merge", "recipe.yaml", "out")
    assert ran.code == 5
    assert "--overwrite" in ran.err
    assert contents(desk) == before
    fine("merge", "recipe.yaml", "out", "--overwrite")
    assert [path.name for path in (desk / "out").glob("*.safetensors*")] == ["model.safetensors"]


@pytest.mark.parametrize("out", ["base", "."])
def test_an_input_is_never_replaced(desk, ligate, contents, out):
    before = contents(desk)
    ran = ligate("merge", "recipe.yaml", out, "--overwrite")
    assert ran.code == 5
    assert "also the input" in ran.err
    assert contents(desk) == before


@pytest.mark.parametrize("out", [".", "..", "../empty"])
def test_the_current_folder_is_never_replaced(desk, ligate, monkeypatch, contents, out):
    (desk / "empty").mkdir()
    monkeypatch.chdir(desk / "empty")
    before = contents(desk)
    ran = ligate("merge", "--method", "linear", "../a", "../b", "-o", out)
    assert ran.code == 5
    assert "current folder" in ran.err
    assert contents(desk) == before


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda out: out.mkdir() or (out / "thesis.tex").write_text("years of work"), "holds no model"),
        (lambda out: out.mkdir() or (out / ".git").mkdir() or (out / "config.json").write_text("{}"), "repository"),
        (lambda out: out.write_text("a file"), "is a file"),
        (lambda out: out.symlink_to("elsewhere"), "is a link"),
        (lambda out: out.with_name("out.log.json").mkdir(), "the log of the merge goes there"),
        (lambda out: out.with_name(".out.replaced").mkdir() or out.mkdir(), ".out.replaced"),
    ],
)
def test_what_cannot_be_replaced_is_refused_before_anything_is_merged(desk, ligate, contents, monkeypatch, made, words):
    from ligate.verbs import execute

    monkeypatch.setattr(execute, "run", pytest.fail)
    made(desk / "out")
    before = contents(desk)
    for verb in ("check", "merge"):
        ran = ligate(verb, "recipe.yaml", "out", "--overwrite")
        assert ran.code == 5, ran.err
        assert words in ran.err
    assert contents(desk) == before


def test_a_file_where_the_work_is_to_be_done_is_named(desk, ligate, contents):
    (desk / "out.partial").write_text("mine")
    before = contents(desk)
    ran = ligate("merge", "recipe.yaml", "out", "--overwrite")
    assert ran.code == 5
    assert "not made by Ligate" in ran.err
    assert contents(desk) == before


def test_nan_in_an_input_leaves_nothing(desk, ligate, contents):
    tensors = load_file(desk / "b" / "model.safetensors")
    tensors["norm.weight"][3] = float("nan")
    save_file(tensors, desk / "b" / "model.safetensors")
    before = contents(desk)
    ran = ligate("merge", "recipe.yaml", "out")
    assert ran.code == 4
    assert all(word in ran.err for word in ("norm.weight", "model b", "NaN"))
    assert contents(desk) == before
    assert ligate("merge", "recipe.yaml", "out", "--allow-nonfinite").code == 0


def test_all_problems_are_told_at_once(desk, ligate):
    (desk / "recipe.yaml").write_text(
        (desk / "recipe.yaml").read_text().replace("density: 0.4", "density: 7\n    denity: 1").replace("./b", "./bb")
    )
    (desk / "out").write_text("in the way")
    ran = ligate("merge", "recipe.yaml", "out")
    assert ran.code == 2
    for word in ("recipe.yaml:10", "recipe.yaml:11", "density", "./bb", "is a file"):
        assert word in ran.err
    assert "problems" in ran.err.splitlines()[0]


def test_steps_are_whole_merges_in_order(desk, fine):
    fine("merge", "steps.yaml", "out")
    a, b, base, out = (load_file(desk / name / "model.safetensors") for name in ("a", "b", "base", "out"))
    for name in out:
        mean = (a[name].float() + b[name].float()) / 2
        expected = base[name].double() + 0.5 * (mean.double() - base[name].double())
        assert torch.equal(out[name], expected.bfloat16())
    record = json.loads((desk / "out" / "ligate.json").read_text())
    assert [step["name"] for step in record["steps"]] == ["mean", None]
    assert record["sources"]["a"]["digest"]


def test_a_rule_of_ones_own(desk, fine):
    (desk / "mine.py").write_text(PLUGIN)
    fine("merge", "--method", "larger", "a", "b", "-o", "out", "--plugin", "mine.py", "--set", "scale=2")
    a, b, out = (load_file(desk / name / "model.safetensors") for name in ("a", "b", "out"))
    assert torch.equal(out["norm.weight"], (torch.maximum(a["norm.weight"], b["norm.weight"]).float() * 2).bfloat16())
    assert "larger" in fine("methods", "--plugin", "mine.py").out


def test_without_hashing_there_is_no_digest(desk, fine, ligate):
    assert fine("merge", "recipe.yaml", "out", "--no-hash", "--no-fsync", "--json").json["digest"] is None
    assert "without digests" in fine("verify", "out").out
    assert ligate("replay", "out", "again").code == 3


def test_licences_that_differ_are_noted(desk, fine):
    (desk / "b" / "README.md").write_text("---\nlicense: gpl-3.0\n---\n")
    assert "different licences" in fine("merge", "recipe.yaml", "out").err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["merge"], "--help"),
        (["merge", "recipe.yaml"], "OUT"),
        (["merge", "recipe.yaml", "out", "--set", "density=1"], "--method"),
        (["merge", "recipe.yaml", "out", "--density", "1"], "--set density=VALUE"),
        (["merge", "recipe.yaml", "out", "--overwite"], "--overwrite"),
        (["merge", "recipe.yaml", "out", "--threads", "0"], "threads"),
        (["merge", "recipe.yaml", "out", "--memory", "lots"], "512MB"),
        (["merge", "recipe.yaml", "out", "--dtype", "bfloat61"], "bfloat16"),
        (["merge", "nothing.yaml", "out"], "ligate init"),
        (["merge", "--method", "tise", "a", "b", "-o", "out"], "ties"),
        (["merge", "--method", "linear", "a", "b"], "-o OUT"),
        (["merge", "--method", "linear", "a", "b", "-o", "out", "--set", "weight"], "NAME=VALUE"),
        (["merge", "--method", "linear", "a", "b", "-o", "out", "--set", "weight=1", "--weight", "1"], "twice"),
        (["merge", "--method", "linear", "a", "b", "-o", "out", "--weight", "1,2,3"], "2 models"),
        (["merge", "--method", "ties", "a", "b", "-o", "out"], "base"),
        (["mrege", "recipe.yaml", "out"], "merge"),
    ],
)
def test_mistakes_of_usage_end_with_2_and_a_way_out(desk, ligate, contents, arguments, word):
    before = contents(desk)
    ran = ligate(*arguments)
    assert ran.code == 2
    assert word in ran.err
    assert "Traceback" not in ran.err
    assert contents(desk) == before


def test_debug_lets_the_error_through(desk, ligate):
    with pytest.raises(Exception, match="no such recipe"):
        ligate("merge", "nothing.yaml", "out", "--debug")


def test_errors_are_told_to_machines_too(desk, ligate):
    told = ligate("merge", "nothing.yaml", "out", "--json").json
    assert told["error"]["exit_code"] == 2
    assert told["error"]["kind"] == "RecipeError"


def test_only_a_hub_id_is_a_base_model_to_the_hub(desk, fine):
    fine("merge", "recipe.yaml", "out")
    text = (desk / "out" / "README.md").read_text()
    assert "base_model" not in text.split("---")[1]
    assert "license: mit" in text
    assert "| a | mit |" in text


def renamed(folder, tensors):
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_what_the_errors_advise_can_be_done_by_options(desk, fine, ligate):
    tensors = load_file(desk / "b" / "model.safetensors")
    renamed(desk / "b", {**{f"module.{name}": x for name, x in tensors.items()}, "module.v_head.weight": torch.ones(2)})
    told = ["merge", "--method", "linear", "a", "b", "-o", "out"]
    ran = ligate(*told)
    assert ran.code == 3
    assert "--strip-prefix b=module." in ran.err
    ran = ligate(*told, "--strip-prefix", "b=module.")
    assert ran.code == 3
    assert "v_head.weight" in ran.err
    assert "--drop" in ran.err
    fine(*told, "--strip-prefix", "b=module.", "--drop", "v_head.*")
    assert set(load_file(desk / "out" / "model.safetensors")) == set(tensors)
    fine("replay", "out", "again")


def test_a_prefix_without_a_model_is_that_of_all_who_have_it(desk, fine):
    for label in ("a", "b"):
        tensors = load_file(desk / label / "model.safetensors")
        renamed(desk / label, {f"module.{name}": x for name, x in tensors.items()})
    fine("check", "recipe.yaml", "--strip-prefix", "module.")
    fine("merge", "recipe.yaml", "out", "--strip-prefix", "module.")
    sources = json.loads((desk / "out" / "ligate.json").read_text())["recipe"]["sources"]
    assert {label: facts.get("strip_prefix") for label, facts in sources.items()} == {
        "base": None,
        "a": "module.",
        "b": "module.",
    }


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--strip-prefix=modul.", ["no model has tensor names that begin with 'modul.'", "'layers.'"]),
        ("--strip-prefix=c=module.", ["`c` is no source"]),
        ("--strip-prefix=a=", ["has no prefix"]),
        ("--drop=lm_head.*", ["no tensor matches `lm_head.*`"]),
    ],
)
def test_options_that_match_nothing_are_problems(desk, ligate, option, words):
    ran = ligate("check", "recipe.yaml", option)
    assert ran.code == 2
    assert all(word in ran.err for word in words), ran.err
