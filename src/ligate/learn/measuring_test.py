"""Statistics against the same thing written down directly, and against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ligate.core.errors import InputError
from ligate.learn import measuring
from ligate.learn.measuring import fisher, grams
from ligate.learn.objectives import Batch, Told


class Slope(nn.Module):
    """logits (0, theta x)"""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.zeros_like(x), self.theta * x], -1)


def network(seed: int = 0, wide: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3)).double()
    return net if wide else net.float()


def examples(count: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(net: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Class by class and example by example."""
    net.eval()
    found = {name: torch.zeros_like(one) for name, one in net.named_parameters()}
    for one in x:
        logp = net(one[None])[0].log_softmax(-1)
        for c in range(len(logp)):
            each = torch.autograd.grad(logp[c], list(net.parameters()), retain_graph=True)
            for total, slope in zip(found.values(), each, strict=True):
                total.add_(slope.square(), alpha=float(logp[c].detach().exp()) / len(x))
    return found


@pytest.mark.parametrize(("theta", "due"), [(0.0, 0.25), (2.0, 0.104994)])
def test_the_information_of_one_number_by_hand(theta, due):
    net = Slope(theta)
    found = fisher(net, net, [Batch(torch.ones(1, dtype=torch.float64))])
    assert float(found.tensors["theta"]) == pytest.approx(due, abs=1e-6)


def test_the_common_shortcut_is_another_number():
    net = Slope(2.0)
    found = fisher(net, net, [Batch(torch.ones(1, dtype=torch.float64))], "batch_squared")
    assert float(found.tensors["theta"]) == pytest.approx(0.036952, abs=1e-6)


@pytest.mark.parametrize("room", [1, 200, 10**9])
def test_the_expectation_is_exact_however_many_examples_go_side_by_side(room, monkeypatch):
    monkeypatch.setattr(measuring, "_ROOM", room)
    net, x = network(wide=True), examples()
    found = fisher(net, net, [Batch(x[:4]), Batch(x[4:])])
    for name, due in by_definition(network(wide=True), x).items():
        torch.testing.assert_close(found.tensors[name], due, rtol=1e-12, atol=0)


def test_the_module_is_left_as_it_was():
    net = network()
    net[0].weight.requires_grad_(False)
    before = {name: one.clone() for name, one in net.state_dict().items()}
    fisher(net, net, [Batch(examples().float())])
    grams(net, net, [Batch(examples().float())])
    assert net.training and net[2].training and not net[0].weight.requires_grad and net[3].weight.requires_grad
    assert all(torch.equal(before[name], one) for name, one in net.state_dict().items())
    assert all(one.grad is None for one in net.parameters())
    assert not net[0]._forward_pre_hooks


def test_answers_drawn_have_the_expectation_as_their_mean_and_depend_on_the_seed_alone():
    net, x = network(wide=True), examples(3)
    many = Batch(x.repeat(400, 1))
    found = fisher(net, net, [many], "sampled", seed=3)
    for name, due in fisher(net, net, [Batch(x)]).tensors.items():
        assert float((found.tensors[name] - due).norm() / due.norm()) < 0.15
    again, other = (fisher(net, net, [many], "sampled", seed=seed).tensors["0.weight"] for seed in (3, 4))
    assert torch.equal(found.tensors["0.weight"], again) and not torch.equal(again, other)


def test_the_empirical_information_is_that_of_the_right_answers():
    net, x, right = network(wide=True), examples(), torch.tensor([0, 1, 2, 0, -100, 1])
    found = fisher(net, net, [Batch(x, right)], "empirical").tensors["3.bias"]
    p = net.eval()(x).softmax(-1)
    slopes = torch.nn.functional.one_hot(right.clamp_min(0), 3) - p  # of log p in the bias of the last layer
    torch.testing.assert_close(found, (slopes.square() * (right >= 0)[:, None]).sum(0).detach() / 6)


def test_answers_of_one_example_count_as_independent():
    net, x = network(wide=True), examples()
    together = fisher(net, net, [Batch(x.reshape(2, 3, 4))]).tensors
    for name, alone in fisher(net, net, [Batch(x)]).tensors.items():
        torch.testing.assert_close(together[name], alone * 3, rtol=1e-12, atol=0)


def test_a_network_that_cannot_be_mapped_over_is_asked_one_by_one():
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network(wide=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if float(x.sum()) > 1e9:  # depends on numbers, which a map does not show
                raise AssertionError
            return self.net(x)

    picky, x = Picky(), examples()
    found = fisher(picky, picky, [Batch(x)])
    for name, due in by_definition(network(wide=True), x).items():
        torch.testing.assert_close(found.tensors[f"net.{name}"], due, rtol=1e-12, atol=0)


def test_inputs_may_be_named_and_answers_may_say_more_than_logits():
    net, x = network(wide=True), examples()
    found = fisher(net, lambda inputs: Told(net(inputs["x"] * inputs["scale"][:, None]), x), [
        Batch({"x": x, "scale": torch.ones(len(x), dtype=torch.float64)})
    ])  # fmt: skip
    torch.testing.assert_close(found.tensors["0.weight"], fisher(net, net, [Batch(x)]).tensors["0.weight"])


def test_inputs_of_layers_are_gathered_without_padding():
    net, x = network(wide=True), examples(12).reshape(4, 3, 4)
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
    parts = [Batch({"x": x[:3], "attention_mask": mask[:3]}), Batch({"x": x[3:], "attention_mask": mask[3:]})]
    found = grams(net, lambda inputs: net(inputs["x"]), parts)
    rows = x[mask.bool()]
    torch.testing.assert_close(found.tensors["0.weight"], rows.T @ rows / 9)
    inner = net.eval()[1](net[0](rows)).detach()
    torch.testing.assert_close(found.tensors["3.weight"], inner.T @ inner / 9)
    assert found.metadata["examples"] == "4"
    every = grams(net, lambda inputs: net(inputs["x"]), parts, mask=lambda inputs: None)
    flat = x.reshape(-1, 4)
    torch.testing.assert_close(every.tensors["0.weight"], flat.T @ flat / 12)


def test_a_mask_also_holds_for_rows_that_were_laid_flat_and_not_for_pooled_ones():
    layer = nn.Linear(4, 2, bias=False).double()
    x, mask = examples(6), torch.tensor([[1, 0, 1], [1, 1, 1]])

    def told(inputs):
        layer(inputs["x"])  # [6, 4]: two rows of three
        return layer(inputs["x"].reshape(2, 3, 4)[:, 0])  # [2, 4]: one of each

    found = grams(layer, told, [Batch({"x": x, "attention_mask": mask})]).tensors["weight"]
    rows = torch.cat([x[[0, 2, 3, 4, 5]], x[[0, 3]]])
    torch.testing.assert_close(found, rows.T @ rows / 7)


def test_tied_weights_are_measured_under_all_their_names():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.embed(x))

    net = Tied()
    found = fisher(net, net, [Batch(torch.tensor([0, 3]))])
    assert set(found.tensors) == {"embed.weight", "head.weight"}
    assert torch.equal(found.tensors["embed.weight"], found.tensors["head.weight"])
    assert set(grams(net, net, [Batch(torch.tensor([0, 3]))]).tensors) == {"embed.weight", "head.weight"}


def test_a_text_encoder_with_padding():
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    net = BertForSequenceClassification(BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, num_labels=3,
        max_position_embeddings=8,
    ))  # fmt: skip
    tokens = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0], [9, 2, 3, 0]])
    inputs = {"input_ids": tokens, "attention_mask": (tokens > 0).long()}

    def ask(inputs):
        return net(**inputs).logits

    together = fisher(net, ask, [Batch(inputs)]).tensors
    alone = [fisher(net, ask, [Batch({n: one[i : i + 1] for n, one in inputs.items()})]).tensors for i in range(3)]
    for name, one in together.items():
        torch.testing.assert_close(one, sum(each[name] for each in alone) / 3, rtol=1e-4, atol=1e-9)
    names = "bert.encoder.layer.0.attention.self.query.weight"
    net.eval()
    rows = net.bert.embeddings(tokens)[inputs["attention_mask"].bool()].detach()
    torch.testing.assert_close(grams(net, ask, [Batch(inputs)]).tensors[names], rows.T @ rows / 9)


def test_layers_of_gpt2_are_linear_layers_too():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    net = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_positions=6, n_embd=4, n_layer=1, n_head=2)).double()
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    found = grams(net, lambda x: net(x).logits, [Batch(tokens)]).tensors
    net.eval()
    inner = net.transformer.h[0].ln_1(net.transformer.wte(tokens) + net.transformer.wpe.weight[:3]).reshape(-1, 4)
    torch.testing.assert_close(found["transformer.h.0.attn.c_attn.weight"], (inner.T @ inner / 6).detach())
    assert found["transformer.h.0.mlp.c_proj.weight"].shape == (16, 16)
    information = fisher(net, lambda x: net(x).logits, [Batch(tokens)], "sampled").tensors
    assert information["transformer.h.0.mlp.c_proj.weight"].shape == (16, 4) and "lm_head.weight" in information


def test_what_a_file_says_of_itself():
    net, x = network(), examples().float()
    first, second = (fisher(net, net, [Batch(x)], how).metadata for how in ("exact", "sampled"))
    assert first["kind"] == "fisher" and (first["how"], second["how"]) == ("exact", "sampled")
    assert first["examples"] == "6" and first["model"] == second["model"]
    other = network(1)
    assert grams(other, other, [Batch(x)]).metadata["model"] != first["model"]


@pytest.mark.parametrize(("batches", "how", "text"), [
    ([], "exact", "no example"),
    ([Batch(examples().float())], "empirical", "no labels"),
    ([Batch(examples().float())], "guessed", "`how` is 'guessed'"),
    ([Batch(object())], "exact", "cannot be taken one by one"),
    ([Batch(examples().float() * math.nan)], "exact", "not finite"),
])  # fmt: skip
def test_what_cannot_be_measured_is_told(batches, how, text):
    net = network()
    with pytest.raises(InputError, match=text):
        fisher(net, net, batches, how)


def test_answers_without_classes_or_without_the_network_are_told():
    net, x = network(), examples().float()
    with pytest.raises(InputError, match="at least two classes"):
        fisher(net, lambda inputs: net(inputs)[:, :1], [Batch(x)])
    with pytest.raises(InputError, match="do not depend"):
        fisher(net, lambda inputs: torch.zeros(len(inputs), 3), [Batch(x)])
    with pytest.raises(InputError, match="no linear layer"):
        grams(nn.Tanh(), nn.Tanh(), [Batch(x)])
    wide = nn.Linear(4, 5000)
    with pytest.raises(InputError, match="sampled"):
        fisher(wide, wide, [Batch(x[:1])])
