from __future__ import annotations

import pytest
import torch

from ligate.core.errors import LigateError
from ligate.core.method import Card
from ligate.engine.plan import Operand, Plan
from ligate.io.memory import MemorySource
from ligate.methods.merge.linear import linear
from ligate.methods.merge.passthrough import passthrough
from ligate.methods.merge.ties import ties

from .parse import parse_text
from .resolve import resolve

CARDS: dict[str, Card] = {f.__name__: f.card for f in (linear, passthrough, ties)}  # type: ignore[attr-defined]
HEAD = "sources: {a: ./a, b: ./b}\nmerge:\n  method: passthrough\n  slices:\n"


def decoder(layers: int) -> dict[str, torch.Tensor]:
    state = {"model.embed_tokens.weight": torch.zeros(8, 2)}
    state |= {f"model.layers.{n}.{part}.weight": torch.zeros(2, 2) for n in range(layers) for part in ("attn", "mlp")}
    return state | {"model.norm.weight": torch.zeros(2), "lm_head.weight": torch.zeros(8, 2)}


def two_stacks() -> dict[str, torch.Tensor]:
    names = [f"model.{stack}.layers.{n}.fc.weight" for stack in ("encoder", "decoder") for n in range(4)]
    names = ["model.encoder.conv1.weight", *names, "model.encoder.layer_norm.weight", "model.decoder.layer_norm.weight"]
    return {name: torch.zeros(2, 2) for name in names}


def planned(text: str, **states: dict[str, torch.Tensor]) -> Plan:
    recipe = parse_text(text, "r.yaml")
    sources = {label: MemorySource(label, states.get(label, decoder(4))) for label in recipe.sources}
    return resolve(recipe, recipe.steps[-1], sources, CARDS.__getitem__)


def told(text: str, **states: dict[str, torch.Tensor]) -> str:
    with pytest.raises(LigateError) as error:
        planned(text, **states)
    return str(error.value)


def came_from(plan: Plan) -> dict[str, list[str]]:
    return {out.name: [f"{plan.sources[o.source]}:{o.name}" for o in out.operands] for out in plan.outs}


def test_layers_are_renumbered_one_slice_after_another():
    plan = planned(HEAD + "    - layers: {a: [0, 3]}\n    - layers: {b: [1, 4]}\n")
    found = came_from(plan)
    layers = [found[f"model.layers.{n}.attn.weight"][0] for n in range(6)]
    assert layers == [
        f"{label}:model.layers.{n}.attn.weight" for label, n in zip("aaabbb", (0, 1, 2, 1, 2, 3), strict=True)
    ]
    assert len(plan.outs) == 6 * 2 + 3


def test_embeddings_come_from_the_first_slice_norm_and_head_from_the_last():
    found = came_from(planned(HEAD + "    - layers: {a: [0, 3]}\n    - layers: {b: [1, 4]}\n"))
    assert found["model.embed_tokens.weight"] == ["a:model.embed_tokens.weight"]
    assert found["model.norm.weight"] == ["b:model.norm.weight"]
    assert found["lm_head.weight"] == ["b:lm_head.weight"]


def test_the_result_keeps_the_order_of_a_checkpoint():
    names = [out.name for out in planned(HEAD + "    - layers: {a: [0, 1]}\n    - layers: {b: [3, 4]}\n").outs]
    assert names[0] == "model.embed_tokens.weight"
    assert names[-2:] == ["model.norm.weight", "lm_head.weight"]


def test_every_input_tensor_is_used_or_listed_as_dropped():
    plan = planned(HEAD + "    - layers: {a: [0, 3]}\n    - layers: {b: [1, 4]}\n")
    used = {operand for out in plan.outs for operand in out.operands}
    held = {Operand(index, name) for index in range(2) for name in decoder(4)}
    assert used | set(plan.dropped) == held
    assert not used & set(plan.dropped)
    assert Operand(0, "model.layers.3.mlp.weight") in plan.dropped


def test_patterns_look_at_the_result_unless_they_ask_for_the_source():
    slices = "    - layers: {a: [0, 2]}\n    - layers: {b: [1, 3]}\n"
    parameters = '  parameters: {scale: [{MATCH: "*layers.2.*", value: 0.5}, 1.0]}\n'
    for key, scales in (("match", [1, 1, 0.5, 1]), ("match_source", [1, 1, 1, 0.5])):
        outs = planned(HEAD + slices + parameters.replace("MATCH", key)).outs
        assert [out.params["scale"] for out in outs if "mlp" in out.name] == [(scale,) for scale in scales]


def test_models_of_one_depth_may_be_merged_layer_by_layer():
    text = HEAD.replace("passthrough", "linear") + (
        "    - {layers: {a: [0, 2], b: [2, 4]}, parameters: {weight: {a: [0, 1]}}}\n"
        "    - {layers: {a: [3, 4]}, method: passthrough}\n"
    )
    plan = planned(text)
    outs = {out.name: out for out in plan.outs}
    assert outs["model.layers.1.mlp.weight"].tuned == (
        Operand(0, "model.layers.1.mlp.weight"),
        Operand(1, "model.layers.3.mlp.weight"),
    )
    assert outs["model.layers.0.mlp.weight"].params["weight"] == (0, 1)
    assert outs["model.layers.1.mlp.weight"].params["weight"] == (1, 1)
    assert outs["model.layers.2.mlp.weight"].method == "merge/passthrough"


def test_a_base_without_range_takes_that_of_the_models():
    text = "sources: {z: ./z, a: ./a, b: ./b}\nmerge:\n  method: ties\n  base: z\n  slices:\n"
    plan = planned(text + "    - layers: {a: [1, 3], b: [1, 3]}\n")
    out = next(out for out in plan.outs if out.name == "model.layers.0.mlp.weight")
    assert [plan.sources[o.source] + o.name[12:15] for o in out.operands] == ["z.1.", "a.1.", "b.1."]
    assert out.base is not None
    message = told(text + "    - layers: {a: [1, 3], b: [2, 4]}\n")
    assert "r.yaml:6: which layers of the base `z` belong to this slice?" in message


def test_each_stack_is_cut_by_its_own_slices():
    text = (
        HEAD + "    - {layers: {a: [0, 3]}, stack: encoder}\n    - {layers: {b: [1, 2]}, stack: model.decoder.layers}\n"
    )
    found = came_from(planned(text, a=two_stacks(), b=two_stacks()))
    assert [name for name in found if "layers." in name] == [
        *(f"model.encoder.layers.{n}.fc.weight" for n in range(3)),
        "model.decoder.layers.0.fc.weight",
    ]
    assert found["model.encoder.layer_norm.weight"] == ["a:model.encoder.layer_norm.weight"]
    assert found["model.decoder.layer_norm.weight"] == ["b:model.decoder.layer_norm.weight"]


def test_a_stack_that_is_not_cut_stays_whole():
    text = HEAD.replace(", b: ./b", "") + "    - {layers: {a: [0, 2]}, stack: decoder}\n"
    found = came_from(planned(text, a=two_stacks()))
    assert found["model.encoder.layers.3.fc.weight"] == ["a:model.encoder.layers.3.fc.weight"]


def test_what_the_first_layer_holds_for_all_goes_with_the_first_place():
    bias = "model.layers.0.attn.relative_attention_bias.weight"
    state = decoder(4) | {bias: torch.zeros(4, 2)}
    text = HEAD + "    - layers: {a: [1, 3]}\n    - layers: {b: [0, 2]}\n"
    found = came_from(planned(text, a=state, b=state))
    assert found[bias] == [f"a:{bias}"]
    assert [name for name in found if "relative" in name] == [bias]
    everywhere = state | {bias.replace(".0.", f".{n}."): torch.zeros(4, 2) for n in range(1, 4)}
    found = came_from(planned(text, a=everywhere, b=everywhere))
    assert found[bias] == ["a:model.layers.1.attn.relative_attention_bias.weight"]
    assert sum("relative" in name for name in found) == 4


def test_ranges_between_models_of_different_depth_are_allowed():
    plan = planned(HEAD + "    - layers: {a: [0, 2]}\n    - layers: {b: [5, 6]}\n", b=decoder(6))
    assert came_from(plan)["model.layers.2.mlp.weight"] == ["b:model.layers.5.mlp.weight"]


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        ("    - layers: {a: [3, 1]}\n", "r.yaml:5: layers [3, 1) of `a`: the first must lie before the end"),
        ("    - layers: {a: [0, 9]}\n", "r.yaml:5: layers [0, 9) of `a`: it has 4 in `model.layers`"),
        ("    - layers: {a: [-1, 2]}\n", "r.yaml:5: layers [-1, 2) of `a`"),
        ("    - layers: {a: [0, 2], b: [0, 2]}\n", "`merge/passthrough` merges 1 model, not 2"),
        ("    - {layers: {a: [0, 2], b: [0, 3]}, method: linear}\n", "different numbers of layers: `a` 2, `b` 3"),
        ("    - {layers: {a: [0, 2]}, stack: encoder}\n", "no stack of layers is called `encoder`"),
        ("    - layers: {a: [0, 2]}\n      parameters: {scael: 1}\n", "r.yaml:6: `merge/passthrough` has no parameter"),
        ("    - layers: {a: [0]}\n", "r.yaml:5: layers of `a` must be [first, end]"),
        ("    - layers: {a: [0, 2]}\n    - layers: {c: [0, 2]}\n", "r.yaml:6: `c` is no source"),
    ],
)
def test_slices_that_cannot_be_are_refused(slices, words):
    text = HEAD + slices
    assert words in told(text if "b:" in slices else text.replace(", b: ./b", ""))


def test_bad_ranges_of_several_slices_are_told_together():
    message = told(HEAD + "    - layers: {a: [0, 9]}\n    - layers: {b: [7, 8]}\n")
    assert "[0, 9) of `a`" in message
    assert "[7, 8) of `b`" in message


def test_several_stacks_must_be_named():
    message = told(HEAD + "    - layers: {a: [0, 2]}\n    - layers: {b: [0, 2]}\n", a=two_stacks(), b=two_stacks())
    assert "the models have several stacks of layers: model.encoder.layers, model.decoder.layers" in message


def test_layers_that_do_not_fit_name_the_layer_of_the_result():
    narrow = decoder(4) | {"model.layers.3.mlp.weight": torch.zeros(2, 3)}
    text = HEAD.replace("passthrough", "linear") + "    - layers: {a: [0, 4], b: [0, 4]}\n"
    assert "model b, memory: model.layers.3.mlp.weight: shape [2, 3] here" in told(text, b=narrow)
