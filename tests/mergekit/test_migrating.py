"""docs/migrating.md: every option of mergekit's commands is told, those of ours exist, and the examples are true."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import grid
import numpy as np
import pytest
import torch
import typer
from process import MERGEKIT, needs_mergekit
from safetensors.torch import load_file, save_file
from tiny_llama import read_model

from ligate.cli.app import app
from ligate.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text()
COMMANDS = {
    "mergekit-yaml": (
        *("--allow-crimes", "--unsafe-truncate-embeddings", "--transformers-cache", "--lora-merge-cache"),
        *("--lora-merge-dtype", "--cuda", "--device", "--low-cpu-memory", "--out-shard-size", "--copy-tokenizer"),
        *("--clone-tensors", "--trust-remote-code", "--random-seed", "--lazy-unpickle", "--write-model-card"),
        *("--safe-serialization", "-v", "--quiet", "--read-to-gpu", "--multi-gpu", "--num-threads", "-j"),
        *("--gpu-rich", "--async-write", "--write-threads"),
    ),
    "mergekit-multi": ("--out-path", "--intermediate-dir", "-I", "--lazy"),
    "mergekit-pytorch": ("--tensor-intersection", "-i", "--tensor-union", "-u"),
    "mergekit-moe": ("--load-in-4bit", "--load-in-8bit", "--i-understand-this-is-not-useful-without-training"),
    "mergekit-extract-lora": (
        *("--model", "--base-model", "--out-path", "--max-rank", "--distribute-scale", "--embed-lora"),
        *("--save-module", "--exclude-regex", "-e", "--include-regex", "-i", "--sv-epsilon", "--skip-undecomposable"),
    ),
    "mergekit-legacy": (
        *("--merge", "--density", "--weight", "--method", "--base-model", "--normalize", "--int8-mask", "--bf16"),
        *("--naive-count", "--print-yaml"),
    ),
    "bakllama": ("--fp16",),
}
"""The options of each command of mergekit 0.1.5 besides those that all of them share with mergekit-yaml."""

ALONE = ("mergekit-layershuffle", "mergekit-tokensurgeon", "mergekit-evolve")
"""There is nothing like them, so their options are not listed."""


def section(command: str) -> str:
    """Everything below the heading that names the command."""
    (found,) = [part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:] if command in part.partition("\n")[0]]
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_mergekit_is_translated(command):
    told = section(command)
    assert not [option for option in COMMANDS[command] if f"`{option}" not in told]


def test_every_command_of_mergekit_is_named():
    assert not [command for command in (*COMMANDS, *ALONE) if f"| `{command}" not in PAGE]


@needs_mergekit
def test_the_options_are_those_of_mergekit():
    script = Path(__file__).with_name("list_options.py")
    done = subprocess.run([str(MERGEKIT), str(script)], capture_output=True, text=True, check=True, timeout=120)
    theirs = json.loads(done.stdout)
    shared = set(theirs["mergekit-yaml"])
    assert set(theirs) == {*COMMANDS, *ALONE}
    for command, options in COMMANDS.items():
        own = set(theirs[command]) - (shared if command != "mergekit-yaml" else set())
        assert own - {"--clone-tensors"} == set(options) - {"--clone-tensors"}, command


def our_options(verb: str) -> set[str]:
    command = typer.main.get_command(app).commands[verb]
    return {name for parameter in command.params for name in parameter.opts} | {"--debug"}


def test_every_command_of_ours_has_the_options_that_the_page_gives_it():
    spoken = re.findall(r"(?:`|\$ )ligate ([a-z-]+)([^`\n]*)", PAGE)
    assert len(spoken) > 10
    for verb, rest in spoken:
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= our_options(verb), (verb, rest)


@pytest.mark.parametrize("verb", ["merge", "extract-lora"])
def test_every_option_in_a_column_of_ours_exists(verb):
    tables = re.findall(rf"^\| mergekit-[a-z-]+ \| ligate {verb} \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert tables
    for row in "".join(tables).splitlines():
        ours = row.split(" | ")[1]
        for option in re.findall(r"`(--[a-z-]+)", ours):
            assert option in our_options(verb), row


LEGACY = """
merge_method: ties
base_model: models/base
models:
  - {model: models/a, parameters: {density: 0.5, weight: 0.3}}
  - {model: models/b, parameters: {density: 0.5, weight: 0.7}}
parameters: {normalize: true}
"""


def test_the_command_for_a_merge_without_a_config_means_what_mergekit_means(tmp_path, monkeypatch):
    grid.write_models(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "legacy.yml").write_text(LEGACY)
    assert main(["merge", "legacy.yml", "by_config", "--quiet"]) == 0
    (line,) = re.findall(r"^\$ ligate merge (--method .*)$", PAGE, re.MULTILINE)
    words = [f"models/{word}" if word in ("base", "a", "b") else word for word in line.split()]
    assert main(["merge", *words, "--quiet"]) == 0
    assert grid.fingerprint(read_model(tmp_path / "OUT")) == grid.fingerprint(read_model(tmp_path / "by_config"))


def test_state_dicts_merge_by_a_config_of_mergekit_pytorch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    g = torch.Generator().manual_seed(1)
    conv, bias = (torch.randn(2, *shape, generator=g) for shape in ((4, 3, 2, 2), (4,)))
    first, second = ({"conv.weight": conv[k], "fc.bias": bias[k], "steps": torch.tensor(3)} for k in (0, 1))
    torch.save(first, "first.pt")
    save_file(second, "second.safetensors")
    models = "models: [{model: first.pt, parameters: {weight: 1}}, {model: second.safetensors}]"
    (tmp_path / "raw.yml").write_text(f"merge_method: linear\n{models}\nparameters: {{weight: 3}}\n")
    assert main(["merge", "raw.yml", "out", "--quiet"]) == 0
    (file,) = (tmp_path / "out").glob("*.safetensors")
    found = load_file(file)
    for name in ("conv.weight", "fc.bias"):
        np.testing.assert_allclose(found[name], (first[name] + 3 * second[name]) / 4, rtol=1e-6, atol=1e-6)
    assert found["steps"] == 3


def test_what_bakllama_says_is_a_config(tmp_path, monkeypatch):
    grid.write_models(tmp_path)
    monkeypatch.chdir(tmp_path)
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for written, here in (("model: a", "model: models/a"), ("model: b", "model: models/b")):
        text = text.replace(written, here)
    text = text.replace("[0, 24]", "[0, 3]").replace("[20, 40]", "[2, 4]")
    (tmp_path / "stack.yml").write_text(text)
    assert main(["merge", "stack.yml", "out", "--quiet"]) == 0
    found, source = read_model(tmp_path / "out"), read_model(tmp_path / "models" / "b")
    taken, scaled = "model.layers.{}.mlp.up_proj.weight", "model.layers.{}.mlp.down_proj.weight"
    assert np.array_equal(found[taken.format(4)], source[taken.format(3)])
    assert np.array_equal(found[scaled.format(4)], source[scaled.format(3)] / 2)
