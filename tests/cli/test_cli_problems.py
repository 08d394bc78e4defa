"""All problems at once: those of the recipe's text do not hide those of its sources, and none is told twice."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

STEPS = """\
sources: {base: ./base, a: ./a, b: ./b}
steps:
  - {name: mean, method: linear, models: [a, base]}
  - {method: task_arithmetic, base: base, models: [mean, b]}
"""
MERGEKIT = """\
merge_method: ties
base_model: ./base
models:
  - {model: ./a, parameters: {weight: 0.5}}
  - {model: ./b, parameters: {weight: 0.5}}
"""


@pytest.fixture
def recipe(desk) -> str:
    return (desk / "recipe.yaml").read_text()


@pytest.fixture
def problems(desk, ligate):
    """The first lines of all problems that `check` tells of a recipe; `merge` tells the same."""

    def told(recipe: str, *arguments: str) -> list[str]:
        (desk / "recipe.yaml").write_text(recipe)
        checked, merged = (ligate(verb, "recipe.yaml", "out", *arguments) for verb in ("check", "merge"))
        assert checked.code == merged.code != 0
        assert checked.err == merged.err
        lines = checked.err.removeprefix("ligate: ").splitlines()
        return [line for line in lines if not line.startswith("  -> ") and not line.endswith(" problems")]

    return told


@pytest.fixture
def b_is_wider(desk):
    tensors = load_file(desk / "b" / "model.safetensors")
    save_file({**tensors, "norm.weight": torch.ones(9)}, desk / "b" / "model.safetensors")


def test_a_misspelt_key_does_not_hide_shapes_and_files(problems, recipe, b_is_wider):
    text = recipe.replace("models: [a, b]", "models: [a, b, c]").replace("a: ./a", "a: ./a\n  c: ./c")
    key, missing, shape = problems(text.replace("  method", "  densty: 1\n  method"))
    assert "recipe.yaml:7" in key
    assert "`densty`" in key
    assert "./c" in missing
    assert "norm.weight" in shape
    assert "[9]" in shape


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("density: 0.4", "density: {a: {b: 1}}"),  # a bad value
        ("density: 0.4", "denisty: 0.4"),  # of the method, not of the text
        ("method: ties", "methd: ties"),
        ("method: ties", "method: tise"),
        ("  base: base", "  bas: base"),
        ("models: [a, b]", "models: [a, b]\n  models: [a]"),
        ("weight: {a: 0.6, b: 0.4}", "weight: {a: 0.6, bb: 0.4}"),
        ("weight: {a: 0.6, b: 0.4}", "weight: {a: 0.6, b: 0.4}\noutput: {dtype: bfloat17}"),
        ("weight: {a: 0.6, b: 0.4}", "weight: {a: 0.6, b: 0.4}\nseeed: 1"),
    ],
)
def test_one_mistake_is_one_problem_beside_the_shapes(problems, recipe, b_is_wider, old, new):
    assert old in recipe
    text, shape = problems(recipe.replace(old, new))
    assert text.startswith("recipe.yaml:")
    assert "norm.weight" in shape


@pytest.mark.parametrize(("old", "new"), [("models: [a, b]", "modles: [a, b]"), ("merge:", "mrege:")])
def test_where_nobody_can_say_what_is_merged_the_mistake_is_told_alone(problems, recipe, old, new):
    (told,) = problems(recipe.replace(old, new))
    assert new.partition(":")[0] in told


def test_a_label_that_does_not_exist_does_not_hide_the_others(problems, recipe, b_is_wider):
    found = problems(recipe.replace("[a, b]", "[aa, b]"))
    assert [line for line in found if "norm.weight" in line]
    assert [line for line in found if "`aa` is no source" in line]


def test_a_misspelt_prefix_does_not_make_tensors_missing(desk, recipe, problems):
    tensors = load_file(desk / "b" / "model.safetensors")
    save_file({f"model.{name}": x for name, x in tensors.items()}, desk / "b" / "model.safetensors")
    (told,) = problems(recipe.replace("b: ./b", "b: {path: ./b, strip_prefx: model.}"))
    assert "strip_prefx" in told


def test_a_missing_model_does_not_hide_what_the_others_say(problems, recipe, b_is_wider):
    missing, shape = problems(recipe.replace("a: ./a", "a: ./nowhere"))
    assert "nowhere" in missing
    assert "norm.weight" in shape


def test_every_step_is_looked_at(desk, problems, b_is_wider):
    tensors = load_file(desk / "a" / "model.safetensors")
    save_file({**tensors, "embed.weight": torch.ones(2, 8)}, desk / "a" / "model.safetensors")
    first, second = problems(STEPS)
    assert "embed.weight" in first
    assert "norm.weight" in second


def test_options_are_problems_like_others(problems, recipe, b_is_wider):
    option, shape = problems(recipe, "--dtype", "float33")
    assert "float33" in option
    assert "norm.weight" in shape


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("merge_method: ties", "merge_method: teis"),
        ("merge_method: ties", "merge_metod: ties"),
        ("models:\n", "densty: 1\nmodels:\n"),
        ("weight: 0.5}}\n  -", "weight: many}}\n  -"),
    ],
)
def test_a_mergekit_config_tells_all_too(problems, b_is_wider, old, new):
    assert old in MERGEKIT
    text, shape = problems(MERGEKIT.replace(old, new))
    assert text.startswith("recipe.yaml:")
    assert "norm.weight" in shape


def test_a_step_that_needs_itself_ends(problems):
    found = problems(STEPS.replace("models: [a, base]", "models: [a, mean]") + "output: {chat_template: auto}\n")
    assert [line for line in found if "`mean` is no source" in line]


@pytest.mark.parametrize(
    ("models", "base", "words"),
    [
        (["a", "b", "a"], "base", ["`a-2` is the same model as `a`", "more weight"]),
        (["a", "../{desk}/a"], "base", ["`a-2` is the same model as `a`"]),
        (["a", "link"], "base", ["`link` is the same model as `a`"]),
        (["a", "b", "base"], "base", ["`base-2` is the same model as the base `base`", "leave it out"]),
    ],
)
def test_one_model_is_not_merged_with_itself(desk, ligate, models, base, words):
    """A glob names a model again, a path is copied to a second label: doubled weight is not what anybody meant."""
    (desk / "link").symlink_to(desk / "a")
    paths = [path.format(desk=desk.name) for path in models]
    by_flags = ligate("merge", "--method", "ties", "--base", base, *paths, "-o", "out")
    assert by_flags.code == 2
    assert all(word in by_flags.err for word in words), by_flags.err
    named = "".join(f"  m{number}: {path}\n" for number, path in enumerate(paths))
    used = ", ".join(f"m{number}" for number in range(len(paths)))
    (desk / "recipe.yaml").write_text(
        f"sources:\n  base: ./{base}\n{named}merge: {{method: ties, base: base, models: [{used}]}}\n"
    )
    by_recipe = ligate("check", "recipe.yaml")
    assert by_recipe.code == 2
    assert "is the same model as" in by_recipe.err
    assert "recipe.yaml:" in by_recipe.err


def test_layers_of_one_model_may_be_merged_with_each_other(desk, fine):
    for label in ("a", "b"):
        (desk / label / "config.json").write_text('{"num_hidden_layers": 3}')
    (desk / "recipe.yaml").write_text(
        "sources: {a: ./a, again: ./a}\n"
        "merge:\n"
        "  method: linear\n"
        "  slices:\n"
        "    - layers: {a: [0, 2], again: [1, 3]}\n"
        "    - layers: {a: [2, 3], again: [0, 1]}\n"
    )
    fine("check", "recipe.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sources: [./a, ./b]\nmerge: {method: linear, models: [a, b]}\n", "`sources` must be a mapping"),
        ("sources: {a: ./a, b: ./b}\nmerge: linear\n", "a merge must be a mapping"),
        ("only words\n", "a recipe must be a mapping"),
        ("merge_method: linear\nmodels:\n  - {model: ./a, parameters: {weight: 1}}\n  - ./b\n", "recipe.yaml:4"),
    ],
)
def test_what_follows_from_a_mistake_is_not_told_besides(problems, text, words):
    (told,) = problems(text)
    assert words in told


def test_a_missing_model_is_told_with_the_line_that_names_it(problems, recipe):
    (told,) = problems(recipe.replace("a: ./a", "a: ./aa"))
    assert told == "./aa, source a of recipe.yaml:3: there is no such file or folder"


def test_every_wrong_option_is_told(problems, recipe):
    assert len(problems(recipe, "--dtype", "int8", "--shard-size", "0")) == 2


def test_sizes_say_which_option_they_are(desk, ligate):
    assert "--memory: 'lots'" in ligate("check", "recipe.yaml", "--memory", "lots").err
    assert "--shard-size: '5 parsecs'" in ligate("check", "recipe.yaml", "--shard-size", "5 parsecs").err


def test_models_without_a_method_get_the_command_that_merges_them(desk, ligate):
    ran = ligate("merge", "a", "b")
    assert ran.code == 2
    assert "`ligate merge --method linear a b -o OUT`" in ran.err


def test_a_list_may_be_written_in_brackets(desk, fine):
    fine("merge", "--method", "linear", "a", "b", "-o", "plain", "--set", "weight=0.2,0.4")
    fine("merge", "--method", "linear", "a", "b", "-o", "brackets", "--set", "weight=[0.2, 0.4]")
    assert (desk / "plain" / "ligate.json").read_bytes() == (desk / "brackets" / "ligate.json").read_bytes()


def test_a_text_is_no_checkpoint(desk, ligate):
    ran = ligate("inspect", "recipe.yaml")
    assert ran.code == 3
    assert "recipe.yaml: is no checkpoint" in ran.err
