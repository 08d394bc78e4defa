from __future__ import annotations

import math

import pytest
import torch

from ligate.core.errors import InputError, RecipeError
from ligate.verbs import values
from ligate.verbs.diff import diff
from ligate.verbs.plot import points, write_plot


def one(a, b):
    (distance,) = diff({"w": a}, {"w": b}).tensors
    return distance


def test_distances_by_hand():
    distance = one(torch.tensor([3.0, 4.0, 0.0]), torch.tensor([3.0, 0.0, 0.0]))
    assert distance.relative == pytest.approx(4 / 5)
    assert distance.largest == 4.0
    assert distance.cosine == pytest.approx(9 / 15)
    assert distance.equal == pytest.approx(2 / 3)


def test_blocks_add_up(monkeypatch):
    a, b = torch.randn(1000, generator=torch.Generator().manual_seed(1)), torch.ones(1000)
    whole = one(a, b)
    monkeypatch.setattr(values.stored_blocks, "__defaults__", (64,))
    parts = one(a, b)
    assert parts.equal == whole.equal
    assert parts.largest == whole.largest
    assert (parts.relative, parts.cosine) == pytest.approx((whole.relative, whole.cosine), rel=1e-12)


def test_a_model_is_the_same_as_itself():
    model = {"w": torch.randn(5), "b": torch.zeros(3), "n": torch.tensor(4), "empty": torch.zeros(0)}
    difference = diff(model, model)
    assert difference.same
    assert difference.total.relative == 0.0


def test_what_is_not_defined_is_none():
    from_zero = one(torch.zeros(2), torch.ones(2))
    assert (from_zero.relative, from_zero.cosine) == (None, None)


def test_nan_is_seen():
    distance = one(torch.tensor([1.0, math.nan]), torch.tensor([1.0, 2.0]))
    assert math.isnan(distance.largest)
    assert distance.relative is None


def test_names_shapes_and_dtypes_that_differ_are_listed():
    a = {"w": torch.ones(2), "v": torch.ones(2), "x": torch.ones(2), "t": torch.ones(1)}
    b = {"w": torch.ones(2), "v": torch.ones(3), "y": torch.ones(2), "t": torch.ones(1, dtype=torch.bfloat16)}
    found = diff(a, b)
    assert (found.only_a, found.only_b) == (("x",), ("y",))
    assert found.reshaped == (("v", (2,), (3,)),)
    assert found.retyped == (("t", "F32", "BF16"),)
    assert not found.same


def test_the_most_distant_comes_first():
    base = {"near": torch.ones(2), "far": torch.ones(2)}
    moved = {"near": torch.ones(2) * 1.1, "far": torch.ones(2) * 3}
    assert [d.name for d in diff(base, moved).tensors] == ["far", "near"]


def test_nothing_in_common_is_an_error():
    with pytest.raises(InputError, match="no tensor name in common"):
        diff({"a": torch.ones(1)}, {"b": torch.ones(1)})


def test_modules_are_taken_and_left_as_they_are():
    module = torch.nn.Linear(2, 2)
    before = {name: x.clone() for name, x in module.state_dict().items()}
    diff(module, {name: x + 1 for name, x in before.items()})
    assert all(torch.equal(x, before[name]) for name, x in module.state_dict().items())


@pytest.fixture
def layered():
    names = [f"model.layers.{i}.{part}.weight" for i in range(3) for part in ("up", "<down>")] + ["norm.weight"]
    return diff({n: torch.ones(2) for n in names}, {n: torch.full((2,), 1.5) for n in names})


def test_points_know_their_layer(layered):
    found = {(point.role, point.layer) for point in points(layered)}
    assert ("model.layers.*.up.weight", 2) in found
    assert ("norm.weight", None) in found


@pytest.mark.parametrize("suffix", [".svg", ".html"])
def test_plots_stand_alone_and_escape_names(layered, tmp_path, suffix):
    path = tmp_path / f"plot{suffix}"
    write_plot(layered, path)
    text = path.read_text("utf-8")
    assert text.count("<circle") == 7
    assert "&lt;down&gt;" in text
    assert "<down>" not in text
    assert "src=" not in text
    assert "href" not in text


def test_another_kind_of_plot_is_refused(layered, tmp_path):
    with pytest.raises(RecipeError, match=r"\.svg or \.html"):
        write_plot(layered, tmp_path / "plot.png")
