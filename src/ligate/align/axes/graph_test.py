"""Whatever is called a symmetry has to be one: random members of every group leave the function as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ligate.align.axes.graph import symmetries
from ligate.align.families_test import family
from ligate.align.maps import Group, applied, reordered
from ligate.align.members import random_member
from ligate.align.wide import Wide
from ligate.core.errors import InputError


class Branches(nn.Module):
    """Gated MLP, residual sums, a norm, shared weights, heads, a convolution, parts behind each other."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 12)
        self.norm, self.last = nn.LayerNorm(12), nn.LayerNorm(12)
        self.gate, self.up, self.down = nn.Linear(12, 20), nn.Linear(12, 20), nn.Linear(20, 12)
        self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)
        self.scores = nn.Linear(12, 11, bias=False)
        self.scores.weight = self.table.weight

    def forward(self, ids):
        x = self.table(ids)
        y = self.norm(x)
        q, k, v = (part.unflatten(-1, (3, 4)).transpose(1, 2) for part in self.qkv(y).chunk(3, dim=-1))
        seen = (q @ k.transpose(-1, -2) / 2).softmax(-1) @ v
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        x = x + self.down(nn.functional.silu(self.gate(x)) * self.up(x))
        return self.scores(self.last(x))


class Pictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.each = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8 * 4, 5)

    def forward(self, images):
        x = self.first(images).relu()
        x = x + self.norm(self.second(x)).relu()
        return self.head(nn.functional.max_pool2d(self.each(x), 2).flatten(1))


def spoiled(state, groups: tuple[Group, ...]):
    generator = torch.Generator().manual_seed(1)
    for group in groups:
        state = applied(state, [random_member(group, state, generator)])
    return state


def unchanged(model: nn.Module, inputs, options=None, read=lambda out: out) -> float:
    """How far the outputs move under random members of all groups; the model must not be indifferent to its weights."""
    model = model.double().eval()
    found = symmetries(model, inputs, options)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad(), Wide():
        said = read(model(*inputs, **(options or {})))
        after = spoiled(before, found.groups)
        model.load_state_dict(after)
        again = read(model(*inputs, **(options or {})))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    return float((said - again).abs().max())


IDS = torch.tensor([[3, 1, 4, 1, 5]])


def test_what_is_found_in_a_network_of_branches():
    torch.manual_seed(0)
    found = symmetries(Branches(), (IDS,))
    assert found.unknown == ()
    places = {group.places[0].tensor: group for group in found.groups}
    stream = places["table.weight"]
    assert {str(place) for place in stream.places} >= {"norm.weight[0]", "down.weight[0]", "gate.weight[1]"}
    assert "scores.weight[1]" in {str(place) for place in stream.places}
    assert sorted(group.size for group in found.groups) == [3, 4, 12, 20]  # heads, inside of heads, stream, gate
    heads = next(group for group in found.groups if group.size == 3)
    assert {str(place) for place in heads.places} == {
        "qkv.weight[0 as 3x3x4, 1]",
        "qkv.bias[0 as 3x3x4, 1]",
        "out.weight[1 as 3x4, 0]",
    }
    assert found.fixed["table.weight"].startswith("rows are looked up")


@pytest.mark.parametrize("seed", [0, 1])
def test_permuting_every_group_changes_nothing(seed):
    torch.manual_seed(seed)
    assert unchanged(Branches(), (IDS,)) < 1e-12
    assert unchanged(Pictures(), (torch.randn(2, 3, 4, 4, dtype=torch.float64),)) < 1e-12


def test_channels_that_are_flattened_move_with_all_their_places():
    (stream,) = symmetries(Pictures(), (torch.zeros(1, 3, 4, 4),)).groups
    assert "head.weight[1 as 8x2x2, 0]" in {str(place) for place in stream.places}
    assert "norm.running_mean[0]" in {str(place) for place in stream.places}


def test_a_permutation_that_is_no_symmetry_would_be_noticed():
    """The check above can fail: one place left out of a group breaks the function."""
    torch.manual_seed(0)
    model = Branches().double()
    group = next(group for group in symmetries(model, (IDS,)).groups if group.size == 20)
    state = applied(model.state_dict(), [reordered(group._replace(places=group.places[:-1]), torch.randperm(20))])
    with torch.no_grad():
        before = model(IDS)
        model.load_state_dict(state)
        assert float((before - model(IDS)).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", ["llama", "mixtral"])
def test_transformers_of_several_families(kind):
    assert unchanged(*family(kind), lambda out: out.logits) < 1e-12


def test_grouped_queries_share_keys():
    import transformers as t

    sizes = {"vocab_size": 16, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 1}
    model = t.LlamaForCausalLM(t.LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2))
    found = symmetries(model, (torch.tensor([[1, 2, 3]]),), {"use_cache": False})
    told = {group.size: {place.tensor.rpartition("self_attn.")[2] for place in group.places} for group in found.groups}
    names = [{str(place) for place in group.places} for group in found.groups]
    start = "model.layers.0.self_attn."
    inside = {f"{start}v_proj.weight[0 as 2x8, 1]", f"{start}o_proj.weight[1 as 2x2x8, 2]"}
    assert inside in names
    assert told[2] <= {"q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight"}
    assert not any("q_proj.weight[0" in one and "x4, 3" in one for each in names for one in each)  # rotary pairs stay


def test_an_operation_that_is_not_known_fixes_what_it_touches():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.second(self.first(x).cumsum(-1))

    found = symmetries(Odd(), (torch.zeros(1, 3),))
    assert found.groups == () and found.unknown == ("cumsum",)
    assert "cumsum" in found.fixed["first.weight"]


def test_positions_count():
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 6), nn.Linear(3, 2)

        def forward(self, x):
            return self.second(self.first(x)[:, 1:4])

    assert symmetries(Sorted(), (torch.zeros(1, 3),)).groups == ()


def test_a_model_that_cannot_be_traced_is_told():
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3)

        def forward(self, x):
            return self.first(x) if x.sum() > 0 else x

    with pytest.raises(InputError, match="cannot be traced"):
        symmetries(Branching(), (torch.zeros(1, 3),))


def kinds(model: nn.Module, inputs) -> dict[str, str]:
    return {group.name: group.kind for group in symmetries(model, inputs).groups}


def small(act: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), act, nn.Linear(6, 2))


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (nn.LayerNorm(6), "centred"),
        (nn.Identity(), "invertible"),
        (nn.Tanh(), "signed"),
        (nn.GELU(), "permutation"),
        (nn.Dropout(), "invertible"),
    ],
)
def test_a_function_of_each_unit_decides_what_they_may_undergo(act, kind):
    assert kinds(small(act).eval(), (torch.zeros(1, 3),)) == {"0.weight[0]": kind}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "act",
    [
        nn.Identity(), nn.Tanh(), nn.RMSNorm(6), nn.RMSNorm(6, elementwise_affine=False),
        nn.LayerNorm(6), nn.LayerNorm(6, bias=False), nn.LayerNorm(6, elementwise_affine=False),
    ],
)  # fmt: skip
def test_every_kind_holds(seed, act):
    torch.manual_seed(seed)
    for parameter in act.parameters():
        nn.init.uniform_(parameter, 0.5, 2)
    assert unchanged(small(act), (torch.randn(4, 3, dtype=torch.float64),)) < 1e-12


def test_a_scale_is_folded_only_into_what_alone_reads_the_scaled_units():
    class Twice(nn.Module):
        def __init__(self, other: bool) -> None:
            super().__init__()
            self.first, self.norm, self.second = nn.Linear(3, 6), nn.RMSNorm(6), nn.Linear(6, 2)
            self.other = other

        def forward(self, x):
            y = self.norm(self.first(x))
            return self.second(y) + (self.second(self.first(x)) if self.other else 0)

    alone, shared = (kinds(Twice(other), (torch.zeros(1, 3),)) for other in (False, True))
    assert alone == {"first.weight[0]": "orthogonal"}
    assert shared == {"first.weight[0]": "permutation"}


def test_a_constant_that_is_added_to_all_units_stops_them_from_turning():
    class Shifted(nn.Module):
        def __init__(self, by) -> None:
            super().__init__()
            self.first, self.second, self.by = nn.Linear(3, 6), nn.Linear(6, 2), by

        def forward(self, x):
            return self.second(self.first(x) + self.by)

    assert kinds(Shifted(0.5), (torch.zeros(1, 3),)) == {"first.weight[0]": "permutation"}


def test_weights_that_are_read_and_written_by_the_same_units_may_only_turn():
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(7, 6)

        def forward(self, ids):
            return self.table(ids) @ self.table.weight.T

    assert kinds(Loop(), (IDS,)) == {"table.weight[1]": "orthogonal"}


def test_experts_have_orders_of_their_own_and_heads_too():
    import transformers as t

    sizes = {"vocab_size": 16, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = t.MixtralForCausalLM(t.MixtralConfig(**sizes, **heads, num_local_experts=3))
    found = symmetries(model, (torch.tensor([[1, 2, 3]]),), {"use_cache": False})
    told = {(group.kind, group.size, group.copies) for group in found.groups}
    assert told == {
        ("orthogonal", 32, 1),  # the stream
        ("permutation", 2, 1),  # groups of heads
        ("permutation", 2, 2),  # heads of each group
        ("rotary", 8, 2),  # queries and keys
        ("invertible", 8, 2),  # values
        ("permutation", 24, 3),  # inside of each expert
    }
    assert found.unknown == ("topk (several results)",)


def test_what_is_seen_of_a_group_are_values_with_its_units():
    model = small(nn.GELU())
    found = symmetries(model, (torch.zeros(5, 3),))
    (group,) = found.groups
    assert [(one.node, one.dim, one.sizes, one.factor) for one in found.seen[group.name]] == [
        ("linear", 1, (6,), 0),
        ("gelu", 1, (6,), 0),
    ]


def test_tied_tables_bring_units_forth_and_read_them():
    torch.manual_seed(0)
    (stream,) = (group for group in symmetries(Branches(), (IDS,)).groups if group.size == 12)
    assert [place.tensor for place in stream.places if place.role == "both"] == ["table.weight"]


@pytest.mark.parametrize(("norm", "part"), [(nn.LayerNorm, "bias"), (nn.LayerNorm, "weight"), (nn.RMSNorm, "weight")])
def test_a_norm_whose_weights_mean_something_elsewhere_is_only_permuted(norm, part):
    class Elsewhere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.second = nn.Linear(3, 6), norm(6), nn.Linear(6, 2)
            nn.init.uniform_(getattr(self.norm, part), 0.5, 2)

        def forward(self, x):
            return self.second(self.norm(self.first(x) + getattr(self.norm, part)))

    torch.manual_seed(0)
    assert kinds(Elsewhere(), (torch.zeros(1, 3),)) == {"first.weight[0]": "permutation"}
    assert unchanged(Elsewhere(), (torch.randn(4, 3, dtype=torch.float64),)) < 1e-12


def test_what_a_norm_gives_may_be_averaged_over_positions_but_not_added_up():
    class Pooled(nn.Module):
        def __init__(self, add: bool) -> None:
            super().__init__()
            self.first, self.norm, self.second = nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 2)
            self.add = add

        def forward(self, x):
            x = self.first(x)
            y = self.norm(x) + x if self.add else self.norm(x)
            return self.second(y.mean(1))

    for add, kind in ((False, "centred"), (True, "permutation")):
        assert kinds(Pooled(add), (torch.zeros(2, 5, 3),)) == {"first.weight[0]": kind}
        assert unchanged(Pooled(add), (torch.randn(2, 5, 3, dtype=torch.float64),)) < 1e-12
