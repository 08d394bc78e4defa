from __future__ import annotations

import pytest

from ligate.core.errors import LigateError
from ligate.recipe.parse import parse_file, parse_text
from ligate.recipe.schema import AdapterSpec, Gradient, SliceModel

FULL = """\
sources:
  base: ./base
  math: {path: ./math, adapter: ./lora, strip_prefix: "module.", alias: {lm_head.weight: model.embed_tokens.weight}}
  code:
    path: org/code@v1.2
    adapter: [{path: org/lora@main, scale: 0.5}]
merge:
  method: ties
  base: base
  models: [math, code]
  parameters:
    density: 0.2
    weight: {math: 1.0, code: [0.2, 0.8]}
    scale:
      - {match: "*.mlp.*", value: 0.4}
      - {match: "*.attn.*", value: {math: 0.1}}
      - 1.0
output: {dtype: bf16, shard_size: 2GiB, donor: base, tokenizer: code, drop: ["v_head.*"]}
seed: 7
"""


def problems(text: str) -> list[str]:
    with pytest.raises(LigateError) as told:
        parse_text(text, "r.yaml")
    return str(told.value).splitlines()


def changed(old: str, new: str) -> str:
    assert old in FULL
    return FULL.replace(old, new, 1)


def test_every_part_of_a_recipe_is_read():
    recipe = parse_text(FULL, "r.yaml")
    math, code = recipe.sources["math"], recipe.sources["code"]
    assert math.path == "./math"
    assert math.adapters == (AdapterSpec("./lora"),)
    assert math.strip_prefix == "module."
    assert math.alias == {"lm_head.weight": "model.embed_tokens.weight"}
    assert (code.path, code.revision) == ("org/code", "v1.2")
    assert code.adapters == (AdapterSpec("org/lora", "main", 0.5),)
    (step,) = recipe.steps
    assert (step.method, step.base, step.models) == ("ties", "base", ("math", "code"))
    assert recipe.output.dtype == "BF16"
    assert recipe.output.shard_bytes == 2 * 2**30
    assert (recipe.output.donor, recipe.output.tokenizer, recipe.output.drop) == ("base", "code", ("v_head.*",))
    assert recipe.seed == 7


def test_settings_keep_their_order_and_lines():
    (step,) = parse_text(FULL, "r.yaml").steps
    assert [(s.name, s.value, s.model, s.match, s.place.line) for s in step.settings] == [
        ("density", 0.2, None, None, 12),
        ("weight", 1.0, "math", None, 13),
        ("weight", Gradient((0.2, 0.8)), "code", None, 13),
        ("scale", 0.4, None, "*.mlp.*", 15),
        ("scale", 0.1, "math", "*.attn.*", 16),
        ("scale", 1.0, None, None, 17),
    ]


def test_steps_use_earlier_steps_by_their_name():
    text = """\
sources: {a: ./a, b: ./b, c: ./c}
steps:
  - {name: ab, method: linear, models: [a, b], dtype: float32}
  - {method: linear, models: [ab, c]}
"""
    first, last = parse_text(text).steps
    assert (first.name, first.dtype) == ("ab", "F32")
    assert last.models == ("ab", "c")


def test_slices_name_ranges_of_layers():
    text = """\
sources: {a: ./a, b: ./b}
merge:
  method: passthrough
  slices:
    - layers: {a: [0, 8]}
    - {layers: {b: [4, 12]}, parameters: {scale: 0.5}, stack: decoder}
"""
    (step,) = parse_text(text, "r.yaml").steps
    assert step.models == ("a", "b")
    assert step.slices[0].models == (SliceModel("a", 0, 8, ("r.yaml", 5)),)
    assert step.slices[1].settings[0].value == 0.5
    assert step.slices[1].stack == "decoder"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("sources:", "soruces:", "r.yaml:1: a recipe has no key `soruces`\n  -> did you mean 'sources'?"),
        ("strip_prefix", "strip_prefx", "r.yaml:3: source `math` has no key `strip_prefx`\n  -> did you mean"),
        ("scale: 0.5", "scael: 0.5", "r.yaml:6: an adapter has no key `scael`\n  -> did you mean 'scale'?"),
        ("  parameters:", "  paramters:", "r.yaml:11: a merge has no key `paramters`\n  -> did you mean 'parameters'?"),
        ("  models:", "  dtype: bf16\n  models:", "r.yaml:8: `dtype` of the result belongs under `output:`"),
        ("  models:", "  density: 0.2\n  models:", "r.yaml:10: a merge has no key `density`\n  -> parameters of the"),
        ("seed: 7", "shard_size: 1GB", "a recipe has no key `shard_size`\n  -> `shard_size` belongs under `output:`"),
        ("dtype: bf16", "dtype: bfloat", "r.yaml:18: `bfloat` is no dtype that can be written\n  -> did you mean"),
        ("dtype: bf16", "dtype: int8", "`int8` is no dtype that can be written"),
        ("2GiB", "many", "`shard_size` must be a size such as 5GB, not 'many'"),
        ("donor: base", "donor: bse", "`donor: bse` is no source\n  -> did you mean 'base'?"),
        ("[math, code]", "[maht, code]", "r.yaml:10: `maht` is no source\n  -> did you mean 'math'?"),
        ("[math, code]", "[math, code, base]", "`base` is both the base and a model"),
        ("[math, code]", "[math, code, math]", "model `math` is listed twice"),
        (
            "{math: 1.0,",
            "{mth: 1.0,",
            "`weight` is set for `mth`, which this merge does not use\n  -> did you mean 'math'",
        ),
        (
            "[math, code]",
            "[mth, code]",
            "`weight` is set for `math`, which this merge does not use\n  -> name it under `models:`",
        ),
        ("  code:", "  spare: ./spare\n  code:", "r.yaml:4: source `spare` is never used"),
        ("  method: ties\n", "", "`method:` is missing"),
        ("  models: [math, code]\n", "", "`models:` is missing"),
        ("  base: ./base\n", "  base: {revision: main}\n", "r.yaml:2: source `base` needs a `path:`"),
        ("seed: 7", "seed: high", "`seed` must be a number, not a text"),
        ("      - 1.0\n", "", None),
        (
            "      - 1.0",
            '      - 1.0\n      - {match: "x", value: 1}',
            "r.yaml:17: `scale`: nothing after this value is used",
        ),
        ("[0.2, 0.8]", "[0.2, [0.8]]", "`weight`: a list over the layers holds plain values, not a list"),
        ("[0.2, 0.8]", "[]", "r.yaml:13: `weight` is an empty list"),
        ("[0.2, 0.8]", "{a: 1}", "`weight` of `code` must be a number, a list or patterns"),
        (", value: 0.4}", ", valeu: 0.4}", "a pattern of `scale` has no key `valeu`\n  -> did you mean 'value'?"),
        ("density: 0.2", 'density: {match: "*", value: 1}', "write `- {match: ..., value: ...}`"),
        ("models: [math, code]", "models: math", "`models` must be a list, not a text"),
        ("seed: 7", "---\nmerge: {}", "a second document"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_remedy(old, new, told):
    text = changed(old, new)
    if told is None:
        parse_text(text)
    else:
        assert told in "\n".join(problems(text))


def test_all_errors_of_a_file_are_told_together():
    text = changed("dtype: bf16", "dtype: bf17").replace("seed: 7", "sead: 7").replace("method: ties", "metod: ties")
    told = "\n".join(problems(text))
    assert all(word in told for word in ("bf17", "sead", "metod"))
    assert "is missing" not in told  # the misspelt key is the missing one


def test_a_misspelt_label_is_told_once():
    told = problems(changed("[math, code]", "[maht, code]").replace("{math: 1.0, code", "{code"))
    assert not any("never used" in line for line in told)


def test_a_step_must_not_take_the_name_of_a_source():
    text = "sources: {a: ./a, b: ./b}\nsteps:\n- {name: a, method: x, models: [a]}\n- {method: x, models: [a, b]}\n"
    assert "r.yaml:3: a step has the name of the source `a`" in problems(text)


def test_a_step_before_the_last_needs_a_name_and_a_use():
    text = "sources: {a: ./a, b: ./b}\nsteps:\n- {method: x, models: [a]}\n- {method: x, models: [a, b]}\n"
    assert "r.yaml:3: each step but the last needs a `name:`" in problems(text)
    told = problems(text.replace("{method: x, models: [a]}", "{name: s, method: x, models: [a]}"))
    assert "r.yaml:3: step `s` is never used" in told


def test_a_step_is_used_by_a_source_whose_path_is_its_name():
    text = "sources: {a: ./a, tuned: {path: s, adapter: ./lora}}\nsteps:\n- {name: s, method: x, models: [a]}\n"
    recipe = parse_text(text + "- {method: x, models: [a, tuned]}\n")
    assert recipe.steps[-1].models == ("a", "tuned")


def test_a_step_cannot_use_a_later_one():
    text = "sources: {a: ./a}\nsteps:\n- {name: one, method: x, models: [two]}\n- {name: two, method: x, models: [a]}\n"
    assert any("`two` is no source" in line for line in problems(text))


def test_a_file_that_cannot_be_a_recipe_is_told(tmp_path):
    (tmp_path / "image.yaml").write_bytes(b"\xff\xfe\x00\x81")
    for name in ("missing.yaml", "image.yaml", "."):
        with pytest.raises(LigateError) as told:
            parse_file(tmp_path / name)
        assert told.value.exit_code == 2


def test_local_paths_with_an_at_sign_stay_whole():
    recipe = parse_text("sources: {a: ./runs@7/a}\nmerge: {method: linear, models: [a]}\n")
    assert (recipe.sources["a"].path, recipe.sources["a"].revision) == ("./runs@7/a", None)


def test_labels_may_look_like_numbers():
    recipe = parse_text("sources: {7: ./a, 1e5: ./b}\nmerge: {method: linear, models: [7, 1e5]}\n")
    assert recipe.steps[0].models == ("7", "1e5")
