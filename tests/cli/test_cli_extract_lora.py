"""`ligate extract-lora`, as somebody at a terminal meets it."""

from __future__ import annotations

import json


def test_a_merge_becomes_an_adapter_that_merges_back(desk, fine):
    fine("merge", "recipe.yaml", "merged", "--dtype", "float32")
    ran = fine("extract-lora", "merged", "base", "adapter", "--rank", 16, "--whole", "norm.*")
    assert "it lacks 0.00% of the change" in ran.out
    assert "embed.weight" in ran.out
    assert sorted(path.name for path in (desk / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "extraction.json",
    ]
    fine("merge", "--method", "linear", "base+adapter", "-o", "again", "--dtype", "float32", "--set", "weight=1")
    found = fine("diff", "merged", "again", "--json").json
    assert found["total"]["relative"] < 1e-6


def test_the_report_is_json_and_names_every_error(desk, fine):
    ran = fine("extract-lora", "a", "base", "adapter", "--energy", 0.5, "--include", "*.up.weight", "--json")
    assert {one["name"] for one in ran.json["tensors"]} == {f"layers.{i}.up.weight" for i in range(3)}
    assert all(0 < one["error"] <= 0.5**0.5 and one["kept"] >= 0.5 for one in ran.json["tensors"])
    told = json.loads((desk / "adapter" / "extraction.json").read_text())
    assert told["tensors"] == ran.json["tensors"]
    assert told["asked"] == {"rank": None, "energy": 0.5, "dtype": "float32"}


def test_a_mistake_is_one_message_and_leaves_nothing(desk, ligate):
    ran = ligate("extract-lora", "a", "base", "adapter")
    assert ran.code == 2
    assert "--rank 32" in ran.err
    ran = ligate("extract-lora", "base", "base", "adapter", "--rank", 2)
    assert ran.code == 3
    assert "nothing to extract" in ran.err
    ran = ligate("extract-lora", "a", "bass", "adapter", "--rank", 2)
    assert ran.code == 3
    assert "base" in ran.err
    assert not list(desk.glob("adapter*"))
