from __future__ import annotations

import signal
import tempfile
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ligate.core import compiled
from ligate.core.direct import WeightedSum
from ligate.core.errors import InputError, NonFiniteError, RecipeError
from ligate.core.method import Again, Stat, method
from ligate.core.tensors import Header, dtype_name, itemsize
from ligate.engine import blocks
from ligate.engine.journal import Journal, read
from ligate.engine.plan import Operand, Out, Plan
from ligate.engine.run import run


class Shelf:
    """A source and a sink over a dictionary of tensors."""

    folder = None

    def __init__(self, label, tensors):
        self.label, self.tensors = label, tensors
        self.reads, self.lock = 0, threading.Lock()

    def headers(self):
        return {name: Header(dtype_name(t.dtype), tuple(t.shape)) for name, t in self.tensors.items()}

    def _bytes(self, name, start, size):
        flat = self.tensors[name].view(-1)
        itemsize = flat.element_size()
        return flat.view(torch.uint8).numpy()[start * itemsize : start * itemsize + size]

    def read_into(self, name, start, out):
        with self.lock:
            self.reads += 1
        np.frombuffer(out, np.uint8)[:] = self._bytes(name, start, len(out))

    def write(self, name, start, data):
        self._bytes(name, start, len(data))[:] = np.frombuffer(data, np.uint8)

    read_back = read_into

    def prefetch(self, name, start, stop): ...

    def place(self, name):
        return f"{self.label}.safetensors"


def total(base, tuned, *, site, scale: float = 1.0):
    return base + scale * (tuned - base).sum(0)


def centred(base, tuned, *, site, middle, scale: float = 1.0):
    return tuned.mean(0) - scale * middle


def _mean_stat(scope, calls=None):
    def observe(state, base, tuned, *, site):
        return (state[0] + tuned.double().sum().item(), state[1] + tuned.numel(), state[2])

    def finish(state):
        if calls is not None:
            calls.append(state)
        return state[0] / state[1] if state[2] else Again((0.0, 0, True))

    return Stat(
        "middle",
        scope,
        lambda models: (0.0, 0, False),
        observe,
        lambda a, b: (a[0] + b[0], a[1] + b[1], a[2]),
        finish,
        report=lambda value: {"mean": value},
        sample=lambda state: None if state[2] else 5000,
    )


def _card(function, *stats, reach="block"):
    names = [stat.name for stat in stats]
    return method(title="t", source="s", base="optional", reach=reach, stats=lambda params: stats, stat_names=names)(
        function
    ).card


def _plan(shapes, models=2, *, dtype="BF16", name="m", base=True, params=None, seed=0):
    outs = tuple(
        Out(
            tensor,
            dtype,
            shape,
            name,
            tuple(Operand(i + base, tensor) for i in range(models)),
            Operand(0, tensor) if base else None,
            params or {},
        )
        for tensor, shape in shapes.items()
    )
    return Plan(tuple("bacdefg"[: models + base]), outs, seed=seed)


def _shelves(shapes, count, dtype=torch.bfloat16):
    torch.manual_seed(0)
    return [Shelf("bacdefg"[i], {n: torch.randn(s).to(dtype) for n, s in shapes.items()}) for i in range(count)]


def _sink(plan):
    from ligate.core.tensors import torch_dtype

    return Shelf("out", {out.name: torch.zeros(out.shape, dtype=torch_dtype(out.dtype)) for out in plan.outs})


@pytest.fixture
def small_cuts(monkeypatch):
    """Many segments and blocks without large tensors."""
    monkeypatch.setattr(blocks, "BLOCK", 1 << 10)
    monkeypatch.setattr(blocks, "SEGMENT", 1 << 12)


SHAPES = {"w": (130, 77), "b": (3,), "scalar": (), "none": (0, 4), "exact": (4096,)}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_result_is_the_rule_in_float64_rounded_once(dtype, small_cuts):
    shelves = _shelves(SHAPES, 3, dtype)
    plan = _plan(SHAPES, dtype=dtype_name(dtype), params={"scale": 0.5})
    sink = _sink(plan)
    run(plan, shelves, lambda _: _card(total), sink)
    for name in SHAPES:
        base, *tuned = (shelf.tensors[name].double() for shelf in shelves)
        wanted = total(base, torch.stack(tuned), site=None, scale=0.5).to(dtype)
        assert torch.equal(sink.tensors[name], wanted) or dtype in (torch.bfloat16, torch.float16)
        torch.testing.assert_close(sink.tensors[name], wanted)


@pytest.mark.parametrize("scope", ["tensor", "model"])
def test_statistics_reach_the_rule_whatever_the_threads(scope, small_cuts):
    outcomes = []
    for threads in (1, 2, 4):
        shelves = _shelves(SHAPES, 2)
        plan = _plan(SHAPES, base=False)
        sink = _sink(plan)
        results = run(plan, shelves, lambda _: _card(centred, _mean_stat(scope)), sink, threads=threads)
        outcomes.append(({n: t.view(torch.int16).tolist() for n, t in sink.tensors.items()}, results))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    stack = torch.stack([shelf.tensors["w"] for shelf in shelves]).double()
    everything = torch.cat([torch.stack([s.tensors[n] for s in shelves]).double().flatten() for n in SHAPES])
    middle = stack.mean() if scope == "tensor" else everything.mean()
    assert results["w"].stats["middle"]["mean"] == pytest.approx(middle.item(), abs=1e-9)
    torch.testing.assert_close(sink.tensors["w"], (stack.mean(0) - middle).bfloat16())


def test_noise_is_the_same_in_every_pass_and_differs_by_model(small_cuts):
    seen = {}

    def observe(state, base, tuned, *, site):
        seen[site.name, site.start] = [site.noise(k, 0).clone() for k in range(2)]
        return state

    def rule(base, tuned, *, site, look):
        for k in range(2):
            assert torch.equal(site.noise(k, 0), seen[site.name, site.start][k])
        assert not torch.equal(site.noise(0, 0), site.noise(1, 0)) or tuned.shape[1] < 4
        return tuned[0]

    stat = Stat("look", "tensor", lambda models: 0, observe, lambda a, b: a, lambda state: 1)
    plan = _plan({"w": (130, 77)}, base=False)
    run(plan, _shelves({"w": (130, 77)}, 2), lambda _: _card(rule, stat), _sink(plan))


def test_a_row_rule_sees_whole_rows(small_cuts):
    def rule(base, tuned, *, site):
        rows = tuned[0].view(-1, site.shape[-1])
        return (rows - rows.mean(1, keepdim=True)).flatten()

    shapes = {"w": (130, 77)}
    shelves, plan = _shelves(shapes, 1), _plan(shapes, 1, base=False)
    sink = _sink(plan)
    run(plan, shelves, lambda _: _card(rule, reach="row"), sink)
    w = shelves[0].tensors["w"].float()
    torch.testing.assert_close(sink.tensors["w"], (w - w.mean(1, keepdim=True)).bfloat16())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_named(value, small_cuts):
    shelves = _shelves(SHAPES, 3)
    shelves[2].tensors["w"].view(-1)[5000] = value
    plan = _plan(SHAPES)
    with pytest.raises(NonFiniteError, match=r"c.safetensors, tensor w, model c: (NaN|-?inf) at element 5000"):
        run(plan, shelves, lambda _: _card(total), _sink(plan))


def test_a_result_that_overflows_is_named():
    shelves = _shelves({"w": (5,)}, 3, torch.float16)
    shelves[1].tensors["w"][3] = 60000.0
    plan = _plan({"w": (5,)}, dtype="F16", params={"scale": 3.0})
    with pytest.raises(NonFiniteError, match="tensor w: the result is inf at element 3"):
        run(plan, shelves, lambda _: _card(total), _sink(plan))


@pytest.mark.parametrize(
    "answer", [lambda t: t.double(), lambda t: t[:-1], lambda t: None, lambda t: t.to("meta"), lambda t: t.to_sparse()]
)
def test_a_rule_that_returns_something_else_is_told(answer):
    def rule(base, tuned, *, site):
        return answer(tuned[0])

    plan = _plan({"w": (5,)})
    with pytest.raises(RecipeError, match=r"m, tensor w: the rule returned .* where torch.float32 \(5,\) is due"):
        run(plan, _shelves({"w": (5,)}, 3), lambda _: _card(rule), _sink(plan))


def test_large_finite_numbers_are_not_mistaken_for_infinity():
    shelves = [Shelf(label, {"w": torch.full((9,), 3e38, dtype=torch.bfloat16)}) for label in "bac"]
    plan = _plan({"w": (9,)})
    sink = _sink(plan)
    run(plan, shelves, lambda _: _card(total), sink)
    assert torch.equal(sink.tensors["w"], shelves[0].tensors["w"])


def test_a_copy_in_a_narrower_dtype_is_rounded_once():
    numbers = torch.tensor([1 + 2**-8 + 2**-40, 2.0], dtype=torch.float64)
    plan = Plan(("a",), (Out("w", "BF16", (2,), None, (Operand(0, "w"),)),))
    sink = _sink(plan)
    run(plan, [Shelf("a", {"w": numbers})], lambda _: _card(total), sink)
    assert sink.tensors["w"].tolist() == [1 + 2**-7, 2]


def test_integer_tensors_are_copied_when_equal_and_refused_when_not():
    shelves = [Shelf(label, {"ids": torch.arange(7)}) for label in "ab"]
    plan = Plan(("a", "b"), (Out("ids", "I64", (7,), None, (Operand(0, "ids"), Operand(1, "ids"))),))
    sink = _sink(plan)
    run(plan, shelves, lambda _: _card(total), sink)
    assert torch.equal(sink.tensors["ids"], torch.arange(7))
    shelves[1].tensors["ids"][2] = 9
    with pytest.raises(InputError, match="tensor ids"):
        run(plan, shelves, lambda _: _card(total), _sink(plan))


def test_a_resumed_run_redoes_only_what_the_bytes_do_not_confirm(tmp_path, small_cuts):
    shelves, plan = _shelves(SHAPES, 2), _plan(SHAPES, base=False)
    card = _card(centred, _mean_stat("tensor"))
    sink, journal = _sink(plan), Journal(tmp_path / "journal.jsonl")
    journal.begin({"plan": plan.digest()})
    whole = run(plan, shelves, lambda _: card, sink, journal=journal)
    journal.close()
    finished = {name: tensor.clone() for name, tensor in sink.tensors.items()}

    sink.tensors["w"].view(-1)[5000] = 7  # segment 1 of w is no longer what the journal claims
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"tensor":"w","segm')  # torn
    before = [shelf.reads for shelf in shelves]
    again = run(plan, shelves, lambda _: card, sink, claims=read(tmp_path / "journal.jsonl"))
    assert again == whole
    assert all(torch.equal(sink.tensors[name], finished[name]) for name in finished)
    reads = shelves[0].reads - before[0]
    assert 0 < reads <= before[0]


def test_digests_are_those_of_the_bytes(small_cuts):
    from blake3 import blake3

    shelves, plan = _shelves({"w": (130, 77)}, 2), _plan({"w": (130, 77)}, base=False)
    sink = _sink(plan)
    result = run(plan, shelves, lambda _: _card(centred, _mean_stat("tensor")), sink)["w"]

    def digest(tensor):
        data = tensor.view(-1).view(torch.uint8).numpy().tobytes()
        step = blocks.SEGMENT * itemsize("BF16")
        parts = [blake3(data[i : i + step]).digest(length=16) for i in range(0, len(data), step)]
        return blake3(b"".join(parts)).hexdigest(length=16)

    assert result.digest == digest(sink.tensors["w"])
    assert [*result.operands.values()] == [digest(shelf.tensors["w"]) for shelf in shelves]


def test_torch_threads_of_the_caller_are_put_back():
    before = torch.get_num_threads()
    plan = _plan({"w": (5,)})
    run(plan, _shelves({"w": (5,)}, 3), lambda _: _card(total), _sink(plan))
    assert torch.get_num_threads() == before


def test_a_rule_need_not_ask_where_it_stands():
    def middle(base, tuned, *, share: float = 0.5):
        return base + share * (tuned.mean(0) - base)

    plan, shelves = _plan({"w": (5, 3)}, dtype="F32"), _shelves({"w": (5, 3)}, 3, torch.float32)
    sink = _sink(plan)
    run(plan, shelves, lambda _: _card(middle), sink)
    base, *tuned = (shelf.tensors["w"].double() for shelf in shelves)
    assert torch.equal(sink.tensors["w"], middle(base, torch.stack(tuned)).float())


def test_what_fails_in_a_rule_of_the_users_is_told_as_its_own():
    def broken(base, tuned):
        return base + missing  # noqa: F821

    broken.__module__ = "plugin.mine"
    plan, shelves = _plan({"w": (5, 3)}), _shelves({"w": (5, 3)}, 3)
    with pytest.raises(RecipeError, match="the rule fails: NameError: name 'missing'") as caught:
        run(plan, shelves, lambda _: _card(broken), _sink(plan))
    assert "tensor w" in str(caught.value)


@pytest.mark.parametrize("scope", ["tensor", "model"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_statistic_may_write_to_its_state(scope, threads, small_cuts):
    def observe(state, base, tuned, *, site):
        state += tuned.shape[1]
        return state

    def rule(base, tuned, *, site, seen):
        return torch.full_like(tuned[0], seen)

    stat = Stat("seen", scope, lambda models: torch.zeros(()), observe, lambda a, b: a.add_(b), lambda state: state)
    plan = _plan(SHAPES, 1, dtype="F32", base=False)
    sink = _sink(plan)
    run(plan, _shelves(SHAPES, 1), lambda _: _card(rule, stat), sink, threads=threads)
    sizes = {name: tensor.numel() for name, tensor in sink.tensors.items()}
    for name, size in sizes.items():
        wanted = size if scope == "tensor" else sum(sizes.values())
        assert sink.tensors[name].tolist() == torch.full(SHAPES[name], wanted).tolist()


def test_what_a_statistic_does_wrong_names_the_tensor():
    def finish(state):
        return 1 / state

    finish_stat = Stat("look", "tensor", lambda models: 0, lambda s, *_, site: s, lambda a, b: a, finish)
    report_stat = finish_stat._replace(finish=lambda state: 1, report=lambda value: {"told": object()})
    for stat in (finish_stat, report_stat):

        def rule(base, tuned, *, site, look):
            return base

        rule.__module__ = "plugin.mine"
        with pytest.raises(RecipeError, match=r"m, tensor w: the rule fails: (ZeroDivision|Type)Error"):
            _run_with_journal(_plan({"w": (5, 3)}), _shelves({"w": (5, 3)}, 3), _card(rule, stat))


def _run_with_journal(plan, shelves, card):
    with tempfile.TemporaryDirectory() as folder, closing(Journal(Path(folder) / "journal.jsonl")) as journal:
        return run(plan, shelves, lambda _: card, _sink(plan), journal=journal)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_interruption_stops_the_workers(threads, small_cuts):
    """As Ctrl-C does in a thread that waits for them."""
    stopped = threading.Event()

    def progress(nbytes):
        if not stopped.is_set():
            stopped.set()
            signal.raise_signal(signal.SIGINT)

    plan, shelves = _plan(SHAPES), _shelves(SHAPES, 3)
    with pytest.raises(KeyboardInterrupt):
        run(plan, shelves, lambda _: _card(total), _sink(plan), threads=threads, progress=progress)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ligate-")]


def test_words_of_a_card_that_nobody_knows_are_refused():
    stat = Stat("look", "layer", lambda models: 0, lambda s, *_, site: s, lambda a, b: a, lambda s: s)
    with pytest.raises(RecipeError, match="statistic `look` has the scope 'layer'"):
        run(_plan({"w": (5,)}), _shelves({"w": (5,)}, 3), lambda _: _card(total, stat), _sink(_plan({"w": (5,)})))
    with pytest.raises(TypeError, match="reach 'column'"):
        _card(total, reach="column")


def test_a_rule_for_stored_numbers_gives_every_model_its_weight():
    if not compiled.available():
        pytest.skip("without the compiled loops the rule itself is called")
    card = replace(_card(total), direct=lambda params, models: WeightedSum([1.0]))
    plan = _plan({"w": (5,)}, base=False)
    with pytest.raises(RecipeError, match="1 weights for 2 models"):
        run(plan, _shelves({"w": (5,)}, 2), lambda _: card, _sink(plan))
