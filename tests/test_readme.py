"""What the README tells to type exists and works, in the order in which it is told."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")

MERGEKIT = """\
merge_method: linear
models:
  - {model: ./math, parameters: {weight: 0.5}}
  - {model: ./code, parameters: {weight: 0.5}}
dtype: bfloat16
"""


class Block(NamedTuple):
    language: str
    text: str


def blocks(markdown: str) -> list[Block]:
    """The fenced blocks, in order."""
    return [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the three models that the README speaks of, and a configuration of mergekit's."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    for seed, name in enumerate(("base", "math", "code")):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path / name)
    (tmp_path / "mergekit.yml").write_text(MERGEKIT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(arguments: list[str], folder: Path) -> None:
    ran = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{shlex.join(arguments)}\n{ran.stdout}\n{ran.stderr}"


def test_what_the_readme_tells_to_type_works(desk: Path):
    done = 0
    for block in blocks(README):
        if block.language == "yaml":
            (desk / "recipe.yaml").write_text(block.text)
        elif block.language == "python":
            run(["-c", block.text], desk)
        elif block.language == "console":
            for line in block.text.splitlines():
                assert line.startswith("$ ligate "), line
                run(["-m", "ligate", *shlex.split(line.removeprefix("$ ligate "))], desk)
                done += 1
    assert done >= 8


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"\bmake ([a-z]+)\b", _code((ROOT / name).read_text("utf-8"))))
        assert named
        assert named <= targets, f"{name} names {sorted(named - targets)}"


def test_every_link_inside_the_repository_leads_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"


def test_every_exit_code_is_told():
    from ligate.core import errors

    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    told = {int(code) for code in re.findall(r"^\| (\d) \|", README, re.MULTILINE)}
    assert told == (codes - {1}) | {0}


def _code(markdown: str) -> str:
    """What stands in fences or between backticks."""
    fenced = "\n".join(block.text for block in blocks(markdown))
    return fenced + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", markdown))
