"""What a mergekit config means, as a recipe: nothing is opened here."""

from __future__ import annotations

from textwrap import dedent

import jinja2
import pytest
from spoken import parsed, settings, told

from ligate.recipe.dialects.mergekit_templates import TEMPLATES
from ligate.recipe.parse import parse_text
from ligate.recipe.schema import AdapterSpec, Gradient, Setting, SliceModel

TIES = """
    merge_method: ties
    base_model: org/base
    models:
      - model: org/base
      - model: org/math
        parameters: {weight: 0.5}
      - model: org/code
    parameters: {weight: 0.3, density: 0.6}
    """
FRANKEN = """
    merge_method: passthrough
    slices:
      - sources:
          - model: a
            layer_range: [0, 3]
      - sources:
          - model: b
            layer_range: [1, 4]
            parameters:
              scale:
                - filter: o_proj
                  value: 0
                - value: 1
    """


def test_the_base_is_no_model_of_a_merge_of_task_vectors():
    step = parsed(TIES).steps[0]
    assert (step.method, step.base, step.models) == ("merge/ties", "base", ("math", "code"))


def test_what_stands_under_a_model_precedes_what_stands_at_the_top():
    assert settings(parsed(TIES), "weight") == [(0.5, "math", None), (0.3, None, None)]


def test_defaults_of_mergekit_come_last():
    assert settings(parsed(TIES), "density") == [(0.6, None, None)]
    assert settings(parsed(dedent(TIES).replace("density: 0.6", "lambda: 0.5")), "density") == [(1.0, None, None)]


@pytest.mark.parametrize("name", ["linear", "ties", "dare_linear"])
def test_filters_alone_do_not_give_every_model_its_weight(name):
    text = dedent(TIES).replace("ties", name).replace("weight: 0.3", "weight: [{filter: mlp, value: 1}]")
    assert "merge.yml:8" in told(text) and "after filters a value without one" in told(text)


def test_linear_counts_the_base_as_an_input_as_mergekit_does():
    text = "merge_method: linear\nbase_model: o\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}"
    recipe = parsed(text)
    assert (recipe.steps[0].base, recipe.steps[0].models) == (None, ("a", "b", "o"))
    assert recipe.output.donor == "o"


def test_linear_asks_for_a_weight_of_the_base_when_only_the_models_have_one():
    text = told("merge_method: linear\nbase_model: o\nmodels: [{model: a, parameters: {weight: 1}}]")
    assert "merge.yml:2" in text and "list it with a `weight`, or leave it out" in text


def test_passthrough_of_slices_takes_the_base_for_its_config_only():
    recipe = parsed(dedent(FRANKEN) + "base_model: o\n")
    assert (recipe.steps[0].base, recipe.steps[0].models, recipe.output.donor) == (None, ("a", "b"), "o")


def test_slices_keep_their_order_ranges_and_filters():
    first, second = parsed(FRANKEN).steps[0].slices
    assert [(one.model, one.start, one.stop) for one in first.models] == [("a", 0, 3)]
    assert second.models == (SliceModel("b", 1, 4, second.models[0].place),)
    assert [(one.value, one.match, one.style) for one in second.settings] == [
        (0, "o_proj", "substring"),
        (1, None, "substring"),
    ]


def test_a_list_over_the_layers_is_a_gradient():
    text = "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters: {t: [0, 0.5, 1]}"
    assert settings(parsed(text), "t") == [(Gradient((0, 0.5, 1)), None, None)]


def test_a_single_filter_needs_no_list_and_a_star_matches_everything():
    text = """
        merge_method: slerp
        base_model: a
        models: [{model: a}, {model: b}]
        parameters:
          t:
            - {filter: mlp, value: 0.25}
            - {filter: "*", value: 0.5}
        """
    assert settings(parsed(text), "t") == [(0.25, None, "mlp"), (0.5, None, None)]
    one = dedent(TIES).replace("density: 0.6", "density: {filter: mlp, value: 0.25}")
    assert settings(parsed(one), "density") == [(0.25, None, "mlp"), (1.0, None, None)]


@pytest.mark.parametrize(
    ("written", "spec"),
    [
        ("org/model@v2", ("org/model", "v2", ())),
        ("org/model+org/lora", ("org/model", None, (AdapterSpec("org/lora"),))),
        ("org/model@v2+org/lora@main", ("org/model", "v2", (AdapterSpec("org/lora", "main"),))),
        ("{model: org/model, lora: {path: x+y, revision: v1}}", ("org/model", None, (AdapterSpec("x+y", "v1"),))),
        ("{model: {path: a@b, revision: v3}}", ("a@b", "v3", ())),
    ],
)
def test_a_model_is_a_path_with_revision_and_adapter(written, spec):
    recipe = parsed(f"merge_method: passthrough\nmodels:\n  - model: {written}")
    (source,) = recipe.sources.values()
    assert (source.path, source.revision, source.adapters) == spec


def test_a_model_that_cannot_be_understood_is_told():
    assert "mapping form" in told("merge_method: passthrough\nmodels: [{model: a+b+c}]")
    assert "mapping form" in told("merge_method: passthrough\nmodels: [{model: a@b@c}]")


def test_labels_are_as_short_as_tells_the_models_apart():
    text = "merge_method: linear\nmodels: [{model: x/run1/last}, {model: x/run2/last}, {model: ./c}, {model: c}]"
    recipe = parsed(text + "\nparameters: {weight: 1}")
    assert recipe.steps[0].models == ("run1/last", "run2/last", "c", "c-2")


def test_dtype_is_what_the_result_is_written_in():
    assert parsed(FRANKEN).output.dtype is None
    assert parsed(dedent(FRANKEN) + "dtype: float16").output.dtype == "F16"
    assert parsed(dedent(FRANKEN) + "dtype: float32\nout_dtype: bfloat16").output.dtype == "BF16"


def test_tokenizer_source_names_the_base_or_a_model():
    assert parsed(FRANKEN).output.tokenizer is None
    assert parsed(dedent(TIES) + "tokenizer_source: base").output.tokenizer == "base"
    assert parsed(dedent(TIES) + "tokenizer_source: org/code").output.tokenizer == "code"
    recipe = parsed(dedent(TIES) + "tokenizer_source: org/other")
    assert (recipe.output.tokenizer, recipe.sources["other"].path) == ("other", "org/other")


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("density: 0.6", "int8_mask: true", "merge.yml:9: `int8_mask` has no effect in `ties`"),
        ("density: 0.6", "t: 0.5", "merge.yml:9: `t` has no effect in `ties`"),
        (
            "- model: org/base\n",
            "- model: org/base\n    parameters: {weight: 1}\n",
            "merge.yml:6: `weight` of the base",
        ),
        ("parameters: {weight: 0.3", "random_seed: 7\nparameters: {weight: 0.3", "merge.yml:9: `random_seed`"),
    ],
)
def test_what_mergekit_ignores_without_harm_is_noted_with_its_line(old, new, note):
    (said,) = parse_text(dedent(TIES).replace(old, new), "merge.yml").notes
    assert said.startswith(note)


def test_a_random_seed_in_the_file_is_the_seed():
    assert parsed(dedent(TIES) + "random_seed: 7").seed == 7


def test_parameters_of_the_module_precede_those_of_the_config():
    text = """
        merge_method: linear
        modules:
          default:
            models: [{model: a}, {model: b}]
            parameters: {weight: 2}
        parameters: {weight: 1, normalize: false}
        """
    assert settings(parsed(text), "weight") == [(2, None, None)]
    filtered = text.replace("weight: 2", "weight: {filter: mlp, value: 2}")
    assert settings(parsed(filtered), "weight") == [(2, None, "mlp"), (1, None, None)]


def test_other_modules_are_refused_by_name():
    text = told("merge_method: linear\nmodules:\n  vision_tower:\n    models: [{model: a}]\nparameters: {weight: 1}")
    assert "merge.yml:3" in text and "`vision_tower`" in text and "not available yet" in text


def test_the_base_of_a_slice_replaces_that_of_the_config():
    text = """
        merge_method: task_arithmetic
        slices:
          - base_model: o
            sources:
              - {model: o, layer_range: [0, 2]}
              - {model: a, layer_range: [1, 3]}
        parameters: {weight: 1}
        """
    (entry,) = parsed(text).steps[0].slices
    assert (entry.base, [one.model for one in entry.models]) == ("o", ["o", "a"])


MULTI = """
    name: second
    merge_method: linear
    models: [{model: first}, {model: c}]
    parameters: {weight: 1}
    ---
    merge_method: slerp
    base_model: second
    models: [{model: d}]
    parameters: {t: 0.5}
    ---
    name: first
    merge_method: linear
    models: [{model: a}, {model: b}]
    parameters: {weight: 1}
    dtype: bfloat16
    tokenizer_source: b
    """


def test_merges_of_several_documents_run_in_the_order_in_which_they_need_each_other():
    recipe = parsed(MULTI)
    assert [step.name for step in recipe.steps] == ["first", "second", None]
    assert [step.models for step in recipe.steps] == [("a", "b"), ("first", "c"), ("d",)]
    assert recipe.steps[2].base == "second"
    assert set(recipe.sources) == {"a", "b", "c", "d"}


def test_an_intermediate_result_is_rounded_only_where_its_document_says_so():
    assert [step.dtype for step in parsed(MULTI).steps] == ["BF16", None, None]


def test_config_and_tokenizer_come_down_the_line_of_bases_from_a_model_on_disk():
    output = parsed(MULTI).output
    assert (output.donor, output.tokenizer) == ("a", "b")


def test_what_an_earlier_document_says_of_tokenizer_and_seed_counts_only_for_the_donor():
    unheard = MULTI.replace("base_model: second", "base_model: d").replace("{model: d}", "{model: second}")
    notes = parsed(unheard.replace("dtype: bfloat16", "random_seed: 3")).notes
    assert [note.split("`")[1] for note in notes] == ["random_seed", "tokenizer_source"]
    assert parsed(MULTI).notes == ()


def test_documents_that_go_in_a_circle_or_nowhere_are_told():
    assert "circle" in told("name: x\nmerge_method: passthrough\nmodels: [{model: x}]")
    assert "never used" in told(dedent(MULTI).replace("{model: first}", "{model: e}"))
    assert "second merge without a `name:`" in told(dedent(MULTI).replace("name: second", "dtype: float32"))


def test_names_of_a_merge_take_no_adapter():
    assert "not available yet" in told(dedent(MULTI).replace("model: first", "model: first+lora"))


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_named_chat_template_speaks_its_published_format(name):
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yo"},
    ]
    expected = {
        "alpaca": "S\n\n### Instruction:\nhi\n\n### Response:\nyo\n\n### Response:\n",
        "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\nyo<|im_end|>\n<|im_start|>assistant\n",
        "exaone": "[|system|]S[|endofturn|]\n[|user|]hi\n[|assistant|]yo[|endofturn|]\n[|assistant|]",
        "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>"
        "\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nyo<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "mistral": "<s> [INST] S\n\nhi [/INST] yo</s>",
    }[name]
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False).from_string(TEMPLATES[name])
    assert template.render(messages=messages, add_generation_prompt=True, bos_token="<s>", eos_token="</s>") == expected


def test_a_chat_template_is_a_name_auto_or_jinja():
    assert parsed(dedent(FRANKEN) + "chat_template: auto").output.chat_template == "auto"
    assert parsed(dedent(FRANKEN) + "chat_template: chatml").output.chat_template == TEMPLATES["chatml"]
    jinja = "'{% for m in messages %}{{ m.content }}{% endfor %}'"
    assert parsed(dedent(FRANKEN) + f"chat_template: {jinja}").output.chat_template == jinja.strip("'")


def test_every_problem_of_a_config_is_told_at_once():
    text = told("""
        merge_method: linear
        dtpye: x
        models: [{model: a}, {model: a}]
        out_dtype: int64
        parameters: {wieght: 1}
        """)
    lines = [("3", "dtpye"), ("4", "twice"), ("5", "int64"), ("6", "wieght")]
    assert all(any(f"merge.yml:{line}" in one and word in one for one in text.splitlines()) for line, word in lines)


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("density: 0.6", "density: [{pattern: mlp, value: 0.1}, {value: 0.6}]", "under the name `filter:`"),
        ("- model: org/code", "- model: org/code\n    lora: org/lora", "`model: path+lora`"),
        ("parameters: {weight: 0.3", "out_path: x\nparameters: {weight: 0.3", "on the command line"),
    ],
)
def test_what_older_configs_and_relatives_say_gets_its_own_hint(old, new, hint):
    """mergekit reads past them: a `pattern` would speak of every tensor."""
    assert hint in told(dedent(TIES).replace(old, new))


def test_settings_say_where_they_stand():
    assert [str(one.place) for one in parsed(TIES).steps[0].settings[:3]] == [
        "merge.yml:7",
        "merge.yml:9",
        "merge.yml:9",
    ]
    assert all(isinstance(one, Setting) for one in parsed(TIES).steps[0].settings)
