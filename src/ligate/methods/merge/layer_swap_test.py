from __future__ import annotations

import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.engine.plan import Operand, Out, Plan
from ligate.engine.run import run
from ligate.io.memory import MemorySink, MemorySource
from ligate.methods.merge.layer_swap import layer_swap

LAYERS = 4
SHAPES = {
    "model.embed_tokens.weight": (20, 6),
    **{f"model.layers.{n}.{part}.weight": (6, 6) for n in range(LAYERS) for part in ("attn", "mlp")},
    "model.norm.weight": (6,),
    "model.norm.bias": (6,),
}
CHANGED = {  # length of the task vector of a and b in each block, all else equal
    "model.embed_tokens": (1.0, 3.0),
    "model.layers.0": (4.0, 1.0),
    "model.layers.1": (1.0, 2.0),
    "model.layers.2": (0.5, 30.0),
    "model.layers.3": (2.0, 1.0),
    "model.norm": (0.1, 0.01),
}


def block_of(name: str) -> str:
    return ".".join(name.split(".")[:3]) if "layers" in name else name.rpartition(".")[0]


def models() -> tuple[dict[str, torch.Tensor], ...]:
    draw = torch.Generator().manual_seed(1)
    base = {name: torch.randn(shape, generator=draw, dtype=torch.float64) for name, shape in SHAPES.items()}
    found = [base]
    for k in range(2):
        change = {name: torch.randn(shape, generator=draw, dtype=torch.float64) for name, shape in SHAPES.items()}
        squares = {block: sum(x.square().sum() for n, x in change.items() if block_of(n) == block) for block in CHANGED}
        unit = {name: x / squares[block_of(name)].sqrt() for name, x in change.items()}
        found.append({name: base[name] + unit[name] * CHANGED[block_of(name)][k] for name in base})
    return tuple(found)


def merged(states, by_name=None, **given):
    """`by_name`: parameters of the tensors whose names contain a word."""
    card = layer_swap.card
    params = {name: param.default for name, param in card.params.items()} | {"preference": (1.0, 1.0)} | given
    outs = tuple(
        Out(
            name,
            "F64",
            shape,
            card.id,
            (Operand(1, name), Operand(2, name)),
            Operand(0, name),
            {**params, **next((value for word, value in (by_name or {}).items() if word in name), {})},
        )
        for name, shape in SHAPES.items()
    )
    labels = ("base", "a", "b")
    sources = [MemorySource(label, state) for label, state in zip(labels, states, strict=True)]
    sink = MemorySink({out.name: out.header for out in outs})
    results = run(Plan(labels, outs), sources, lambda name: card, sink)
    return sink.state_dict(), {name: result.stats["choice"] for name, result in results.items()}


def owners(states, found) -> dict[str, str]:
    """Whose tensors the blocks are made of, as far as they are one model's."""
    told: dict[str, str] = {}
    for block in CHANGED:
        names = [name for name in SHAPES if block_of(name) == block]
        same = [
            label
            for label, state in zip("0ab", states, strict=True)
            if all(torch.equal(found[n], state[n]) for n in names)
        ]
        told[block.removeprefix("model.")] = "".join(same)
    return told


def test_a_block_goes_whole_to_the_model_whose_change_lies_there_most():
    states = models()
    found, told = merged(states)
    whole = [sum(lengths[k] ** 2 for lengths in CHANGED.values()) ** 0.5 for k in range(2)]
    shares = {block: [length / whole[k] for k, length in enumerate(lengths)] for block, lengths in CHANGED.items()}
    expected = {block.removeprefix("model."): "ab"[a < b] for block, (a, b) in shares.items()} | {"norm": "a"}
    assert owners(states, found) == expected
    assert told["model.layers.2.mlp.weight"]["taken_from"] == [1]
    assert told["model.layers.2.mlp.weight"] == told["model.layers.2.attn.weight"]


def test_lengths_are_compared_on_request():
    states = models()
    found, _ = merged(states, compare="length")
    assert owners(states, found) == {
        "embed_tokens": "b", "layers.0": "a", "layers.1": "b", "layers.2": "b", "layers.3": "a", "norm": "a",
    }  # fmt: skip


def test_models_that_are_nearly_as_strong_are_averaged_within_the_margin():
    states = models()
    found, told = merged(states, compare="length", margin=1.0)
    name = "model.layers.1.attn.weight"
    assert told[name]["taken_from"] == told["model.layers.3.attn.weight"]["taken_from"] == [0, 1]
    torch.testing.assert_close(found[name], (states[1][name] + states[2][name]) / 2)
    assert told["model.layers.0.attn.weight"]["taken_from"] == [0]


def test_equal_scores_are_averaged_whatever_the_order():
    _, a, _ = models()
    base, b = ({name: x * factor for name, x in a.items()} for factor in (0.0, -1.0))
    found, told = merged((base, a, b))
    assert all(choice["taken_from"] == [0, 1] for choice in told.values())
    assert not any(tensor.any() for tensor in found.values())


def test_a_block_that_hardly_changed_stays_the_bases():
    states = models()
    found, told = merged(states, compare="length", least=0.2)
    assert owners(states, found)["norm"] == "0"
    assert told["model.norm.bias"]["taken_from"] == []
    assert owners(states, found)["layers.2"] == "b"


def test_a_preference_of_zero_chooses_by_hand():
    states = models()
    by_name = {"layers.2": {"preference": (1.0, 0.0)}, "layers.0": {"preference": (0.0, 1.0)}}
    found, _ = merged(states, by_name)
    assert owners(states, found)["layers.0"] == "b"
    assert owners(states, found)["layers.2"] == "a"
    only_b, _ = merged(states, preference=(0.0, 1.0))
    assert set(owners(states, only_b).values()) == {"b"}


def test_tensors_of_a_layer_with_wishes_of_their_own_are_a_block():
    states = models()
    found, _ = merged(states, {"layers.2.mlp": {"preference": (1.0, 0.0)}})
    assert torch.equal(found["model.layers.2.mlp.weight"], states[1]["model.layers.2.mlp.weight"])
    assert torch.equal(found["model.layers.2.attn.weight"], states[2]["model.layers.2.attn.weight"])


def test_nothing_changed_is_the_base():
    base, *_ = models()
    found, told = merged((base, base, base))
    assert all(torch.equal(found[name], base[name]) for name in base)
    assert told["model.norm.bias"] == {"taken_from": [0, 1], "changes": [0.0, 0.0]}


def test_a_base_of_zeros_is_no_obstacle():
    _, a, b = models()
    zeros = {name: torch.zeros_like(x) for name, x in a.items()}
    _, told = merged((zeros, a, b), least=0.5)
    assert told["model.norm.bias"]["changes"] == [None, None]


def test_what_cannot_be_is_refused():
    with pytest.raises(RecipeError, match="the preference of every model is 0"):
        layer_swap(torch.zeros(2), torch.ones(2, 2), preference=0.0)
    with pytest.raises(InputError, match="there is no base"):
        layer_swap(None, torch.ones(2, 2))
    with pytest.raises(RecipeError, match="`preference` has 3 values for 2 models"):
        layer_swap(torch.zeros(2), torch.ones(2, 2), preference=(1, 1, 1))
