"""`--device`: rules that need a whole tensor calculate elsewhere, to the same numbers up to rounding."""

from __future__ import annotations

import pytest
import torch

from ligate.core.errors import RecipeError
from ligate.core.tensors import Header
from ligate.engine.device import check_device
from ligate.engine.plan import Operand, Out, Plan
from ligate.engine.run import run
from ligate.io.memory import MemorySink, MemorySource
from ligate.methods import _catalogue
from ligate.verbs.merge import merge

RULES = ["tsv_m", "iso_c", "knots", "wudi", "swudi", "opcm"]
with_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def merged(rule, device):
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(24, 40, generator=generator)
    models = [base, *(base + torch.randn(24, 40, generator=generator) / 50 for _ in range(3))]
    sources = [MemorySource(f"m{k}", {"w": model}) for k, model in enumerate(models)]
    card = _catalogue.load(f"merge/{rule}")
    params = {n: (p.default,) * 3 if p.per_model else p.default for n, p in card.params.items()}
    out = Out("w", "F32", (24, 40), card.id, tuple(Operand(k, "w") for k in (1, 2, 3)), Operand(0, "w"), params)
    sink = MemorySink({"w": Header("F32", (24, 40))})
    run(Plan(("m0", "m1", "m2", "m3"), (out,)), sources, lambda _: card, sink, device=device)
    return sink.state_dict()["w"]


@with_cuda
@pytest.mark.parametrize("rule", RULES)
def test_on_a_gpu_the_numbers_are_those_of_the_cpu(rule):
    torch.testing.assert_close(merged(rule, "cuda"), merged(rule, None), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_of_a_whole_tensor_is_sent_there_and_back(rule, monkeypatch):
    sent, to = [], torch.Tensor.to

    def spy(tensor, *given, **named):
        sent.extend(one for one in given if one == "cpu")
        return to(tensor, *given, **named)

    monkeypatch.setattr(torch.Tensor, "to", spy)
    found = merged(rule, "cpu")
    assert sent
    monkeypatch.undo()
    assert torch.equal(found, merged(rule, None))


def test_a_rule_that_works_in_blocks_stays(monkeypatch):
    sent, to = [], torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda tensor, *given, **named: sent.extend(given) or to(tensor, *given, **named)
    )
    merged("pcb", "cpu")
    assert "cpu" not in sent


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "mps", "cuda:0:1"])
def test_what_is_no_device_is_refused(device):
    with pytest.raises(RecipeError, match="is no device"):
        check_device(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_before_anything_else(tmp_path):
    with pytest.raises(RecipeError, match="no CUDA device here"):
        merge({}, tmp_path / "out", device="cuda")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("device", [None, "cpu"])
def test_the_cpu_is_always_there(device):
    check_device(device)
