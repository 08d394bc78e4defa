"""Fisher and RegMean against their public code, on a tiny network whose weights and inputs are easily written down.

The numbers below came from running, in float64 on this network: FusionBench at 54c9e8c (`regmean_merging`,
`fisher_merging`, `merging_with_fisher_weights`, `RegMeanAlgorithmPlusPlus.run`), dataless-model-merging
(`regmean_mean_params`, `fisher_weighted_average`) and model_merging (`_merge_with_coeffs`). Of each merged weight two
sums are kept: of its numbers, and of its numbers times the cosine of their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ligate.learn.measuring import fisher, grams
from ligate.learn.objectives import Batch
from ligate.learn.regmean_pp import regmean_pp
from ligate.methods.merge.fisher import fisher as fisher_rule
from ligate.methods.merge.regmean import regmean

OFFICIAL: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "regmean": {
        "embed.weight": (-0.102672142, -0.108171012),
        "layers.0.up.weight": (0.345814737, -0.348029621),
        "layers.0.down.weight": (1.031613792, -0.404545673),
        "layers.1.up.weight": (3.472370466, 0.352077029),
        "layers.1.down.weight": (0.563165145, 0.101446639),
    },
    "regmean_pp": {
        "embed.weight": (-0.102672142, -0.108171012),
        "layers.0.up.weight": (-0.128808084, 0.034966025),
        "layers.0.down.weight": (0.255108007, -1.738300480),
        "layers.1.up.weight": (3.574378804, 1.792801583),
        "layers.1.down.weight": (2.448970363, -1.305380747),
    },
    "bloomberg_regmean": {
        "embed.weight": (-0.567257096, -0.137244540),
        "layers.0.up.weight": (0.718865646, 0.085205923),
        "layers.0.down.weight": (0.903972388, 0.028005244),
        "layers.1.up.weight": (-0.194410679, 0.415135581),
        "layers.1.down.weight": (0.844878127, 0.226346099),
    },
    "fisher_shortcut": {
        "embed.weight": (-0.198611942, 0.627543540),
        "layers.0.up.weight": (0.311903375, -0.153203093),
        "layers.0.up.bias": (1.652689460, 0.384515655),
        "layers.0.down.weight": (0.740385465, -1.510596510),
        "layers.0.down.bias": (1.074597795, 1.065439321),
        "layers.1.up.weight": (1.003044613, -2.024099735),
        "layers.1.up.bias": (-0.462600126, -0.484097915),
        "layers.1.down.weight": (2.774949380, -1.781826696),
        "layers.1.down.bias": (-0.331983029, 0.027640437),
    },
    "fisher_given": {
        "embed.weight": (-0.726824790, -0.057496413),
        "layers.0.up.weight": (0.922499351, 0.088393974),
        "layers.0.down.weight": (0.580845777, -0.200206489),
        "layers.1.up.weight": (-0.180195498, 0.339994050),
        "layers.1.down.weight": (0.481461578, 0.401450374),
    },
    "mmatena_given": {
        "embed.weight": (-0.726824890, -0.057496366),
        "layers.0.up.weight": (0.922499589, 0.088393860),
        "layers.0.down.weight": (0.580845953, -0.200206575),
        "layers.1.up.weight": (-0.180195581, 0.339994093),
        "layers.1.down.weight": (0.481461666, 0.401450336),
    },
    "bloomberg_fisher": {
        "embed.weight": (-0.726824890, -0.057496366),
        "layers.0.up.weight": (0.922499589, 0.088393860),
        "layers.0.down.weight": (0.580845953, -0.200206575),
        "layers.1.up.weight": (-0.180195580, 0.339994093),
        "layers.1.down.weight": (0.481461666, 0.401450336),
    },
}

IDS = (
    torch.tensor([[0, 1, 2, 3], [2, 4, 6, 1], [5, 5, 3, 0], [6, 1, 0, 2]]),
    torch.tensor([[3, 3, 1, 6], [0, 5, 2, 2], [4, 1, 6, 0], [1, 2, 3, 4]]),
)
SMALL = 1e-6  # what FusionBench adds to all information and to its length


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.tanh(self.up(x)))


class Net(nn.Module):
    def __init__(self, start: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.layers = nn.ModuleList([Layer(), Layer()])
        self.double()
        with torch.no_grad():
            for one in self.parameters():
                one.copy_(torch.sin(torch.arange(start, start + one.numel()).double() * 1.7).reshape(one.shape))
                start += one.numel()

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return x


def batches(number: int) -> list[Batch]:
    return [Batch(two) for two in IDS[number].split(2)]


def nets() -> list[Net]:
    return [Net(0), Net(1000)]


def weights(name: str) -> Tensor:
    return torch.stack([net.get_parameter(name).detach() for net in nets()])


def compare(found: Mapping[str, Tensor], kind: str, rel: float = 1e-6) -> None:
    for name, (plain, turned) in OFFICIAL[kind].items():
        flat = found[name].flatten()
        places = torch.arange(len(flat)).double()
        assert float(flat.sum()) == pytest.approx(plain, rel=rel, abs=1e-6), name
        assert float((flat * places.cos()).sum()) == pytest.approx(turned, rel=rel, abs=1e-6), name


def information() -> list[dict[str, Tensor]]:
    """Between 1 and 2."""
    return [
        {
            name: (1.5 + 0.5 * torch.sin(torch.arange(one.numel()).double() * (k + 1))).reshape(one.shape)
            for name, one in net.named_parameters()
        }
        for k, net in enumerate(nets())
    ]


def test_regmean_of_fusion_bench():
    found = [grams(net, net, batches(k)).tensors for k, net in enumerate(nets())]
    merged = {
        name: regmean(None, weights(name), grams=[each[name] for each in found] if name in found[0] else None, ridge=0)
        for name in OFFICIAL["regmean"]
    }
    compare(merged, "regmean")


def test_regmean_of_its_authors_with_coefficients():
    found = [grams(net, net, batches(k)).tensors for k, net in enumerate(nets())]
    rule = partial(regmean, None, weight=(0.3, 0.7), alpha=0.1, ridge=0)
    merged = {
        name: rule(weights(name), grams=[each[name] for each in found] if name in found[0] else None)
        for name in OFFICIAL["bloomberg_regmean"]
    }
    compare(merged, "bloomberg_regmean")


def test_regmean_pp_of_fusion_bench():
    def rule(tuned: Tensor, known: object) -> Tensor:
        return regmean(None, tuned, grams=known, alpha=0.9, ridge=0)  # type: ignore[arg-type]

    module = Net(5000)
    experts = [net.state_dict() for net in nets()]
    found = regmean_pp(module, experts, [module, module], [batches(0), batches(1)], rule)
    compare(module.state_dict(), "regmean_pp")
    name = "layers.1.up.weight"
    again = rule(weights(name), [each.tensors[name] for each in found])
    torch.testing.assert_close(again, module.state_dict()[name], rtol=1e-12, atol=0)
    assert found[0].metadata["examples"] == "4" and found[0].metadata["kind"] == "grams"


def test_the_shortcut_for_the_information_of_fusion_bench():
    found = [fisher(net, lambda ids, net=net: net(ids).mean(1), batches(k), "batch_squared").tensors
             for k, net in enumerate(nets())]  # fmt: skip
    lengths = [float(torch.cat([one.flatten() for one in each.values()]).norm()) + SMALL for each in found]
    merged = {
        name: fisher_rule(None, weights(name), fisher=torch.stack([each[name] + SMALL for each in found]),
                          lengths=lengths)
        for name in OFFICIAL["fisher_shortcut"]
    }  # fmt: skip
    compare(merged, "fisher_shortcut")


@pytest.mark.parametrize("kind", ["mmatena_given", "bloomberg_fisher", "fisher_given"])
def test_averages_by_given_information(kind):
    given = information()
    lengths = [float(torch.cat([one.flatten() for one in each.values()]).norm()) for each in given]
    merged = {
        name: fisher_rule(None, weights(name), fisher=torch.stack([each[name] for each in given]), lengths=lengths,
                          weight=(0.3, 0.7))
        for name in OFFICIAL[kind]
    }  # fmt: skip
    compare(merged, kind, 1e-6 if kind != "fisher_given" else 3e-6)  # which adds a millionth
