from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ligate.align.straight_through import Search
from ligate.bench.merging import in_memory
from ligate.bench.results import Results, load, save
from ligate.bench.suite import TEST, Request, Teller
from ligate.bench.suites.digits import aligners, networks, suite
from ligate.bench.suites.digits.aligners import ALIGNERS, Alignment
from ligate.bench.suites.digits.data import digits
from ligate.bench.suites.digits.networks import Architecture, Lesson, logits, train
from ligate.bench.suites.digits.paths import SHARES, between, walk
from ligate.bench.weights import read_weights
from ligate.core.errors import RecipeError

pytest.importorskip("sklearn")


def request(folder: Path, store: Path, **further: object) -> Request:
    return Request("digits", "smoke", folder, store, (0, 1), 0)._replace(**further)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module", autouse=True)
def short_searches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aligners, "SEARCH", Search(steps=3, rate=0.1))
        yield


@pytest.fixture(scope="module")
def played(store: Path) -> Results:
    return suite.play(request(store / "out", store), Teller())


def accuracy(results: Results, row: str, task: str, paper: str = TEST) -> float:
    found = results.row(row)
    assert found is not None
    return float(torch.stack([cell.answers[paper][task] for cell in found.done]).mean())


def test_good_networks_have_a_barrier_between_them_and_vote_well(played: Results):
    midpoint = played.row("midpoint")
    assert midpoint is not None and len(midpoint.done) == 2
    for task, lost in (("mlp-32x3", 0.3), ("mlp-128x2", 0.1), ("mlp-128x3", 0.1)):
        assert min(cell.extras[f"barrier {task}"] for cell in midpoint.done) >= 0.3
        parents = accuracy(played, "parents", task)
        assert parents > 0.9
        assert accuracy(played, "midpoint", task) < parents - lost
        assert accuracy(played, "ensemble-logits", task) > parents - 0.01
        assert accuracy(played, "ensemble-probabilities", task) > parents - 0.01


def test_networks_of_different_widths_fuse_where_padding_fails_and_are_as_good_after_a_moment(played: Results):
    task = "mlp-128x3 + mlp-96x3"
    parents = accuracy(played, "parents", task, suite.WIDTHS)
    for row in ("ot-fusion", "ot-fusion-narrow", "ot-fusion-repair"):
        assert accuracy(played, row, task, suite.WIDTHS) > accuracy(played, "padded", task, suite.WIDTHS) + 0.15
        assert accuracy(played, row, task, suite.WIDTHS) > parents - 0.05
        assert accuracy(played, f"{row.removesuffix('-repair')}-tuned", task, suite.WIDTHS) > parents - 0.01


def test_networks_of_different_widths_are_asked_and_vote_but_have_no_midpoint(played: Results):
    task = "mlp-128x3 + mlp-96x3"
    assert accuracy(played, "parents", task, suite.WIDTHS) > 0.9
    assert accuracy(played, "ensemble-logits", task, suite.WIDTHS) > 0.9
    midpoint = played.row("midpoint")
    assert midpoint is not None and all(suite.WIDTHS not in cell.answers for cell in midpoint.done)


def test_paths_begin_and_end_at_the_parents(played: Results):
    for task in played.papers[TEST].sources:
        walks = played.drawings["paths"][task]["midpoint"]
        assert [each["seed"] for each in walks] == [0, 1]
        assert all(len(each["loss"]) == len(each["accuracy"]) == len(SHARES) for each in walks)
        ends = sum(each["accuracy"][0] + each["accuracy"][-1] for each in walks) / 4
        assert ends == pytest.approx(accuracy(played, "parents", task), abs=1e-12)


def test_a_second_run_trains_nothing_and_says_the_same(
    played: Results, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def trains(*given: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(suite, "train", trains)
    again = suite.play(request(tmp_path, store), Teller())
    assert again.drawings == played.drawings and again.digest == played.digest
    for row in played.rows:
        other = again.row(row.id)
        assert other is not None and [cell.extras for cell in other.cells] == [cell.extras for cell in row.cells]
        for one, two in zip(row.cells, other.cells, strict=True):
            assert all(torch.equal(each, two.answers[p][t]) for p, a in one.answers.items() for t, each in a.items())


def test_results_can_be_saved_and_loaded(played: Results, tmp_path: Path):
    save(played, tmp_path)
    found = load(tmp_path)
    assert found.drawings == played.drawings
    assert accuracy(found, "parents", "mlp-128x3 + mlp-96x3", suite.WIDTHS) > 0.9


def test_an_aligner_becomes_a_row_and_its_failure_a_failed_cell(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def nowhere(a: suite.State, b: suite.State, architecture: Architecture, images: torch.Tensor) -> suite.State:
        return a

    def breaks(a: suite.State, b: suite.State, architecture: Architecture, images: torch.Tensor) -> suite.State:
        raise ValueError("no permutation")

    more = {**ALIGNERS, "same": Alignment("same", nowhere), "broken": Alignment("broken", breaks)}
    more["vits"] = Alignment("vits", nowhere, kinds=("vit",))
    monkeypatch.setattr(suite, "ALIGNERS", more)
    results = suite.play(request(tmp_path, store, seeds=(0,), keep=True), Teller())
    same, broken, vits = (results.row(name) for name in ("same", "broken", "vits"))
    assert same and broken and vits
    assert all(value == pytest.approx(0, abs=1e-6) for value in same.cells[0].extras.values())
    assert broken.cells[0].failed == "ValueError: no permutation"
    assert not vits.cells[0].answers[TEST]
    assert (tmp_path / "merged" / "seed-0" / "midpoint" / "mlp-32x3" / "model.safetensors").is_file()


def test_matched_units_and_their_spread_put_right_each_lower_the_barrier(played: Results):
    def barrier(row: str) -> float:
        found = played.row(row)
        assert found is not None and len(found.done) == 2
        return sum(cell.extras["barrier mlp-32x3"] for cell in found.done) / 2

    for by in ("weight-matching", "activation-matching"):
        assert barrier("midpoint") > 3 * barrier(by) and barrier(by) > barrier(f"{by}-repair") + 0.02
        assert accuracy(played, f"{by}-repair", "mlp-32x3") > 0.85
    walks = played.drawings["paths"]["mlp-32x3"]
    ends = {name: [(each["loss"][0], each["loss"][-1]) for each in walks[name]] for name in walks}
    assert ends["repair"] == ends["midpoint"] and ends["weight-matching-repair"] == ends["weight-matching"]


def test_a_search_for_maps_comes_closer_than_matching(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(aligners, "SEARCH", aligners.SEARCH._replace(steps=20))
    rows = ["weight-matching-repair", "straight-through-repair"]
    results = suite.play(request(tmp_path, store, seeds=(0,), methods=rows), Teller())
    matched, searched = (results.row(name) for name in rows)
    assert matched and searched
    barriers = [row.cells[0].extras["barrier mlp-32x3"] for row in (matched, searched)]
    assert barriers[1] < barriers[0]
    assert accuracy(results, "straight-through-repair", "mlp-32x3") > 0.85


def test_what_mends_is_asked_between_the_ends_and_the_mended_is_kept(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def silent(a: suite.State, b: suite.State, architecture: Architecture, images: torch.Tensor) -> aligners.Mend:
        return lambda state, share: {name: share * torch.ones_like(value) for name, value in state.items()}

    monkeypatch.setattr(suite, "ALIGNERS", {"silent": Alignment("silent", aligners.as_it_is, mend=silent)})
    results = suite.play(request(tmp_path, store, seeds=(0,), methods=["silent"], keep=True), Teller())
    for walks in results.drawings["paths"].values():
        first, *inner, last = walks["silent"][0]["accuracy"]
        assert min(first, last) > 0.85 and max(inner) < 0.2
    kept = read_weights(tmp_path / "merged" / "seed-0" / "silent" / "mlp-32x3")
    assert all(bool((value == 0.5).all()) for value in kept.values())


def test_what_the_suite_does_not_have_is_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match="'ties'"):
        suite.play(request(tmp_path, tmp_path, methods=["ties"]), Teller())
    with pytest.raises(RecipeError, match="trains its own networks"):
        suite.play(request(tmp_path, tmp_path, model="somewhere"), Teller())


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_every_kind_of_network_learns(kind: suite.Kind):
    architecture = Architecture(kind, 16, 2)
    state = train(architecture, None, digits()["train"], Lesson(4, 5e-3), seed=0)
    test = digits()["test"]
    assert (logits(architecture, state, test.images).argmax(1) == test.labels).double().mean() > 0.4  # chance: 0.1


def test_another_seed_lesson_data_or_code_is_another_network(monkeypatch: pytest.MonkeyPatch):
    keys = [networks.training_key(lesson, seed) for lesson in (Lesson(1, 1e-3), Lesson(2, 1e-3)) for seed in (0, 1)]
    for name in ("digest", "code_digest"):
        monkeypatch.setattr(networks, name, lambda *given: "changed")  # type: ignore[misc]
        keys.append(networks.training_key(Lesson(1, 1e-3), 0))
    assert len(set(keys)) == len(keys) == 6


def test_permuted_units_compute_the_same_and_still_have_a_barrier():
    architecture = Architecture("mlp", 32, 1)
    data, test = digits()["train"], digits()["test"]
    a = train(architecture, None, data, Lesson(15, 3e-3), seed=0)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    mixed = {**a, "hidden.0.weight": a["hidden.0.weight"][order], "hidden.0.bias": a["hidden.0.bias"][order]}
    b = {**mixed, "head.weight": a["head.weight"][:, order]}
    path = walk(a, b, lambda state: logits(architecture, state, test.images), test.labels)
    assert torch.equal(path.right[0], path.right[-1])
    assert path.losses[0] == pytest.approx(path.losses[-1], abs=1e-5)
    assert path.barrier > 0.1


def test_the_midpoint_is_the_average_that_a_merge_gives():
    a, b = (train(Architecture("mlp", 8, 1), None, digits()["train"], Lesson(1, 1e-3), seed=n) for n in (0, 1))
    text = "sources: {a: a, b: b}\nmerge: {method: linear, models: [a, b]}\n"
    merged = in_memory(text, {"a": a, "b": b})
    assert all(torch.allclose(value, merged[name], atol=1e-7) for name, value in between(a, b, 0.5).items())
