"""lm-evaluation-harness as a backend, with a task and models that are made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ligate.bench.suite import TEST, VALIDATION
from ligate.bench.suites.own import config as own_config
from ligate.bench.suites.own import harness as own_harness
from ligate.core.errors import InputError, LigateError

FILE = """\
kind: lm-eval
include: tasks
models:
  pretrained: base
  experts: {colour: colour, size: size}
tasks:
  colour: {task: mine, metric: METRIC}
  size: {task: other, metric: METRIC}
"""
TASK = """\
task: NAME
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: [red, green, blue]
doc_to_target: answer
metric_list: [{metric: acc}]
"""


def config(folder: Path, metric: str = "acc", **replaced: str) -> own_config.Config:
    text = FILE.replace("METRIC", metric)
    for old, new in replaced.items():
        text = text.replace(old, new)
    return own_config.parse(text, "my.yaml", folder)


def test_without_the_harness_the_way_to_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(own_harness, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'lm_eval\[hf\]"):
        own_harness.prepare(config(tmp_path), 50)


def test_metrics_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(own_harness, "find_spec", lambda name: True)
    text = FILE.replace("METRIC", "acc", 1).replace("METRIC", "acc_norm")
    with pytest.raises(InputError, match="have no average"):
        own_harness.prepare(own_config.parse(text, "my.yaml", tmp_path), 50)


def test_numbers_are_told_per_question_and_filter():
    spec = config(Path()).tasks[0]
    samples = [{"doc_id": n, "filter": "none", "metrics": ["acc"], "acc": float(n % 2)} for n in (3, 1, 2)]
    assert own_harness.values(samples, spec, [1, 2, 3]).tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(InputError, match="`metric:` is one of acc"):
        own_harness.values(samples, config(Path(), "acc_norm").tasks[0], [1, 2])
    twice = [*samples, {**samples[0], "filter": "strict"}]
    with pytest.raises(InputError, match="choose one with `filter:`"):
        own_harness.values(twice, spec, [1])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("lm_eval")
    import tiny_folders

    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    tiny_folders.language_models(tmp_path)
    (tmp_path / "tasks").mkdir()
    for name in ("mine", "other"):
        data = tmp_path / f"{name}.jsonl"
        rows = [{"question": tiny_folders.sentence(n, name), "answer": n % 3} for n in range(90)]
        data.write_text("\n".join(map(json.dumps, rows)))
        (tmp_path / "tasks" / f"{name}.yaml").write_text(TASK.replace("NAME", name).replace("DATA", str(data)))
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_the_harness_is_asked_about_weights(place: Path):
    world = own_harness.prepare(config(place), 20).world(0)
    papers = world.papers()
    for task in ("colour", "size"):
        chosen, scored = (set(papers[paper].sources[task].tolist()) for paper in (VALIDATION, TEST))
        assert len(scored) == 20 and len(chosen) >= 10 and not chosen & scored

    state = world.state("colour")
    told = world.ask(state, TEST)

    assert all(set(each.tolist()) <= {0.0, 1.0} and len(each) == 20 for each in told.values())
    assert all(torch.equal(told[task], world.ask(state, TEST)[task]) for task in told)
    assert right(place / "colour", place / "mine.jsonl", world.numbers[TEST]["colour"]) == told["colour"].tolist()
    with pytest.raises(LigateError, match="cannot vote"):
        world.vote(["colour", "size"], [1.0, 1.0], "logits", TEST)
    with pytest.raises(LigateError, match="cannot load its task 'absent'"):
        own_harness.prepare(config(place, mine="absent"), 20)


def right(folder: Path, data: Path, numbers: list[int]) -> list[float]:
    """The same questions asked without the harness: which word goes on with the least bits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokens = AutoModelForCausalLM.from_pretrained(folder).float().eval(), AutoTokenizer.from_pretrained(folder)
    records = [json.loads(line) for line in data.read_text().splitlines()]
    found: list[float] = []
    for number in numbers:
        ids = torch.tensor([tokens(records[number]["question"])["input_ids"]])
        with torch.no_grad():
            last = model(input_ids=ids).logits[0, -1]
        words = [last[tokens.convert_tokens_to_ids(word)] for word in ("red", "green", "blue")]
        found.append(float(int(torch.stack(words).argmax()) == records[number]["answer"]))
    return found
