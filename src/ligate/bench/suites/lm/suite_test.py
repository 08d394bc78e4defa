"""A world of tiny language models: one training of seconds serves all tests of this file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml

from ligate.bench.kept import folder_digest
from ligate.bench.merging import in_memory
from ligate.bench.statistics import means
from ligate.bench.suite import OUTSIDE, TEST, VALIDATION, Request, Scale, Teller
from ligate.bench.suites.lm import network as lm_network
from ligate.bench.suites.lm import suite as lm
from ligate.bench.suites.lm.network import EMBEDDING, FILLER, HEAD, Sizes
from ligate.bench.suites.lm.school import School
from ligate.bench.suites.lm.texts import Document, Domain, split
from ligate.bench.suites.lm.world import LmWorld, bits, cut, per_byte
from ligate.core.errors import InputError, NonFiniteError
from ligate.verbs.merge import merge

TINY = Sizes(
    text=60_000,
    vocabulary=300,
    width=32,
    layers=1,
    window=32,
    batch=8,
    base_steps=30,
    expert_steps=10,
    joint_steps=10,
    validation=6,
    test=12,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def world(store: Path) -> LmWorld:
    return _world(store)


def _world(store: Path, seed: int = 0, tell: Teller | None = None) -> LmWorld:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm, "SCALES", {"smoke": Scale((0,), 2, TINY._asdict())})
        return lm.world(_request(store), seed, tell or Teller())


def _request(store: Path) -> Request:
    return Request("lm", "smoke", store / "out", store, (0,), 2)


def test_every_byte_of_a_text_is_counted_once(world: LmWorld):
    text = "Größe «é» 中 \t\n\n  def f(x):" * 5
    windows = cut([Document("a", text)], world.tokenizer, 1000, 1, {"a": 0})
    assert windows.sizes.tolist() == [len(text.encode())]


def test_the_mean_over_windows_is_bits_per_byte():
    needed, sizes = torch.tensor([100.0, 30.0, 7.0]).double(), torch.tensor([50.0, 10.0, 9.0]).double()
    assert float(per_byte(needed, sizes).mean()) == pytest.approx(137 / 69, rel=1e-12)


def test_equally_surprising_windows_of_any_length_do_not_spread():
    sizes = torch.tensor([50.0, 10.0, 9.0]).double()
    assert torch.allclose(per_byte(3 * sizes, sizes), torch.full((3,), 3.0).double())


def test_an_answer_is_what_transformers_computes(world: LmWorld):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = world.experts[0].folder
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    windows = world.windows[TEST]["python"]
    total = 0.0
    for row in windows.tokens:
        asked = row[row != FILLER]
        ids = torch.cat([torch.tensor([tokenizer.bos_token_id]), asked])[None]
        with torch.no_grad():
            loss = model(input_ids=ids, labels=ids).loss  # shifted inside: everything after the first is asked
        total += float(loss) * len(asked) / math.log(2)
    said = means(world.ask(world.state("python"), TEST))["python"]
    assert said == pytest.approx(total / float(windows.sizes.sum()), rel=5e-3)  # bfloat16 where it is fast


def test_experts_know_their_domain_better_than_the_base(world: LmWorld):
    base = means(world.ask(world.state("pretrained"), TEST))
    for name in ("python", "c"):
        assert means(world.ask(world.state(name), TEST))[name] < base[name] < 8


def test_one_voter_says_what_it_says_alone(world: LmWorld):
    alone = world.ask(world.state("c"), VALIDATION)
    for how in ("logits", "probabilities"):
        voted = world.vote(["c"], [2.0], how, VALIDATION)
        assert all(torch.allclose(voted[task], alone[task]) for task in alone)


def test_votes_mix_probabilities_or_logits(world: LmWorld):
    end, windows = 0, world.windows[TEST]["c"].tokens[:2, :5]
    networks = [world._with(world.state(name)) for name in ("python", "c")]
    with torch.no_grad():
        said = torch.stack([lm_network.logits(one, windows, end) for one in networks]).double()
    places = windows[:, :, None]
    probable = (0.25 * said[0].softmax(-1) + 0.75 * said[1].softmax(-1)).gather(2, places)
    assert torch.allclose(
        bits(networks, [1, 3], "probabilities", windows, end), -probable.log2().sum((1, 2)), rtol=1e-4
    )
    mixed = (0.25 * said[0] + 0.75 * said[1]).softmax(-1).gather(2, places)
    assert torch.allclose(bits(networks, [1, 3], "logits", windows, end), -mixed.log2().sum((1, 2)), rtol=1e-4)


def test_merges_in_memory_and_on_disk_are_asked_alike(world: LmWorld, tmp_path: Path):
    labels = [one.label for one in world.experts]
    folders = {one.label: str(one.folder) for one in world.experts}
    text = yaml.safe_dump({"sources": folders, "merge": {"method": "linear", "models": labels}})
    state = in_memory(text, {label: world.state(label) for label in labels})
    assert HEAD not in state
    (tmp_path / "recipe.yaml").write_text(text)
    merge(tmp_path / "recipe.yaml", out=tmp_path / "merged")
    expected = world.ask(state, TEST)
    found = world.ask(world.loaded(tmp_path / "merged"), TEST)
    assert all(torch.equal(found[task], expected[task]) for task in expected)
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    assert HEAD in whole
    again = world.ask(whole, TEST)
    assert all(torch.equal(again[task], expected[task]) for task in expected)


def test_a_head_that_left_the_embedding_is_refused(world: LmWorld):
    state = world.state("c")
    with pytest.raises(InputError, match="they are one tensor"):
        world.ask({**state, HEAD: state[EMBEDDING] + 1}, TEST)


def test_weights_of_another_network_are_refused(world: LmWorld):
    with pytest.raises(InputError, match="do not fit"):
        world.ask({"a": torch.zeros(2)}, TEST)


def test_a_network_that_answers_nan_is_told(world: LmWorld):
    state = world.state("c")
    with pytest.raises(NonFiniteError, match="paper test, task"):
        world.ask({**state, "model.norm.weight": torch.full_like(state["model.norm.weight"], torch.nan)}, TEST)


def test_a_second_run_finds_all_networks_and_a_killed_one_trains_what_is_missing(store: Path, world: LmWorld):
    before = folder_digest(world.experts[1].folder)
    trained: list[str] = []
    again = _world(store, tell=Teller(counts=lambda what, done, total: trained.append(what)))
    assert not trained and again.digest == world.digest
    (again.experts[1].folder / "trained.json").unlink()
    anew = _world(store, tell=Teller(counts=lambda what, done, total: trained.append(what)))
    assert set(trained) == {"seed 0: c"}
    assert folder_digest(anew.experts[1].folder) == before


def test_the_key_follows_data_seed_and_training_but_not_the_questions():
    documents = split(Document(str(number), "owls fly") for number in range(9))
    school = School([Domain("c", documents)], TINY, 0, Path(), Teller())
    same = School(school.domains, TINY._replace(test=99), 0, Path(), Teller())
    others = [
        School([Domain("c", {"train": documents["test"], "test": [], "validation": []})], TINY, 0, Path(), Teller()),
        School(school.domains, TINY, 1, Path(), Teller()),
        School(school.domains, TINY._replace(expert_steps=11), 0, Path(), Teller()),
    ]
    assert same.key == school.key
    assert len({school.key, *(other.key for other in others)}) == 4


def test_english_has_no_expert_and_is_asked_outside():
    from itertools import pairwise

    domains = [Domain(name, split([])) for name in ("english", "german", "python")]
    base, *experts, joint = School(domains, TINY, 0, Path(), Teller()).courses
    assert base.shares == {"german": 0.25, "python": 0.25, "english": 0.5}
    assert [each.label for each in experts] == ["german", "python"] and "english" not in joint.shares
    assert all(sum(a.shares.values()) == sum(b.shares.values()) for a, b in pairwise([base, *experts, joint]))


def test_papers_ask_for_forgetting_where_no_expert_is(world: LmWorld):
    from ligate.bench.suite import Task

    text = "owls fly at night over quiet fields and listen for mice " * 5
    documents = [Document(str(number), text) for number in range(40)]
    domains = [Domain("english", split(documents)), Domain("c", split(documents))]
    found = lm.papers(domains, [Task("english", None), Task("c", "c")], world.tokenizer, TINY)
    assert set(found) == {VALIDATION, TEST, OUTSIDE}
    assert set(found[OUTSIDE]) == {"english"} and set(found[TEST]) == set(found[VALIDATION]) == {"c"}
    assert torch.equal(found[OUTSIDE]["english"].sources, found[TEST]["c"].sources)  # parallel texts


def test_a_pretrained_network_from_elsewhere_is_refused(tmp_path: Path):
    request = Request("lm", "smoke", tmp_path, tmp_path, (0,), 2, model="somewhere")
    with pytest.raises(InputError, match="trains its own networks"):
        lm.world(request, 0, Teller())


def test_a_contest_is_played_to_its_end_and_ranks_nothing(store: Path, world: LmWorld, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lm, "SCALES", {"smoke": Scale((0,), 2, TINY._asdict())})
    results = lm.play(_request(store)._replace(methods=()), Teller())
    assert not results.ranks and not results.metric.higher
    assert not [cell.failed for row in results.rows for cell in row.cells if cell.failed]
    scores = {row.id: means(row.cells[0].answers[TEST]) for row in results.rows}
    assert scores["pretrained"] == means(world.ask(world.state("pretrained"), TEST))
    assert scores["individual"]["c"] == means(world.ask(world.state("c"), TEST))["c"]
    assert {"average", "joint", "ensemble-logits", "ensemble-probabilities"} <= set(scores)
    assert results.facts["bytes per token"].startswith("python ")
