"""What a model calls its tensors is found in the checkpoint, under older names, prefixes, and in parts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ligate.align.alignment import Alignment, Made
from ligate.align.maps import AxisMap, Group, Place, applied, reordered
from ligate.align.stored import Apart, Joined, Names, Parts, Weights, names_of, read_tensor, renamed
from ligate.align.view import in_coordinates
from ligate.core.errors import InputError
from ligate.core.tensors import Header
from ligate.io.memory import MemorySource

WHOLE = torch.arange(2 * 6 * 3, dtype=torch.float32).reshape(2, 6, 3)
PARTS = {
    "e.0.gate": WHOLE[0, :3].clone(),
    "e.1.up": WHOLE[1, 3:].clone(),
    "other": torch.ones(2),
    "e.0.up": WHOLE[0, 3:].clone(),
    "e.1.gate": WHOLE[1, :3].clone(),
}
JOINED = {"experts": Parts((2, 6, 3), ("e.0.gate", "e.0.up", "e.1.gate", "e.1.up"))}


def headers(**shapes):
    return {name.replace("__", "."): Header("F32", shape) for name, shape in shapes.items()}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.table.weight
        self.norm = nn.LayerNorm(4)


def test_parts_are_shown_as_one_tensor_and_taken_apart_again():
    source = MemorySource("m", PARTS)
    joined = Joined(source, JOINED)
    assert list(joined.headers()) == ["other", "experts"]
    assert torch.equal(read_tensor(joined, "experts"), WHOLE)
    out = bytearray(7 * 4)
    joined.read_into("experts", 5, memoryview(out))
    assert torch.equal(torch.frombuffer(out, dtype=torch.float32), WHOLE.reshape(-1)[5:12])
    apart = Apart(joined, source.headers(), JOINED)
    assert {name: header.shape for name, header in apart.headers().items()} == {
        name: tuple(value.shape) for name, value in PARTS.items()
    }
    assert all(torch.equal(read_tensor(apart, name), value) for name, value in PARTS.items())


def test_maps_reach_through_parts():
    order = torch.tensor([[2, 0, 1], [0, 2, 1]])
    group = Group("inside", 3, (Place("experts", 1, (2, 3), 1, over=((0, 0),)),), copies=2)
    experts = Group("experts", 2, (Place("experts", 0, (2,), 0),))
    maps = (reordered(group, order), reordered(experts, torch.tensor([1, 0])))
    view = in_coordinates(MemorySource("m", PARTS), Alignment(maps, Made("by hand"), JOINED))
    wanted = applied({"experts": WHOLE}, maps)["experts"]
    assert torch.equal(read_tensor(view, "e.0.gate"), wanted[0, :3])
    assert torch.equal(read_tensor(view, "e.1.up"), wanted[1, 3:])
    assert torch.equal(read_tensor(view, "other"), PARTS["other"])


def test_parts_keep_their_shapes():
    group = Group("rows", 3, (Place("experts", 2, (3,), 0),))
    wider = AxisMap(group, torch.ones(4, 3), torch.ones(4, 3))
    with pytest.raises(InputError, match="stored in parts"):
        in_coordinates(MemorySource("m", PARTS), Alignment((wider,), Made("by hand"), JOINED))


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (Parts((2, 6, 3), ("e.0.gate", "e.7.up")), "which the model lacks"),
        (Parts((2, 6, 3), ("e.0.gate", "e.0.up")), "do not make up"),
        (Parts((2, 6, 4), ("e.0.gate", "e.0.up", "e.1.gate", "e.1.up")), "do not make up"),
    ],
)
def test_parts_of_another_model_are_refused(parts, told):
    with pytest.raises(InputError, match=told):
        Joined(MemorySource("m", PARTS), {"experts": parts})


def test_tied_tensors_are_found_under_the_name_that_is_stored():
    names = names_of(Tied(), headers(head__weight=(5, 4), norm__weight=(4,), norm__bias=(4,)))
    assert names.stored["head.weight"] == "head.weight" and names.doubles == {"table.weight": "head.weight"}
    assert names.place("table.weight") == "head.weight" and names.place("nothing") is None


@pytest.mark.parametrize("start", ["module.", "model."])
def test_names_with_something_in_front_are_found(start):
    stored = {start + name: Header("F32", tuple(value.shape)) for name, value in Tied().state_dict().items()}
    names = names_of(Tied(), stored)
    assert names.stored["norm.weight"] == f"{start}norm.weight" and names.doubles == {}


def test_groups_on_what_is_not_stored_stay():
    names = Names({"a": "old.a", "b": "b"}, doubles={"tied": "a"})
    whole = Group("whole", 2, (Place("a", 0, (2,), 0), Place("tied", 0, (2,), 0), Place("b", 1, (2,), 0, scale="tied")))
    broken = Group("broken", 2, (Place("a", 1, (2,), 0), Place("c", 0, (2,), 0)))
    kept, left = renamed([whole, broken], names)
    assert [str(place) for place in kept[0].places] == ["old.a[0]", "b[1]"]
    assert kept[0].places[1].scale == "old.a"
    assert left == [(broken, "c")]


def test_weights_are_read_when_they_are_asked_for():
    weights = Weights(MemorySource("m", PARTS), {"first": "other"})
    assert list(weights) == ["first"] and torch.equal(weights["first"], PARTS["other"])
    with pytest.raises(KeyError):
        _ = weights["other"]


def test_the_experts_of_a_library_are_found_in_its_checkpoints():
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("transformers.core_model_loading")
    sizes = {
        "vocab_size": 8,
        "hidden_size": 8,
        "intermediate_size": 6,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    with torch.device("meta"):
        model = transformers.MixtralForCausalLM(
            transformers.MixtralConfig(**sizes, num_key_value_heads=1, num_local_experts=3)
        )
    start = "model.layers.0.block_sparse_moe"
    stored = {
        name: Header("F32", tuple(value.shape)) for name, value in model.state_dict().items() if ".mlp" not in name
    }
    stored |= {f"{start}.experts.{n}.{part}.weight": Header("F32", (6, 8)) for n in range(3) for part in ("w1", "w3")}
    stored |= {f"{start}.experts.{n}.w2.weight": Header("F32", (8, 6)) for n in range(3)}
    stored[f"{start}.gate.weight"] = Header("F32", (3, 8))
    names = names_of(model, stored)
    assert names.stored["model.layers.0.mlp.gate.weight"] == f"{start}.gate.weight"
    fused = names.joined["model.layers.0.mlp.experts.gate_up_proj"]
    assert fused.shape == (3, 12, 8)
    assert fused.names == tuple(f"{start}.experts.{n}.{part}.weight" for n in range(3) for part in ("w1", "w3"))
