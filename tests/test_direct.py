"""Rules that compiled loops do straight from stored numbers: same bytes, digests and statistics as by torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import ligate.engine.run
from ligate.core import compiled
from ligate.core.errors import NonFiniteError
from ligate.core.tensors import Header, dtype_name
from ligate.engine import blocks
from ligate.engine.plan import Operand, Out, Plan
from ligate.engine.run import run
from ligate.io.memory import MemorySink, MemorySource
from ligate.methods import _catalogue
from ligate.ops import order

pytestmark = pytest.mark.skipif(not compiled.available(), reason="installed without a C compiler")

SHAPES = {"a": (3, 41), "b": (700,), "c": (40, 50), "d": (1,)}
CASES = [
    ("merge/linear", {"weight": (0.5, 0.3, 0.2)}),
    ("merge/linear", {"weight": (0.5, -0.3, 0.2), "normalize": False}),
    ("merge/task_arithmetic", {"weight": (1.0, 0.5, -0.2), "scale": 0.7}),
    ("merge/ties", {}),
    ("merge/ties", {"scope": "tensor", "tie": "positive", "weight": (0.5, 0.3, 0.2)}),
    ("merge/ties", {"density": (0.0, 0.5, 1.0), "tie": "zero", "normalize": False, "weight": (0.5, -0.3, 0.2)}),
    ("merge/ties", {"density": (1.0,) * 3}),
    ("merge/ties", {"rescale": "l1"}),
    ("merge/dare_linear", {"density": (0.5, 1.0, 0.3)}),
    ("merge/dare_linear", {"density": (0.5, 0.0, 0.3), "rescale": "l1", "normalize": True}),
    ("merge/dare_ties", {"weight": (0.5, -0.3, 0.2)}),
    ("merge/dare_ties", {"scope": "tensor", "tie": "zero", "rescale": "l1", "trim": (0.5, 1.0, 0.2)}),
    ("merge/breadcrumbs", {"density": (0.5, 1.0, 0.3), "gamma": (0.1, 0.0, 0.2)}),
    ("merge/breadcrumbs", {"rescale": "l1", "weight": (0.5, -0.3, 0.2)}),
    ("merge/consensus", {}),
    ("merge/consensus", {"agreement": 1, "strictness": (0.2, 0.6, 1.0), "weight": (0.5, -0.3, 0.9), "normalize": True}),
    ("merge/magmax", {"scale": 1.0}),
    ("merge/varm", {}),
    ("merge/varm", {"measure": "magnitude", "scale": 0.7}),
    ("merge/karcher", {"weight": (0.5, 0.3, 0.2)}),
    ("merge/multislerp", {}),
    ("merge/model_stock", {}),
    ("merge/pcb", {}),
    ("merge/pcb", {"scope": "tensor", "density": 1.0, "outliers": 0.05, "weight": (0.5, -0.3, 0.2)}),
    ("merge/pcb", {"scope": "tensor", "density": 0.0}),
    ("merge/sce", {}),
    ("merge/sce", {"density": 1.0, "least_energy": 1e-6}),
    ("merge/sce", {"density": 0.4}),
    ("merge/ram", {"scale": 0.7}),
    ("merge/ramplus_tl", {"boost": 0.5, "cap": 2.0, "epsilon": 1e-3}),
    ("merge/breadcrumbs_ties", {"density": (0.5, 0.0, 0.3), "normalize": True}),
]


def _models(dtype, spoil=None):
    """A base and three models near it; with `spoil` one number of the second is that."""
    generator = torch.Generator().manual_seed(0)
    base = {name: torch.randn(shape, generator=generator) * 0.02 for name, shape in SHAPES.items()}
    models = [
        {n: (t + (k > 0) * torch.randint(-4, 5, t.shape, generator=generator) / 512).to(dtype) for n, t in base.items()}
        for k in range(4)
    ]
    if spoil is not None:
        models[2]["c"][7, 11] = spoil
    return [MemorySource(f"m{k}", model) for k, model in enumerate(models)]


def _params(card, given):
    values = {name: given.get(name, param.default) for name, param in card.params.items()}
    return {
        name: (value,) * 3 if card.params[name].per_model and not isinstance(value, tuple) else value
        for name, value in values.items()
    }


def _merged(method, given, dtype, *, models=None, **how):
    card, sources = _catalogue.load(method), models or _models(dtype)
    base = Operand(0, "") if card.base == "required" else None
    outs = tuple(
        Out(
            name,
            dtype_name(dtype),
            shape,
            method,
            tuple(Operand(k, name) for k in (1, 2, 3)),
            base and Operand(0, name),
            _params(card, given),
        )
        for name, shape in SHAPES.items()
    )
    sink = MemorySink({name: Header(dtype_name(dtype), shape) for name, shape in SHAPES.items()})
    results = run(Plan(("m0", "m1", "m2", "m3"), outs), sources, lambda _: card, sink, **how)
    return results, {name: tensor.view(torch.uint8) for name, tensor in sink.state_dict().items()}


@pytest.fixture(params=[(1 << 17, 1 << 25, 1 << 16), (64, 256, 128)], ids=["default cuts", "small cuts"])
def cuts(request, monkeypatch):
    block, segment, sample = request.param
    monkeypatch.setattr(blocks, "BLOCK", block)
    monkeypatch.setattr(blocks, "SEGMENT", segment)
    monkeypatch.setattr(blocks, "GLIMPSE", min(blocks.GLIMPSE, block // 4))
    monkeypatch.setattr(order, "SAMPLE", sample)


@pytest.mark.parametrize(("method", "given"), CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("threads", [1, 3])
def test_same_bytes_digests_and_statistics_as_by_torch(method, given, dtype, threads, cuts, monkeypatch):
    with monkeypatch.context() as only:
        only.delattr(ligate.engine.run, "tensor_passes")  # whatever needs torch fails
        found, tensors = _merged(method, given, dtype, threads=threads)
    monkeypatch.setattr(compiled, "library", lambda: None)
    wanted, others = _merged(method, given, dtype)
    assert found == wanted
    assert all(torch.equal(tensors[name], others[name]) for name in SHAPES)


@pytest.mark.parametrize("method", ["merge/linear", "merge/task_arithmetic", "merge/ties"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_told_with_its_place(method, dtype, value, cuts):
    models = _models(dtype, value)
    with pytest.raises(NonFiniteError, match=rf"{value} at element 361 \(\[7, 11\]\)".replace("nan", "NaN")) as error:
        _merged(method, {}, dtype, models=models)
    assert "m2" in str(error.value)


def test_such_a_merge_loads_no_torch(tmp_path):
    program = (
        "import sys; from ligate.cli.main import main\n"
        "if main(): sys.exit('it failed')\n"
        "if 'torch._C' in sys.modules: sys.exit('torch was loaded')"
    )
    from safetensors.torch import save_file

    for name in ("base", "one", "two"):
        (tmp_path / name).mkdir()
        save_file({"w": torch.randn(300, 400).bfloat16()}, tmp_path / name / "model.safetensors")
    models = [str(tmp_path / "one"), str(tmp_path / "two"), "-o", str(tmp_path / "out"), "--quiet"]
    for method in (["linear"], ["ties", "--base", str(tmp_path / "base")]):
        command = [sys.executable, "-c", program, "merge", "--overwrite", "--method", *method, *models]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert (tmp_path / "out" / "ligate.json").exists()
