from __future__ import annotations

import pytest

from ligate.core.errors import InputError, RecipeError
from ligate.recipe.expert_layouts import config_edits, layout_of
from ligate.recipe.mixture import Mixture, mixture_text

GOOD = """\
base_model: models/base
gate_mode: cheap_embed
dtype: bf16
experts:
  - {source_model: models/a, positive_prompts: [code], negative_prompts: [story, "7"], residual_scale: 0.5}
  - {source_model: {model: org/b@main, lora: adapters/c}, positive_prompts: [story]}
"""
LLAMA = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def mixture(**changes: object) -> Mixture:
    found = mixture_text(GOOD)
    assert not found.problems
    return Mixture(**{**vars(found), **changes})


def test_a_config_is_read_with_labels_for_its_models():
    found = mixture()
    assert (found.base, found.chosen, found.dtype, found.gate_mode) == ("base", 2, "BF16", "cheap_embed")
    a, b = found.experts
    assert (a.model, a.positive, a.negative, a.residual, a.place.line) == ("a", ("code",), ("story", "7"), 0.5, 5)
    spec = found.sources[b.model]
    assert (spec.path, spec.revision, spec.adapters[0].path) == ("org/b", "main", "adapters/c")


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("gate_mode", "gatemode", 2, "did you mean 'gate_mode'?"),
        ("cheap_embed", "cheapembed", 2, "did you mean 'cheap_embed'?"),
        ("bf16", "bf17", 3, "no dtype"),
        ("residual_scale: 0.5", "residual_scale: .nan", 5, "finite"),
        ("residual_scale: 0.5", "noise_scale: lots", 5, "a number"),
        ("source_model: models/a", "model: models/a", 5, "source_model"),
        ("positive_prompts: [story]", "positive_prompts: story", 6, "a list"),
        ("positive_prompts: [story]", "negative_prompts: [story]", 6, "expert 2 has no `positive_prompts:`"),
        ("experts:", "experts_per_token: 3\nexperts:", 4, "from 1 to 2"),
        ("experts:", "shared_experts:", 1, "`experts:` is missing"),
        ("bf16", "bf16\ndtype: fp16", 4, "a second time"),
        ("base_model: models/base", 'base_model: ""', 1, "a model without a name"),
        ("source_model: models/a", 'source_model: ""', 5, "a model without a name"),
    ],
)
def test_what_is_wrong_is_told_at_its_line(old, new, line, words):
    found = mixture_text(GOOD.replace(old, new), "moe.yaml")
    told = [str(problem) for problem in found.problems]
    assert any(f"moe.yaml:{line}" in one and words in one for one in told), told


def test_the_layout_follows_the_models_and_the_wish():
    qwen = {**LLAMA, "model_type": "qwen2"}
    assert layout_of(mixture(), LLAMA, "base").id == "mixtral"
    assert layout_of(mixture(), qwen, "base").id == "qwen2_moe"
    assert layout_of(mixture(architecture="Qwen MoE"), LLAMA, "base").id == "qwen2_moe"
    assert layout_of(mixture(architecture="qwen"), {**LLAMA, "model_type": "qwen3"}, "base").id == "qwen3_moe"
    shared = mixture().experts
    with pytest.raises(RecipeError, match="has one shared expert"):
        layout_of(mixture(shared=shared), qwen, "base")
    with pytest.raises(RecipeError, match="no shared experts"):
        layout_of(mixture(shared=shared[:1]), LLAMA, "base")
    with pytest.raises(InputError, match="type gpt2"):
        layout_of(mixture(), {**LLAMA, "model_type": "gpt2"}, "base")


def test_what_a_dense_config_leaves_unsaid_is_written_out():
    found = mixture()
    edits = config_edits(layout_of(found, LLAMA, ""), found, LLAMA, 0)
    assert edits["rope_theta"] == 10_000  # Mixtral's default is a million
    assert edits["num_key_value_heads"] == 4  # Mixtral's default is 8
    assert (edits["num_local_experts"], edits["num_experts_per_tok"]) == (2, 2)
    mistral = {**LLAMA, "model_type": "mistral", "rope_theta": 5e5}
    edits = config_edits(layout_of(found, mistral, ""), found, mistral, 0)
    assert "rope_theta" not in edits
    assert edits["sliding_window"] == 4096


@pytest.mark.parametrize("changes", [{"attention_bias": True}, {"mlp_bias": True}, {"use_sliding_window": True}])
def test_what_the_layout_cannot_compute_is_refused(changes):
    found = mixture()
    with pytest.raises(InputError, match="cannot hold"):
        config_edits(layout_of(found, LLAMA, ""), found, {**LLAMA, **changes}, 0)
