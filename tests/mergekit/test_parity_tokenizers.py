"""Models with different vocabularies: the numbers of a config's result, token by token, are mergekit's.

mergekit numbers new tokens of a union in another order in each run, so rows are compared by token. It runs when
LIGATE_MERGEKIT_PYTHON names an interpreter that has it (0.1.5 was compared).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tiny_llama import VOCAB, random_tensors, read_model, write_model

from ligate.verbs.merge import merge

MERGEKIT = os.environ.get("LIGATE_MERGEKIT_PYTHON")
ROWS = ("model.embed_tokens.weight", "lm_head.weight")
needs_mergekit = pytest.mark.skipif(not MERGEKIT, reason="LIGATE_MERGEKIT_PYTHON is not set")
SINGLE = {"rtol": 2e-5, "atol": 5e-6}  # float32 all the way, numbers of size 1
LINEAR = """\
merge_method: linear
models:
  - {model: models/a, parameters: {weight: 0.6}}
  - {model: models/b, parameters: {weight: 0.3}}
  - {model: models/c, parameters: {weight: 0.1}}
dtype: float32
"""
TIES = """\
merge_method: ties
base_model: models/base
models:
  - {model: models/a, parameters: {weight: 0.5, density: 0.6}}
  - {model: models/b, parameters: {weight: 0.5, density: 0.6}}
dtype: float32
"""
CONFIGS = {
    "union": LINEAR + "tokenizer_source: union\n",
    "union of task vectors": TIES + "tokenizer_source: union\n",
    "the base's": TIES + "tokenizer_source: base\n",
    "another model's": TIES + "tokenizer_source: models/b\n",
    "of a model that is not merged": TIES + "tokenizer_source: models/c\n",
    "rows of single tokens": TIES
    + """\
tokenizer:
  source: union
  tokens:
    b1: {source: models/b}
    b2: {source: {kind: zero}}
    t4: {source: models/a, force: true}
    t5: {source: {kind: model_token, model: models/b, token: b1}, force: true}
    t6: {source: {kind: model_token, model: models/base, token_id: 7}, force: true}
    new: {source: {kind: model_token, model: models/a, token: t3}}
""",
    "padded": LINEAR + "tokenizer: {source: models/a, pad_to_multiple_of: 16}\n",
}
SLICES = """\
merge_method: passthrough
slices:
  - sources: [{model: models/a, layer_range: [0, 2]}]
  - sources: [{model: models/b, layer_range: [1, 4]}]
dtype: float32
tokenizer_source: union
"""
ALL = {**CONFIGS, "slices": SLICES}


def write_family(room: Path) -> None:
    """All share most words. b has two of its own in front of them, c one, in which all stand the other way round."""
    orders = {
        "base": [f"t{i}" for i in range(3, VOCAB)],
        "a": [f"t{i}" for i in range(3, VOCAB)] + ["a1"],
        "b": ["b1", "b2"] + [f"t{i}" for i in range(3, VOCAB - 4)] + ["shared"],
        "c": [f"t{i}" for i in range(VOCAB - 1, 5, -1)] + ["c1", "shared"],
    }
    for seed, (label, words) in enumerate(orders.items(), 21):
        tensors = random_tensors(seed, vocab=3 + len(words))
        write_model(room / "models" / label, tensors, tokens=lambda number, words=words: words[number - 3])


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    room = tmp_path_factory.mktemp("vocabularies")
    write_family(room)
    return room


@pytest.fixture(scope="module")
def mergekits(room) -> dict[str, Path]:
    """mergekit's result of every config, from one process."""
    outs = {name: room / "mergekit" / str(number) for number, name in enumerate(ALL)}
    (room / "jobs.json").write_text(json.dumps([{"config": ALL[name], "out": str(outs[name])} for name in ALL]))
    script = Path(__file__).with_name("run_mergekit.py")
    done = subprocess.run(
        [str(MERGEKIT), str(script), "jobs.json"], cwd=room, capture_output=True, text=True, check=False, timeout=600
    )
    errors = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(errors) == len(ALL), done.stderr[-2000:]
    assert not any(errors), dict(zip(ALL, errors, strict=True))
    return outs


def tokens(folder: Path) -> dict[str, int]:
    content = json.loads((folder / "tokenizer.json").read_text())
    added = {entry["content"]: entry["id"] for entry in content["added_tokens"]}
    return {**content["model"]["vocab"], **added}


def ligates(config: str, tmp_path: Path) -> Path:
    (tmp_path / "merge.yml").write_text(config)
    merge(tmp_path / "merge.yml", tmp_path / "out")
    return tmp_path / "out"


def in_our_order(theirs: np.ndarray, mine: dict[str, int], others: dict[str, int]) -> np.ndarray:
    numbers = np.arange(len(theirs))
    numbers[list(mine.values())] = [others[token] for token in mine]
    return theirs[numbers]


@needs_mergekit
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_are_mergekits_token_by_token(name, room, mergekits, tmp_path, monkeypatch):
    monkeypatch.chdir(room)
    out = ligates(CONFIGS[name], tmp_path)
    ours, theirs = read_model(out), read_model(mergekits[name])
    mine, others = tokens(out), tokens(mergekits[name])
    assert (set(mine), set(ours)) == (set(others), set(theirs))
    for tensor, found in ours.items():
        assert found.shape == theirs[tensor].shape, tensor
        expected = in_our_order(theirs[tensor], mine, others) if tensor in ROWS else theirs[tensor]
        np.testing.assert_allclose(found, expected, err_msg=tensor, **SINGLE)
    counts = [json.loads((folder / "config.json").read_text())["vocab_size"] for folder in (out, mergekits[name])]
    assert counts == [len(ours[ROWS[0]])] * 2


@needs_mergekit
def test_a_token_of_a_model_that_gives_other_layers_has_that_models_row_where_mergekit_writes_zeros(
    room, mergekits, tmp_path, monkeypatch
):
    monkeypatch.chdir(room)
    out = ligates(SLICES, tmp_path)
    ours, theirs = read_model(out)[ROWS[0]], read_model(mergekits["slices"])[ROWS[0]]
    mine = tokens(out)
    expected = in_our_order(theirs, mine, tokens(mergekits["slices"]))
    of_b, numbers_of_b = read_model(room / "models" / "b")[ROWS[0]], tokens(room / "models" / "b")
    for token in set(numbers_of_b) - set(tokens(room / "models" / "a")):
        assert not expected[mine[token]].any()
        expected[mine[token]] = of_b[numbers_of_b[token]]
    np.testing.assert_allclose(ours, expected, **SINGLE)
