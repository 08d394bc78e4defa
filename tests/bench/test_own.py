"""A comparison of one's own models from its YAML file to the report, with models that are made here."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

import tiny_folders as made
from ligate.bench.results import load
from ligate.bench.run import run
from ligate.bench.statistics import means
from ligate.bench.suite import OUTSIDE, TEST, VALIDATION
from ligate.bench.suites.own import config as own_config
from ligate.bench.suites.own import suite as own
from ligate.bench.textworld import DROPPED, TYPOS
from ligate.core.errors import LigateError, Problems, RecipeError

pytest.importorskip("scipy")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("encoders")
    made.encoders(place)
    return place


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("classifiers")
    made.classifiers(place)
    return place


@pytest.fixture(scope="module")
def language_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("language-models")
    made.language_models(place)
    return place


def stage(path: Path, store: Path, limit: int = 50):
    return own.prepare(own_config.read(path), store, limit)


def test_encoders_are_compared_from_the_file_to_the_report(encoders: Path, tmp_path: Path):
    path = made.written(encoders, "classification", "methods: [task_arithmetic]\n")
    out = tmp_path / "out"

    found = run(str(path), out, tier="smoke", store=tmp_path / "store", budget=2)

    assert found.suite == "mine" and not any(cell.failed for row in found.rows for cell in row.cells)
    assert {row.id for row in found.rows} >= {"pretrained", "individual", "average", "task_arithmetic", "best-single"}
    assert set(found.papers) == {VALIDATION, TEST, TYPOS, DROPPED}
    assert (out / "report.html").is_file() and len(load(out).rows) == len(found.rows)
    assert str(tmp_path) not in (out / "report.html").read_text(encoding="utf-8")

    again = run(str(path), tmp_path / "again", tier="smoke", store=tmp_path / "store", budget=2)
    for one, other in zip(found.rows, again.rows, strict=True):
        for task in made.CLASSES:
            assert torch.equal(one.cells[0].answers[TEST][task], other.cells[0].answers[TEST][task])


@pytest.mark.parametrize(
    ("base", "expert", "head"),
    [
        ("BertModel", "BertForSequenceClassification", {"classifier"}),
        ("BertForMaskedLM", "BertForSequenceClassification", {"classifier", "bert.pooler"}),
        ("LlamaForCausalLM", "LlamaForSequenceClassification", {"score", "lm_head"}),
    ],
)
def test_heads_of_classifiers_are_put_back(base: str, expert: str, head: set[str], tmp_path: Path):
    from transformers import AutoModelForSequenceClassification

    made.classifiers(tmp_path, base, expert)
    world = stage(made.written(tmp_path, "sequence-classification"), tmp_path / "store").world(0)
    tokens = made.tokenizer()

    told = world.ask(world.state("size"), TEST)["size"]

    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "size").eval()
    with torch.no_grad():
        right = [
            float(whole(**tokens(*one.content, return_tensors="pt")).logits.argmax() == one.answer)
            for one in world.questions[TEST]["size"]
        ]
    assert told.tolist() == right
    assert not [name for name in world.state("size") if name.startswith(tuple(head))]
    assert world.loaded(world.experts[0].folder).keys() == world.state("pretrained").keys()
    assert 0 < means(world.vote(["colour", "size"], [1.0, 1.0], "logits", TEST))["colour"] < 1


def test_classifiers_are_merged_on_disk(classifiers: Path, tmp_path: Path):
    path = made.written(classifiers, "sequence-classification", "methods: [task_arithmetic]\n")
    found = run(str(path), tmp_path / "out", tier="smoke", store=tmp_path / "store", budget=2)
    assert not any(cell.failed for row in found.rows for cell in row.cells)
    assert found.row("task_arithmetic").cells[0].curve


def test_a_vote_of_one_network_is_that_network(classifiers: Path, language_models: Path, tmp_path: Path):
    for path in (
        made.written(classifiers, "sequence-classification"),
        made.written(language_models, "causal-lm"),
    ):
        world = stage(path, tmp_path).world(0)
        alone = world.ask(world.state("size"), TEST)
        voted = world.vote(["size"], [2.0], "probabilities", TEST)
        for task in made.CLASSES:
            assert torch.allclose(alone[task], voted[task], atol=1e-6)


def test_bits_per_byte_are_those_of_the_model(language_models: Path, tmp_path: Path):
    from transformers import AutoModelForCausalLM

    world = stage(made.written(language_models, "causal-lm"), tmp_path, limit=12).world(0)
    told = means(world.ask(world.state("colour"), TEST))["size"]

    model, tokens = AutoModelForCausalLM.from_pretrained(language_models / "colour").eval(), made.tokenizer()
    bits = size = 0.0
    for one in world.questions[TEST]["size"]:
        ids = torch.tensor([[tokens.eos_token_id, *tokens(one.key)["input_ids"]]])
        with torch.no_grad():
            logs = model(input_ids=ids).logits[0, :-1].log_softmax(1)
        bits -= float(logs[torch.arange(len(logs)), ids[0, 1:]].sum()) / torch.log(torch.tensor(2.0)).item()
        size += len(one.key.encode())
    assert told == pytest.approx(bits / size, rel=0.02)  # bfloat16 where the processor has it


@pytest.mark.parametrize("tie", [True, False])
def test_language_models_are_merged_on_disk(tie: bool, tmp_path: Path):
    made.language_models(tmp_path, tie=tie)
    path = made.written(tmp_path, "causal-lm", "methods: [average]\n")
    found = run(str(path), tmp_path / "out", tier="smoke", store=tmp_path / "store", budget=2)
    assert not any(cell.failed for row in found.rows for cell in row.cells)
    assert not found.metric.higher


def test_experts_of_one_task_have_any_names(tmp_path: Path):
    made.encoders(tmp_path, ("first", "second"))
    path = made.written(tmp_path, "classification")
    path.write_text(path.read_text().replace("    colour: colour", "    run-1: first").replace(
        "    size: size", "    run-2: {path: second}"))  # fmt: skip
    world = stage(path, tmp_path).world(0)
    assert [one.label for one in world.experts] == ["run-1", "run-2"]
    assert {task.expert for task in world.tasks} == {None} and set(world.papers()[TEST].sources) == set(made.CLASSES)


def test_a_task_without_an_expert_is_asked_on_a_paper_of_its_own(encoders: Path, tmp_path: Path):
    path = made.written(encoders, "classification")
    made.write_csv(encoders / "more.csv", made.rows("size", 90))
    text = path.read_text() + "  more: {data: more.csv, split: {validation: 0.5}}\n"
    other = path.with_name("other.yaml")
    other.write_text(text)
    papers = stage(other, tmp_path).world(0).papers()
    assert set(papers[OUTSIDE].sources) == {"more"} and "more" not in papers[VALIDATION].sources


# What is wrong is told before anything is merged


def broken(path: Path, **replaced: str) -> str:
    """What the file says is wrong with it after some texts were replaced."""
    text = path.read_text(encoding="utf-8")
    for old, new in replaced.values():
        assert old in text
        text = text.replace(old, new)
    bad = path.with_name("bad.yaml")
    bad.write_text(text, encoding="utf-8")
    with pytest.raises((LigateError, Problems)) as told:
        stage(bad, path.parent / "store")
    return str(told.value)


def test_everything_wrong_with_models_and_data_is_told_at_once(encoders: Path):
    path = made.written(encoders, "classification")
    told = broken(path, a=("colour: colour", "colour: color"), b=("data: size.csv", "data: sizes.csv"))
    assert "bad.yaml:5" in told and "did you mean 'colour'?" in told
    assert "bad.yaml:11" in told and "did you mean 'size.csv'?" in told


def test_a_column_that_is_not_there(encoders: Path):
    told = broken(
        made.written(encoders, "classification"),
        a=("data: size.csv", "data: size.csv\n    columns: {label: labels}"),
    )
    assert re.search(r"bad.yaml:13: there is no column 'labels' in size.csv\n  -> did you mean 'label'", told)


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([{"text": f"a text {n}", "label": "large"} for n in range(60)], "one class"),
        (made.rows("size", 12), "and needs 10 or more"),
        ([*made.rows("size", 60), {"text": "", "label": "small"}], "size.csv:62: has no text"),
        ([*made.rows("size", 60), {"text": "none", "label": ""}], "size.csv:62: has no label"),
    ],
)
def test_data_that_are_no_questions(records, told: str, encoders: Path, tmp_path: Path):
    for name in ("base", "colour", "size"):
        shutil.copytree(encoders / name, tmp_path / name)
    path = made.written(tmp_path, "classification")
    made.write_csv(tmp_path / "size.csv", records)
    assert told in broken(path)


def test_a_label_that_is_not_among_the_classes(encoders: Path):
    told = broken(
        made.written(encoders, "classification"),
        a=("data: size.csv", "data: size.csv\n    classes: {small: a small one, larger: a large one}"),
    )
    assert re.search(r"size.csv:3: the label 'large' is not among the 2 classes\n  -> did you mean 'larger'", told)


def test_models_that_do_not_fit(encoders: Path, classifiers: Path, tmp_path: Path):
    made.encoders(tmp_path)
    shutil.rmtree(tmp_path / "size")
    shutil.copytree(classifiers / "size", tmp_path / "size")
    told = broken(made.written(tmp_path, "classification"))
    assert "model `size` differs from `pretrained`" in told and "bad.yaml:6" in told

    path = made.written(encoders, "sequence-classification")
    assert "list them as `classes:`" in broken(path)
    named = {
        task: (f"data: {task}.csv", f"data: {task}.csv\n    classes: {list(made.CLASSES[task])}")
        for task in made.CLASSES
    }
    assert "has no head for classes" in broken(path, **named)
    assert "language model" in broken(made.written(encoders, "causal-lm"))
    more = ("data: size.csv", "data: size.csv\n    classes: [small, large, huge]")
    assert "tells 2 classes apart, and its task has 3" in broken(
        made.written(classifiers, "sequence-classification"), a=more
    )


def test_code_of_a_model_is_not_run(encoders: Path, tmp_path: Path):
    for name in ("base", "colour", "size"):
        shutil.copytree(encoders / name, tmp_path / name)
    ran = tmp_path / "ran"
    (tmp_path / "size" / "modeling.py").write_text(f"open({str(ran)!r}, 'w')\n")
    (tmp_path / "size" / "config.json").write_text(
        '{"model_type": "mine", "auto_map": {"AutoConfig": "modeling.C", "AutoModel": "modeling.M"}}'
    )
    assert "brings its own code, which is not run" in broken(made.written(tmp_path, "classification"))
    assert not ran.exists()


def test_several_seeds_make_sense_for_methods_that_draw_only(encoders: Path, tmp_path: Path):
    path = made.written(encoders, "classification")
    with pytest.raises(RecipeError, match="3 seeds would give the same numbers"):
        run(str(path), tmp_path / "out", tier="smoke", seeds=3, methods=["ties"], store=tmp_path)
    assert own.draws("merge/dare_ties") and not own.draws("merge/ties")


def test_the_methods_that_draw_are_those_whose_rules_ask_for_noise():
    from ligate.verbs.methods import cards

    asking = {
        card.id
        for card in cards()
        if re.search(
            r"from ligate\.ops(\.| import )(drop|magprune)\b", Path(card.function.__code__.co_filename).read_text()
        )
    }
    assert asking == own.DRAWING


def test_the_file_decides_the_pretrained_model(encoders: Path, tmp_path: Path):
    path = made.written(encoders, "classification")
    with pytest.raises(RecipeError, match="names the pretrained model"):
        run(str(path), tmp_path / "out", tier="smoke", model=str(encoders / "base"), store=tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(RecipeError, match="cannot be read"):
        run(str(tmp_path / "none.yaml"), tmp_path / "out", tier="smoke", store=tmp_path)
