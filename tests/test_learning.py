"""A merge that is learned from the user's data: from a recipe to a record, a replay, and what can be wrong with it."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_folders as made
from ligate import merge, replay, verify
from ligate.align.stored import read_tensor
from ligate.cli.main import main
from ligate.core.errors import InputError, LigateError, Problems, RecipeError
from ligate.io import open_source
from ligate.learn import presets
from ligate.learn.presets import PRESETS
from ligate.learn.processed import elected
from ligate.recipe.parse import parse_file
from ligate.verbs import learning
from ligate.verbs.check import check
from ligate.verbs.explain import explain
from ligate.verbs.watch import Nobody

pytest.importorskip("transformers")

TASKS = tuple(made.CLASSES)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("encoders")
    made.encoders(place)
    return place


@pytest.fixture
def place(encoders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models and data, in which paths begin."""
    for name in ("base", *TASKS):
        (tmp_path / name).symlink_to(encoders / name)
    for task in TASKS:
        made.write_csv(tmp_path / f"{task}.csv", made.rows(task, 60))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(
    method: str = "learn/adamerging", parameters: Mapping[str, Any] | None = None, **data: Any
) -> dict[str, Any]:
    named = {task: {"data": f"{task}.csv", "classes": list(made.CLASSES[task])} for task in TASKS}
    return {
        "sources": {name: f"./{name}" for name in ("base", *TASKS)},
        "data": {"kind": "classification", "tasks": named, **data},
        "merge": {
            "method": method,
            "base": "base",
            "models": list(TASKS),
            "parameters": {"steps": 8, "rate": 0.1, "look": 2, **(parameters or {})},
        },
    }


def without(found: dict[str, Any], *path: str) -> dict[str, Any]:
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return found


def told(out: str | Path) -> dict[str, Any]:
    return json.loads((Path(out) / "ligate.json").read_text())["recipe"]["learned"]


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    source = open_source(str(folder), label="m")
    return {name: read_tensor(source, name).float() for name in source.headers()}


class Heard(Nobody):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, done: int, told: str) -> None:
        self.steps.append(done)


def test_what_is_learned_beats_the_start_and_is_replayed_without_data(place: Path):
    heard = Heard()
    done = merge(recipe(), "out", watch=heard)

    account = told("out")
    (stage,) = account["stages"]
    assert stage["best"]["stopping"] < stage["curve"][0][2] and heard.steps == [0, 2, 4, 6, 8]
    assert account["preset"] == "learn/adamerging" and account["settings"]["rate"] == 0.1
    assert account["scalars"] == 2 * account["tensors"]["learned"] == 2 * 39
    assert account["data"]["labels"] == "not used" and account["data"]["test_inputs"] is False
    assert "word7" not in json.dumps(account) and str(place) not in json.dumps(account)
    assert {path.name for path in Path("out.learned").iterdir()} == {"curve.json", "numbers.safetensors", "recipe.yaml"}

    for task in TASKS:
        (place / f"{task}.csv").unlink()
    assert replay("out", "again").digest == done.digest
    assert verify("again").tensors == 39
    assert merge("out.learned/recipe.yaml", "by-hand").digest == done.digest


def test_the_recipe_has_exactly_the_numbers_that_were_learned(place: Path):
    merge(recipe(), "out")
    numbers = weights("out.learned/numbers.safetensors")
    base, merged = weights("base"), weights("out")
    experts = [weights(task) for task in TASKS]
    settings = parse_file("out.learned/recipe.yaml").steps[0].settings
    set_at = {(one.match, one.model): one.value for one in settings if one.name == "weight"}
    for name, each in numbers.items():
        coefficients = each.clamp(0, 1)[:, 0].tolist()
        assert [set_at.get((name, task), set_at["*", task]) for task in TASKS] == coefficients
        sums = sum(c * (expert[name] - base[name]) for c, expert in zip(coefficients, experts, strict=True))
        torch.testing.assert_close(merged[name], base[name] + sums, atol=1e-6, rtol=1e-5)


def test_a_finished_learning_is_used_again_and_other_settings_are_learned_anew(place: Path):
    first = merge(recipe(), "out")
    heard = Heard()
    wanted = recipe()
    wanted["output"] = {"dtype": "bfloat16"}
    merge(wanted, "out", overwrite=True, watch=heard)
    assert heard.steps == [] and any("used again" in note for note in heard.notes)
    assert merge(recipe(), "out", overwrite=True).digest == first.digest
    merge(recipe(parameters={"rate": 0.02}), "out", overwrite=True, watch=heard)
    assert heard.steps == [0, 2, 4, 6, 8]


def test_an_interrupted_learning_goes_on_to_the_same_end(place: Path):
    class Stops(Heard):
        def step(self, done: int, told: str) -> None:
            super().step(done, told)
            if done == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stop:
        merge(recipe(), "out", watch=Stops())
    assert "goes on" in " ".join(stop.value.__notes__) and not Path("out").exists()
    heard = Heard()
    done = merge(recipe(), "out", watch=heard)
    assert heard.steps[0] in (4, 6) and done.digest == merge(recipe(), "whole").digest
    assert not list(Path("out.learned").glob("state*"))


def test_a_loss_that_is_no_number_stops_and_the_best_is_kept(place: Path, monkeypatch: pytest.MonkeyPatch):
    from ligate.learn import objectives

    plain, asked = objectives.Entropy.__call__, []

    def broken(self: Any, *given: Any) -> torch.Tensor:
        asked.append(1)
        found = plain(self, *given)
        return found * float("nan") if torch.is_grad_enabled() and len(asked) > 12 else found

    monkeypatch.setattr(objectives.Entropy, "__call__", broken)
    heard = Heard()
    merge(recipe(), "out", watch=heard)
    stage = told("out")["stages"][0]
    assert "became nan in step" in stage["ended"] and any("became nan" in note for note in heard.notes)
    assert stage["best"]["step"] > 0


def test_models_that_are_broken_are_told_before_anything_is_learned(place: Path, tmp_path: Path):
    for task in TASKS:
        (place / task).unlink()
        shutil.copytree((place / "base").resolve(), place / task)
        from safetensors.torch import save_file

        state = {name: one * float("nan") for name, one in weights("base").items()}
        save_file(state, place / task / "model.safetensors", {"format": "pt"})
    with pytest.raises(LigateError, match="the loss is no number before anything is learned"):
        merge(recipe(), "out")


@pytest.mark.parametrize(
    "preset",
    ["adamerging_task", "adamerging_pp", "atlas_k", "concrete", "expert_merging_pp", "neulig", "tsv_agreement"],
)
def test_presets_end_in_a_recipe_that_makes_the_network_that_was_learned(
    place: Path, preset: str, monkeypatch: pytest.MonkeyPatch
):
    """The network is left with the merge of the best numbers: the output has to be that network, and be replayed."""
    networks: list[Any] = []
    plain = learning.outcome

    def seen(taken: Any, found: Any) -> Any:
        networks.append(
            {taken.places[name]: one.detach().clone() for name, one in taken.network.module.named_parameters()}
        )
        return plain(taken, found)

    monkeypatch.setattr(learning, "outcome", seen)
    done = merge(recipe(f"learn/{preset}", {"steps": 3, "look": 1}), "out")
    merged, base = weights("out"), weights("base")
    for name, one in merged.items():
        torch.testing.assert_close(one, networks[-1][name], atol=2e-6, rtol=1e-4)
    assert any(not torch.equal(merged[name], base[name]) for name in merged)
    assert told("out")["data"]["labels"] == ("used" if preset in ("atlas_k", "neulig") else "not used")
    if preset == "tsv_agreement":
        _weighs_each_tensor_of_tsv_m()
    assert replay("out", "again").digest == done.digest


def _weighs_each_tensor_of_tsv_m() -> None:
    (step,) = parse_file("out.learned/recipe.yaml").steps
    known = {(one.match, one.model): one.value for one in step.settings if one.name == "weight"}
    numbers = weights("out.learned/numbers.safetensors")
    assert step.method == "merge/tsv_m" and len(set(known.values())) > 2
    for name, each in numbers.items():
        assert [known.get((name, task), known.get(("*", task))) for task in TASKS] == each[:, 0].tolist()


def test_parts_of_orthogonal_experts_end_in_factors_of_their_steps(place: Path, monkeypatch: pytest.MonkeyPatch):
    networks: list[Any] = []
    plain = learning.outcome

    def seen(taken: Any, found: Any) -> Any:
        named = taken.network.module.named_parameters()
        networks.append({taken.places[name]: one.detach().clone() for name, one in named})
        return plain(taken, found)

    monkeypatch.setattr(learning, "outcome", seen)
    done = merge(recipe("learn/tsv_agreement", {"steps": 3, "look": 1, "parts": 4}), "out")
    for name, one in weights("out").items():
        torch.testing.assert_close(one, networks[-1][name], atol=2e-6, rtol=1e-4)
    assert parse_file("out.learned/recipe.yaml").steps[0].method == "merge/tsv_scaled"
    assert replay("out", "again").digest == done.digest


def test_a_gate_begins_at_the_weights_of_the_models(place: Path):
    weight = dict(zip(TASKS, (3.0, 1.0), strict=True))
    merge(recipe("learn/neulig", {"steps": 1, "look": 1, "rate": 1e-6, "weight": weight}), "out")
    base, merged = weights("base"), weights("out")
    first, second = (weights(task) for task in TASKS)
    for name, one in merged.items():
        due = base[name] + 0.75 * (first[name] - base[name]) + 0.25 * (second[name] - base[name])
        torch.testing.assert_close(one, due, atol=1e-5, rtol=1e-4)
    assert told("out")["settings"]["weight"] == [3.0, 1.0]


@pytest.mark.parametrize(
    ("method", "weight", "text"),
    [
        ("learn/neulig", {TASKS[0]: 3.0}, "must be a number for every model"),
        ("learn/neulig", {TASKS[0]: 3.0, TASKS[1]: -1.0}, "greater than 0"),
        ("learn/adamerging", {TASKS[0]: 3.0, TASKS[1]: 1.0}, "no gate that could begin"),
    ],
)
def test_weights_that_a_gate_cannot_begin_at_are_told(place: Path, method: str, weight: dict[str, float], text: str):
    with pytest.raises(LigateError, match=text):
        merge(recipe(method, {"weight": weight}), "out")
    assert not Path("out").exists()


def test_where_one_pass_serves_all_heads_every_task_is_asked_about_all_inputs(place: Path):
    merge(recipe("learn/tsv_agreement", {"steps": 1, "look": 1}), "out")
    merge(recipe("learn/expert_merging", {"steps": 1, "look": 1}), "other")
    assert told("out")["data"]["asked"] == "every task about the inputs of all"
    assert told("other")["data"]["asked"] == "every task about its own inputs"


def test_the_key_of_a_learning_holds_no_address_of_this_process(place: Path, monkeypatch: pytest.MonkeyPatch):
    """A preset's functions lie elsewhere in another process: what was learned there is known all the same."""
    wanted = recipe("learn/adamerging_pp", {"steps": 1})
    merge(wanted, "out")
    known, heard = PRESETS["adamerging_pp"], Heard()
    elsewhere = replace(known, experts=partial(elected, density=0.2))
    monkeypatch.setattr(presets, "PRESETS", {**PRESETS, "adamerging_pp": elsewhere})
    merge(wanted, "out", overwrite=True, watch=heard)
    assert heard.steps == [] and any("used again" in note for note in heard.notes)


def test_few_labels_of_each_class_are_used_and_the_record_says_so(place: Path):
    merge(recipe("learn/atlas", per_class=4), "out")
    data = told("out")["data"]
    assert data["labels"] == "used, at most 4 of each class"
    assert {task: (one["learning"], one["stopping"]) for task, one in data["tasks"].items()} == {
        "colour": (6, 6), "size": (4, 4)
    }  # fmt: skip


def test_a_task_may_be_forgotten(place: Path):
    wanted = recipe("learn/atlas_negation", {"steps": 4, "look": 2})
    wanted["data"]["tasks"]["size"]["weight"] = -1
    merge(wanted, "out")
    assert told("out")["preset"] == "learn/atlas_negation"


def test_test_inputs_are_named_as_such(place: Path):
    heard = Heard()
    merge(recipe(test_inputs=True), "out", watch=heard)
    assert told("out")["data"]["test_inputs"] is True and any("those of the test" in note for note in heard.notes)


def test_classes_come_from_a_column_of_labels_that_is_not_used_otherwise(place: Path):
    merge(recipe(), "out")
    digests = {task: one["digest"] for task, one in told("out")["data"]["tasks"].items()}
    wanted = recipe()
    wanted["data"]["tasks"] = {task: f"{task}.csv" for task in TASKS}
    merge(wanted, "other")
    assert told("other")["data"]["tasks"]["size"]["classes"] == 2 and told("other")["data"]["labels"] == "not used"
    assert digests.keys() == told("other")["data"]["tasks"].keys()


def test_one_batch_is_told(place: Path):
    heard = Heard()
    merge(recipe(batch=500), "out", watch=heard)
    assert any("colour, size are one batch" in note for note in heard.notes)


def test_a_check_tells_what_will_be_learned_and_learns_nothing(place: Path):
    found = check(recipe(), "out")
    assert found.learning is not None and found.learning.scalars == 78
    assert found.learning.steps == 8 and set(found.learning.tasks) == set(TASKS)
    assert not Path("out.learned").exists() and found.steps[0].method == "learn/adamerging"


# Other kinds


def test_classifiers_keep_their_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made.classifiers(tmp_path)
    monkeypatch.chdir(tmp_path)
    for task in TASKS:
        made.write_csv(tmp_path / f"{task}.csv", made.rows(task, 60))
    wanted = recipe("learn/atlas", kind="sequence-classification", batch=64)
    for name in TASKS:
        wanted["sources"][name] = {"path": f"./{name}", "strip_prefix": "bert."}
    wanted["output"] = {"drop": ["classifier.*"]}
    merge(wanted, "out")
    learning_losses = [loss for _, loss, _ in told("out")["stages"][0]["curve"][1:]]
    assert learning_losses[-1] < learning_losses[0] and told("out")["tensors"]["learned"] == 39
    assert not [name for name in weights("out") if name.startswith("classifier")]


@pytest.mark.parametrize("tie", [True, False])
def test_language_models_learn_from_texts(tie: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made.language_models(tmp_path, tie=tie)
    monkeypatch.chdir(tmp_path)
    for task in TASKS:
        made.write_csv(tmp_path / f"{task}.csv", made.rows(task, 60))
    wanted = recipe("learn/atlas", kind="causal-lm")
    wanted["data"]["tasks"] = {task: f"{task}.csv" for task in TASKS}
    done = merge(wanted, "out")
    stage = told("out")["stages"][0]
    assert stage["best"]["stopping"] < stage["curve"][0][2]
    assert replay("out", "again").digest == done.digest


# What is wrong is told before anything is learned


def wrong(found: Mapping[str, Any]) -> str:
    """What the command line says of a recipe, of which nothing is left behind."""
    Path("wrong.yaml").write_text(json.dumps(found))
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(["merge", "wrong.yaml", "out"])
    assert code in (2, 3) and not Path("out").exists() and not Path("out.learned").exists()
    return said.getvalue()


def test_no_data(place: Path):
    assert "`learn/adamerging` needs `data:` to learn from" in wrong(without(recipe(), "data"))
    nothing = recipe()
    nothing["data"]["tasks"] = {}
    assert "`tasks:` is empty" in wrong(nothing)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "size.csv: has no rows"),
        ("text,label\n", "size.csv: has no rows"),
        ("text,label\none text,small\n", "needs 2 of each"),
        ("text\n" + "a text\nanother one\n", "needs 2 of each"),
    ],
)
def test_files_with_too_little(place: Path, rows: str, said: str):
    (place / "size.csv").write_text(rows)
    assert said in wrong(recipe())


def test_no_labels_for_an_objective_that_needs_them(place: Path):
    (place / "size.csv").write_text("text\n" + "".join(f"a text {n}\n" for n in range(40)))
    assert "there is no column 'label' in size.csv" in wrong(recipe("learn/atlas"))
    merge(recipe(), "out")


def test_classes_that_are_not_known(place: Path):
    (place / "size.csv").write_text("text\n" + "".join(f"a text {n}\n" for n in range(40)))
    unnamed = recipe()
    del unnamed["data"]["tasks"]["size"]["classes"]
    assert "the classes of task `size` are not known" in wrong(unnamed)
    other = recipe("learn/atlas")
    other["data"]["tasks"]["colour"]["classes"] = ["red", "green", "black"]
    assert "the label 'blue' is not among the 3 classes" in wrong(other)


def test_a_head_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made.classifiers(tmp_path)
    monkeypatch.chdir(tmp_path)
    for task in TASKS:
        made.write_csv(tmp_path / f"{task}.csv", made.rows(task, 60))
    wanted = recipe("learn/atlas", kind="sequence-classification")
    for name in TASKS:
        wanted["sources"][name] = {"path": f"./{name}", "strip_prefix": "bert."}
    wanted["output"] = {"drop": ["classifier.*"]}
    wanted["data"]["tasks"]["size"]["classes"] = ["small", "large", "huge"]
    assert "tells 2 classes apart, and its task has 3" in wrong(wanted)


def test_models_of_different_shapes(place: Path):
    from transformers import BertConfig, BertModel

    (place / "size").unlink()
    shape: dict[str, Any] = {**made.SHAPE, "hidden_size": 16}
    BertModel(BertConfig(vocab_size=len(made.tokenizer()), **shape)).save_pretrained("size")
    assert "`base`" in wrong(recipe()) and "shape" in wrong(recipe())


def test_everything_wrong_with_the_wish_is_told_at_once(place: Path):
    wanted = recipe("learn/adamergin", test_inputs=False)
    wanted["sources"]["size"] = "./sizes"
    said = wrong(wanted)
    assert "there is no preset 'learn/adamergin'\n  -> did you mean 'adamerging'" in said and "sizes" in said
    assert "`learn/adamerging` has no parameter `stepz`" in wrong(recipe(parameters={"stepz": 3}))
    assert "`per_class` counts labelled examples" in wrong(recipe(per_class=3))
    assert "is no test-time adaptation" in wrong(recipe("learn/atlas", test_inputs=True))
    assert "needs a `base:`" in wrong(without(recipe(), "merge", "base"))
    renamed = recipe("learn/expert_merging")
    renamed["data"]["tasks"]["sise"] = renamed["data"]["tasks"].pop("size")
    assert "task `sise` has no model of its name" in wrong(renamed)


def test_data_for_a_rule_that_takes_none(place: Path):
    wanted = recipe("ties")
    del wanted["merge"]["parameters"]
    assert "`merge/ties` learns and measures nothing from `data:`" in wrong(wanted)


def test_a_misspelt_block_is_told_by_line(place: Path):
    (place / "r.yaml").write_text(
        "sources: {base: ./base, colour: ./colour, size: ./size}\n"
        "data:\n"
        "  kind: clasification\n"
        "  share: 2\n"
        "  tasks:\n"
        "    size: {dat: size.csv}\n"
        "merge: {method: learn/adamerging, base: base, models: [colour, size]}\n"
    )
    with pytest.raises((RecipeError, Problems)) as error:
        merge("r.yaml", "out")
    said = str(error.value)
    assert "r.yaml:3: there is no kind 'clasification'" in said and "r.yaml:4: `share` must be between 0 and 1" in said
    assert "r.yaml:6: task `size` has no key `dat`" in said


def test_without_transformers_the_extra_is_named(place: Path, monkeypatch: pytest.MonkeyPatch):
    from ligate.tasks import loading

    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"takes the library transformers\n  -> `pip install 'ligate\[learn\]'`"):
        merge(recipe(), "out")


def test_a_preset_is_no_rule_of_its_own(place: Path):
    Path("learn.yaml").write_text(json.dumps(recipe()))
    for asked in (
        ["explain", "learn.yaml", "--tensor", "x"],
        ["merge", "--method", "learn/adamerging", "a", "-o", "b"],
    ):
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            assert main(asked) in (2, 3)
        assert "'learn/adamerging' is no rule: it learns one from data" in said.getvalue()
        assert "OUT.learned/recipe.yaml" in said.getvalue()
    with pytest.raises(RecipeError, match="merges by what nobody has measured yet"):
        explain(without(recipe("fisher"), "merge", "parameters"), "x")


# Measured statistics


@pytest.mark.parametrize("how", ["exact", "empirical"])
def test_a_recipe_chooses_how_fisher_is_measured(place: Path, how: str):
    wanted = recipe("fisher", how=how)
    del wanted["merge"]["parameters"], wanted["merge"]["base"], wanted["sources"]["base"]
    for task in TASKS:
        made.write_csv(place / f"{task}.csv", made.rows(task, 12))
    merge(wanted, "out")
    assert told("out")["how"] == how and told("out")["data"]["labels"] == ("used" if how == "empirical" else "not used")
    heard = Heard()
    merge({**wanted, "data": without(dict(wanted["data"]), "how")}, "out", overwrite=True, watch=heard)
    assert told("out")["how"] == "sampled" and any("how: exact" in note for note in heard.notes)


def test_how_is_told_where_it_says_nothing(place: Path):
    assert "`how` must be one of exact, sampled" in wrong(recipe("fisher", how="exactly"))
    assert "`how` says nothing" in wrong(without(recipe("regmean", how="exact"), "merge", "parameters"))
    assert "`learn/adamerging` measures none" in wrong(recipe(how="exact"))


def test_texts_of_unequal_length_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made.language_models(tmp_path)
    monkeypatch.chdir(tmp_path)
    for task in TASKS:
        made.write_csv(tmp_path / f"{task}.csv", [{"text": f"{one['text']} {'red ' * n}"}
                                                  for n, one in enumerate(made.rows(task, 12))])  # fmt: skip
    wanted = recipe("fisher", kind="causal-lm")
    wanted["data"]["tasks"] = {task: f"{task}.csv" for task in TASKS}
    del wanted["merge"]["parameters"], wanted["merge"]["base"], wanted["sources"]["base"]
    merge(wanted, "out")
    assert told("out")["how"] == "sampled"


@pytest.mark.parametrize(("method", "keyword"), [("fisher", "fisher"), ("regmean", "grams"), ("regmean_pp", "grams")])
def test_statistics_are_measured_from_the_data(place: Path, method: str, keyword: str):
    wanted = recipe(method)
    del wanted["merge"]["parameters"], wanted["merge"]["base"], wanted["sources"]["base"]
    assert check(wanted, "out").steps
    done = merge(wanted, "out")
    account = told("out")
    assert account["measured"] == keyword and account["data"]["tasks"]["size"]["learning"] > 2
    files = {f"{keyword}-{task}.safetensors" for task in TASKS}
    assert {path.name for path in Path("out.learned").iterdir()} == {*files, "recipe.yaml"}
    plain = {
        name: (one + other) / 2
        for (name, one), other in zip(weights("colour").items(), weights("size").values(), strict=True)
    }
    assert any(not torch.allclose(one, plain[name]) for name, one in weights("out").items())
    heard = Heard()
    merge(wanted, "out", overwrite=True, watch=heard)
    assert any("used again" in note for note in heard.notes)
    for task in TASKS:
        (place / f"{task}.csv").unlink()
    assert replay("out", "again").digest == done.digest


def test_every_model_needs_a_task_to_be_measured_on(place: Path):
    wanted = recipe("fisher")
    del (
        wanted["merge"]["parameters"],
        wanted["data"]["tasks"]["size"],
        wanted["merge"]["base"],
        wanted["sources"]["base"],
    )
    assert "model `size` has no task of its name" in wrong(wanted)
