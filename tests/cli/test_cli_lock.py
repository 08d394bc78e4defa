"""`ligate lock`, as somebody at a terminal meets it."""

from __future__ import annotations

import pytest
import torch

transformers = pytest.importorskip("transformers")


@pytest.fixture
def bert(desk):
    """The current folder, with bert/ in it."""
    sizes = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 1}
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**sizes, num_attention_heads=4))
    model.save_pretrained(desk / "bert")
    return desk


def test_a_model_is_locked_recognised_undone_and_unlocked(bert, fine):
    ran = fine("lock", "bert", "locked", "--key", "key", "--seed", 1)
    assert "invertible" in ran.out and "8 heads locked" in ran.out and "key: key" in ran.out
    assert "outputs moved by" in ran.out and "in bfloat16 by" in ran.out
    assert "locked" in fine("verify", "locked").out
    ran = fine("lock", "--check", "locked", "--reference", "bert")
    assert "100% of the heads are locked: locked" in ran.out and ran.out.endswith("locked: locked\n")
    assert "no lock was recognised" in fine("lock", "--check", "bert", "--reference", "bert").out
    ran = fine("lock", "--undo", "locked", "undone", "--reference", "bert", "--original", "bert")
    assert "distance from bert" in ran.out and "undone: the model as the last attack left it" in ran.out
    ran = fine("lock", "--unlock", "locked", "--key", "key", "back")
    assert "2 groups of units are back where they were" in ran.out
    fine("verify", "back")


def test_without_a_key_nobody_can_take_it_off_and_that_is_said(bert, fine):
    ran = fine("lock", "bert", "locked", "--no-run")
    assert "nobody can take this lock off exactly" in ran.err and "no key is kept" in ran.out
    assert "outputs moved" not in ran.out


def test_reports_are_json(bert, fine):
    told = fine("lock", "bert", "locked", "--key", "key", "--all", "--json").json
    assert told["heads"] == 8 and told["change"]["stored"] < 1e-5 and told["key"] == "key"
    assert {group["kind"] for group in told["groups"]} == {"invertible", "permutation"}
    told = fine("lock", "--check", "bert", "--json").json
    assert told["beside"] is None and [one["kind"] for one in told["signs"]] == ["invertible"]
    told = fine("lock", "--undo", "locked", "--reference", "bert", "--by", "heads", "--json").json
    assert told["out"] is None and told["attacks"][0]["by"] == "heads" and told["attacks"][0]["cosine"] is None
    assert fine("lock", "--unlock", "locked", "back", "--key", "key", "--json").json["out"] == "back"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("bert",), "OUT is missing"),
        (("bert", "out", "--check"), "`lock --check` takes no OUT"),
        (("bert", "--check", "--undo"), "choose one of"),
        (("bert", "--undo"), "--reference BASE is missing"),
        (("bert", "out", "--unlock"), "--key FILE is missing"),
        (("bert", "out", "--unlock", "--key", "k", "--seed", 1), "takes no --seed"),
        (("bert", "out", "--reference", "bert"), "`lock` alone takes no --reference"),
        (("bert", "out", "--undo", "--reference", "bert", "--by", "force"), "there is no attack `force`"),
    ],
)
def test_what_does_not_go_together_is_refused(bert, ligate, words, told):
    ran = ligate("lock", *words)
    assert ran.code == 2 and told in ran.err and not (bert / "out").exists()


def test_what_is_no_network_is_told(desk, ligate):
    ran = ligate("lock", "base", "out")
    assert (ran.code == 3 and "made-up" in ran.err) or "transformers" in ran.err
    assert ligate("lock", "nowhere", "out").code == 3
    assert not (desk / "out").exists()


def test_a_lock_cannot_be_made_again_from_its_record(bert, fine, ligate):
    fine("lock", "bert", "locked", "--key", "key", "--no-run")
    fine("lock", "--unlock", "locked", "back", "--key", "key")
    for folder, word in (("locked", "locked"), ("back", "unlocked")):
        ran = ligate("replay", folder, "again")
        assert ran.code == 3 and f"of a model that was {word}" in ran.err and f"`ligate verify {folder}`" in ran.err
        assert not (bert / "again").exists()
