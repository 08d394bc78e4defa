"""`ligate align`, as somebody at a terminal meets it."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from running import ligate as ligate_process

pytest.importorskip("scipy")

NETWORK = """
import torch
from torch import nn

def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), (torch.zeros(3, 4),)
"""
GROUPS = 'groups:\n  - {name: hidden, places: ["0.weight[0]", "0.bias[0]", "2.weight[1]"]}\n'
WRONG = 'groups:\n  - {name: hidden, places: ["0.weight[0]", "2.weight[1]"]}\n'


@pytest.fixture
def mlp(desk):
    """one.safetensors, two.safetensors (the same in another order), networks.py, groups.yaml and wrong.yaml."""
    torch.manual_seed(0)
    one = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).state_dict()
    order = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    two = {"0.weight": one["0.weight"][order], "0.bias": one["0.bias"][order], "2.weight": one["2.weight"][:, order]}
    save_file(dict(one), desk / "one.safetensors")
    save_file({**two, "2.bias": one["2.bias"]}, desk / "two.safetensors")
    (desk / "networks.py").write_text(NETWORK)
    (desk / "groups.yaml").write_text(GROUPS)
    (desk / "wrong.yaml").write_text(WRONG)
    sys.modules.pop("networks", None)
    yield desk
    sys.modules.pop("networks", None)


ONE, TWO, MODEL = "one.safetensors", "two.safetensors", ("--model", "networks:mlp")


def test_a_model_is_aligned_verified_and_used_again(mlp, fine):
    ran = fine("align", ONE, TWO, "out", *MODEL)
    assert "0.weight[0]" in ran.out and "87.5%" in ran.out  # unit 1 is in its place
    assert "after" in ran.err and "two is aligned to one" in ran.err
    assert sorted(path.name for path in (mlp / "out").iterdir()) == [
        "README.md",
        "alignment.safetensors",
        "ligate.json",
        "out.safetensors",
    ]
    before, after = load_file(ONE), load_file("out/out.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    fine("verify", "out")
    fine("replay", "out", "again")
    ran = fine("align", ONE, TWO, "used", "--use", "out/alignment.safetensors")
    assert (mlp / "used" / "used.safetensors").read_bytes() == (mlp / "out" / "out.safetensors").read_bytes()
    assert fine("merge", "--method", "linear", ONE, "out", "-o", "merged").code == 0


def test_models_that_need_no_alignment_are_told_so(mlp, fine):
    ran = fine("align", ONE, ONE, "out", "--groups", "groups.yaml")
    assert "the two models are in the same coordinates already" in ran.out
    assert "fine-tunes of one base need no alignment" in ran.err
    assert "0.0%" in ran.out


def test_the_report_is_json(mlp, fine):
    told = fine("align", ONE, TWO, "out", "--groups", "groups.yaml", "--json").json
    assert told["method"] == "weights" and told["after"] == pytest.approx(1) and not told["same"]
    assert told["groups"] == [
        {"name": "hidden", "kind": "permutation", "units": 8, "copies": 1, "places": 3, "moved": 0.875}
    ]
    record = json.loads((mlp / "out" / "ligate.json").read_text())
    assert record["sources"]["two"]["alignment"]["moved"] == {"hidden": 0.875}


def test_groups_are_printed(mlp, fine):
    ran = fine("align", ONE, "--print", *MODEL)
    assert "8 units, permutation" in ran.out and "    2.weight[1]" in ran.out
    told = fine("align", ONE, "--print", *MODEL, "--json").json
    assert told["places"] == [["0.weight[0]", "0.bias[0]", "2.weight[1]"]]
    assert "2.bias" in told["fixed"]


def test_a_check_names_what_fails_and_ends_with_1(mlp, fine, ligate):
    ran = fine("align", ONE, "--check", *MODEL)
    assert "every group keeps the function" in ran.out
    ran = fine("align", ONE, "--check", "--json", *MODEL)
    assert ran.json["groups"][0]["difference"] < 1e-12


def test_a_check_of_wrong_groups_fails(mlp, ligate):
    ran = ligate("align", ONE, "--check", "--groups", "wrong.yaml", *MODEL)
    assert ran.code == 1
    assert "these groups do not keep the function: hidden" in ran.out


def test_a_mistake_is_one_message_and_leaves_nothing(mlp, ligate):
    for words, code, told in (
        ((ONE, TWO), 2, "two models and an output"),
        ((ONE, TWO, "--print"), 2, "looks at one model"),
        ((ONE, TWO, "out"), 3, "--groups FILE"),
        ((ONE, TWO, "out", "--method", "magic", *MODEL), 2, "no method"),
        ((ONE, TWO, "out", "--use", ONE), 3, "no alignment"),
        ((ONE, "base", "out", *MODEL), 3, "base"),
        ((ONE, TWO, "base", "--groups", "groups.yaml"), 5, "already holds files"),
    ):
        ran = ligate("align", *words)
        assert (ran.code, told in ran.err) == (code, True), ran.err
    assert not list(mlp.glob("out*"))


def test_an_earlier_result_is_replaced_on_request(mlp, fine, ligate):
    fine("align", ONE, TWO, "out", "--groups", "groups.yaml")
    assert ligate("align", ONE, TWO, "out", "--groups", "groups.yaml").code == 5
    fine("align", ONE, TWO, "out", "--groups", "groups.yaml", "--overwrite")
    assert ligate("align", ONE, TWO, "out", "--use", "out", "--overwrite").code == 0


def test_a_process_of_its_own_loads_what_it_needs(mlp):
    """Torch is loaded late there, and transformers in the midst of it."""
    import numpy as np

    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.BertModel(config).save_pretrained(mlp / "bert")
    assert "invertible" in ligate_process(["align", "bert", "--print"], mlp).stdout
    assert "every group keeps" in ligate_process(["align", "bert", "--check"], mlp).stdout
    np.savez(mlp / "inputs.npz", input_ids=np.arange(36).reshape(9, 4) % 9)
    words = ["align", "bert", "bert", "out", "--method", "activations", "--data", "inputs.npz"]
    assert "in the same coordinates already" in ligate_process(words, mlp).stdout
