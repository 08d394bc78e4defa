from __future__ import annotations

import pytest

from ligate.core.errors import RecipeError
from ligate.learn.gradient import Adam
from ligate.learn.objectives import Agreement
from ligate.learn.parametrisations import Coefficients
from ligate.learn.presets import PRESETS, Preset
from ligate.learn.settings import settings_of, with_settings

PRESET = Preset(Coefficients("tensor", 0.1, "sigmoid"), Agreement(), Adam(500, 0.5), "a paper")


def test_fields_of_all_three_choices_are_set_by_name():
    found = with_settings(PRESET, {"steps": 7, "start_at": 1, "temperature": 2.5, "squash": "none"}, "learn/x")
    assert found.solver == Adam(7, 0.5) and found.objective == Agreement(2.5)
    assert found.parametrisation == Coefficients("tensor", 1.0) and PRESET.solver.steps == 500
    assert with_settings(PRESET, {"clip": 1.0}, "learn/x").solver.clip == 1.0


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("stepps", 3, "`learn/x` has no parameter `stepps`\n  -> did you mean 'steps'"),
        ("steps", 0, "`steps` must be at least 1. Got 0"),
        ("steps", 2.5, "`steps` must be a whole number. Got 2.5"),
        ("steps", True, "`steps` must be a whole number. Got True"),
        ("rate", 0.0, "`rate` must be greater than 0. Got 0.0"),
        ("rate", "fast", "`rate` must be a number. Got 'fast'"),
        ("squash", "clip", "`squash` must be one of none, clamp"),
    ],
)
def test_what_cannot_be_set_is_told(name: str, value: object, told: str):
    with pytest.raises(RecipeError, match=told.replace("(", r"\(")):
        with_settings(PRESET, {name: value}, "learn/x")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_takes_its_own_settings(name: str):
    preset = PRESETS[name]
    again = with_settings(preset, settings_of(preset), f"learn/{name}")
    assert settings_of(again) == settings_of(preset) and {"steps", "rate"} <= settings_of(preset).keys()
