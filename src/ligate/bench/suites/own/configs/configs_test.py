from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ligate.bench.suites.own import config as own_config
from ligate.bench.suites.own import configs
from ligate.core.errors import RecipeError

EIGHT = {"sun397": 397, "stanford-cars": 196, "resisc45": 45, "eurosat": 10, "svhn": 10, "gtsrb": 43, "mnist": 10}
EIGHT["dtd"] = 47


@pytest.mark.parametrize("name", configs.names())
def test_examples_are_read_without_complaint_and_mean_what_other_readers_see(name: str):
    config = own_config.parse(configs.text(name), name, Path())
    plain = yaml.safe_load(configs.text(name))
    assert [task.name for task in config.tasks] == list(plain["tasks"])
    for task in config.tasks:
        written = plain["tasks"][task.name]["classes"]
        assert list(task.classes or ()) == [str(one) for one in written]


def test_the_eight_tasks_of_clip_are_whole_and_labelled_as_not_measured():
    config = own_config.parse(configs.text("clip8.yaml"), "clip8.yaml", Path())
    assert {task.name: len(task.classes or ()) for task in config.tasks} == EIGHT
    assert [model.label for model in config.experts] == list(EIGHT)
    assert "NOT MEASURED HERE" in configs.text("clip8.yaml")


def test_an_example_that_is_not_there():
    with pytest.raises(RecipeError, match=r"did you mean 'text\.yaml'"):
        configs.text("texts.yaml")
