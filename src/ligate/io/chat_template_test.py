from __future__ import annotations

import json

import pytest

from .chat_template import template_of, with_template


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", "{{ x }}\n"),
        ("chat_template.json", '{"chat_template": "{{ x }}"}'),
        ("tokenizer_config.json", '{"chat_template": "{{ x }}"}'),
        ("tokenizer_config.json", '{"chat_template": [{"name": "default", "template": "{{ x }}"}]}'),
    ],
)
def test_a_template_is_found_wherever_transformers_keeps_it(tmp_path, name, content):
    assert template_of(tmp_path) is None
    (tmp_path / name).write_text(content)
    assert template_of(tmp_path) == "{{ x }}"


def test_a_template_of_its_own_file_precedes_the_config(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("one")
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "two"}')
    assert template_of(tmp_path) == "one"


def test_a_new_template_takes_the_place_of_every_other(tmp_path):
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"eos_token": "</s>", "chat_template": "old"}')
    before = {config.name: config, "chat_template.json": tmp_path / "x", "tokenizer.json": tmp_path / "y"}
    found = with_template(before, "new")
    assert sorted(found) == ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]
    assert found["chat_template.jinja"] == b"new"
    assert json.loads(found["tokenizer_config.json"]) == {"eos_token": "</s>"}


def test_a_config_without_template_stays_the_same_file(tmp_path):
    config = tmp_path / "tokenizer_config.json"
    config.write_text("{}")
    assert with_template({config.name: config}, "new")[config.name] == config
