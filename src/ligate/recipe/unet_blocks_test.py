from __future__ import annotations

import fnmatch

import pytest

from ligate.core.errors import LigateError, RecipeError

from .parse import parse_text
from .schema import Place, Setting
from .unet_blocks import block_settings

NUMBERS = [n / 100 for n in range(26)]
TEXT = """\
sources: {a: ./a, b: ./b}
merge:
  method: task_arithmetic
  base: a
  models: [b]
  parameters: {weight: %s}
"""


def value_of(settings, name: str):
    """Of the first setting that speaks of the tensor, as everywhere."""
    return next(s.value for s in settings if s.match is None or fnmatch.fnmatchcase(name, s.match))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("input_blocks.0.0.weight", 1),
        ("input_blocks.1.0.in_layers.0.weight", 2),
        ("input_blocks.11.0.out_layers.3.bias", 12),
        ("middle_block.1.transformer_blocks.0.norm1.weight", 13),
        ("output_blocks.0.0.skip_connection.weight", 14),
        ("output_blocks.11.1.proj_out.weight", 25),
        ("out.2.weight", 25),
    ],
)
def test_each_number_is_that_of_its_block(name, place):
    settings = block_settings(Setting("weight", None), NUMBERS)
    assert value_of(settings, f"model.diffusion_model.{name}") == NUMBERS[place]


def test_the_number_in_front_speaks_of_everything_else_but_the_embeddings_of_time():
    settings = block_settings(Setting("weight", None), [0.9, *NUMBERS[1:]])
    assert value_of(settings, "cond_stage_model.transformer.text_model.final_layer_norm.weight") == 0.9
    assert value_of(settings, "first_stage_model.decoder.conv_in.weight") == 0.9
    assert value_of(settings, "model.diffusion_model.time_embed.0.weight") == 0


def test_without_it_only_blocks_are_spoken_of():
    settings = block_settings(Setting("weight", None), NUMBERS[1:])
    assert all(setting.match for setting in settings)
    assert not any("time_embed" in str(setting.match) for setting in settings)


def test_sdxl_has_nine_blocks_on_each_side():
    settings = block_settings(Setting("scale", None), NUMBERS[:20])
    assert value_of(settings, "model.diffusion_model.middle_block.0.in_layers.0.weight") == NUMBERS[10]
    assert value_of(settings, "model.diffusion_model.output_blocks.8.0.in_layers.0.weight") == NUMBERS[19]
    assert value_of(settings, "model.diffusion_model.out.0.weight") == NUMBERS[19]
    assert value_of(settings, "model.diffusion_model.label_emb.0.0.weight") == 0
    assert value_of(settings, "conditioner.embedders.0.transformer.text_model.embeddings.weight") == NUMBERS[0]


def test_another_count_is_refused():
    with pytest.raises(RecipeError, match=r"r.yaml:3: `weight` has 24 block weights") as told:
        block_settings(Setting("weight", None, place=Place("r.yaml", 3)), NUMBERS[:24])
    assert "25 for Stable Diffusion 1 and 2" in str(told.value)


def test_recipes_give_them_alone_by_model_or_behind_patterns():
    numbers = str(NUMBERS)
    (step,) = parse_text(TEXT % f"{{unet_blocks: {numbers}}}").steps
    assert list(step.settings) == block_settings(Setting("weight", None, place=step.settings[0].place), NUMBERS)
    (step,) = parse_text(TEXT % f"{{b: {{unet_blocks: {numbers}}}}}").steps
    assert {setting.model for setting in step.settings} == {"b"}
    (step,) = parse_text(TEXT % f"[{{match: '*.bias', value: 1}}, {{unet_blocks: {NUMBERS[1:]}}}, 0.5]").steps
    assert (step.settings[0].match, step.settings[-1].value) == ("*.bias", 0.5)
    assert len(step.settings) == 1 + 26 + 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{unet_blocks: [1, 2]}", "r.yaml:6: `weight` has 2 block weights"),
        ("{unet_blocks: 0.5}", "`unet_blocks` must be a list, not a number"),
        (f"{{unet_blocks: [high, {str(NUMBERS[1:])[1:]}}}", "`weight` of a block must be a number, not a text"),
        (f"{{unet_blocks: {NUMBERS}, rest: 1}}", "`weight` by block has no key `rest`"),
        (f"[{{match: 'x', value: {{unet_blocks: {NUMBERS}}}}}]", "`weight`: blocks inside a pattern"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(value, words):
    with pytest.raises(LigateError) as told:
        parse_text(TEXT % value, "r.yaml")
    assert words in str(told.value)
