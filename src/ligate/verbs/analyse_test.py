from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from ligate.align.analysis.layer import Wish
from ligate.cli.app import app
from ligate.core.errors import InputError, NonFiniteError, RecipeError

from .analyse import analyse, analyse_modules

NETWORKS = """
import torch
from torch import nn

class Two(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, width), nn.Linear(width, width), nn.Linear(width, 3)
    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu())

def narrow():
    return Two(10), torch.zeros(1, 6)
"""


def _network(width: int = 10, seed: int = 0) -> nn.Module:
    scope: dict = {}
    exec(NETWORKS, scope)
    torch.manual_seed(seed)
    return scope["Two"](width)


def _permuted(network: nn.Module) -> dict[str, Tensor]:
    state = {name: value.clone() for name, value in network.state_dict().items()}
    one, two = (torch.randperm(10, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    state["first.weight"], state["first.bias"] = state["first.weight"][one], state["first.bias"][one]
    state["second.weight"], state["second.bias"] = state["second.weight"][two][:, one], state["second.bias"][two]
    state["head.weight"] = state["head.weight"][:, two]
    return state


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("networks_of_a_test.py").write_text(NETWORKS)
    network = _network()
    save_file(network.state_dict(), "a.safetensors")
    save_file(_permuted(network), "b.safetensors")
    x = torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
    np.save("x.npy", x.numpy())


MODEL = "networks_of_a_test:narrow"


def test_a_permuted_copy_is_the_same_network():
    found = analyse("a.safetensors", "b.safetensors", "x.npy", model=MODEL)
    assert [layer.name for layer in found.layers] == ["second", "head"]
    assert (found.a, found.b) == ("a", "b")
    for layer in found.layers:
        assert layer.indices["matched"].value == pytest.approx(1.0)
        assert layer.indices["cka"].value == pytest.approx(1.0)
        assert layer.samples == 96  # six batches of 16; what does not fill one is left out
    assert found.left_out == {}


def test_networks_of_other_widths_are_compared():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    found = analyse_modules(_network(10), _network(14, seed=1), x, names=("narrow", "wide"), wish=Wish(draws=1))
    assert [(layer.a.units, layer.b.units) for layer in found.layers] == [(10, 14), (10, 14)]
    assert all(len(layer.matched) <= 10 for layer in found.layers)
    assert "wide" in found.b


def test_layers_that_one_has_alone_are_told_and_none_in_common_is_an_error():
    x = torch.randn(20, 6)
    deeper = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 3))
    with pytest.raises(InputError, match=r"no layer in common(.|\n)*A has second, head; B has 2"):
        analyse_modules(_network(), deeper, x)
    shallow = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 4), nn.ReLU(), nn.Linear(4, 3))
    found = analyse_modules(deeper, shallow, x, names=("deep", "shallow"), wish=Wish(strengths=(), draws=0))
    assert [layer.name for layer in found.layers] == ["2"]
    assert found.left_out == {"4": "there is none in deep"}


def test_a_network_that_is_not_finite_is_named_with_its_layer():
    broken = _network()
    broken.first.weight.data[0] = float("nan")
    with pytest.raises(NonFiniteError, match="layer second"):
        analyse_modules(_network(), broken, torch.randn(20, 6))


@pytest.mark.parametrize(
    ("save", "told"),
    [
        (lambda: np.save("x.npy", np.zeros((20, 7), np.float32)), "cannot be traced"),
        (lambda: np.save("x.npy", np.array(["text"])), "numbers are needed"),
        (lambda: np.save("x.npy", np.array([{}], dtype=object)), "numpy cannot read it"),
        (lambda: np.save("x.npy", np.zeros((0, 6), np.float32)), "no inputs"),
        (lambda: np.savez("x.npz", y=np.zeros((20, 6)), x=np.zeros((20, 6))), "it holds y, x, the network takes 0"),
        (lambda: Path("x.npy").write_text("no array"), "numpy cannot read it"),
        (lambda: Path("x.txt").write_text("some text"), "no texts"),
    ],
)
def test_data_that_the_network_cannot_take_are_told(save, told: str):
    save()
    data = next(name for name in ("x.npz", "x.txt", "x.npy") if Path(name).exists())
    with pytest.raises(InputError, match=told):
        analyse("a.safetensors", "b.safetensors", data, model=MODEL)


def test_files_that_are_not_there_or_of_no_known_kind():
    with pytest.raises(InputError, match="no such file"):
        analyse("a.safetensors", "b.safetensors", "lost.npy", model=MODEL)
    Path("x.tar").write_text("")
    with pytest.raises(RecipeError, match="no kind"):
        analyse("a.safetensors", "b.safetensors", "x.tar", model=MODEL)


def _run(*arguments: str):
    return CliRunner().invoke(app, ["align", "--analyse", *arguments])


def test_the_command_line_prints_a_table_and_writes_a_page():
    ran = _run("a.safetensors", "b.safetensors", "--data", "x.npy", "--model", MODEL, "--plot", "page.html")
    assert ran.exit_code == 0, ran.output
    assert "second" in ran.output
    assert "1.000 (" in ran.output
    assert "x.npy, 100 inputs" in ran.output
    assert "unit by unit" in Path("page.html").read_text()


def test_the_command_line_prints_json():
    ran = _run("a.safetensors", "b.safetensors", "--data", "x.npy", "--model", MODEL, "--json")
    assert json.loads(ran.stdout)["layers"][0]["indices"]["svcca"]["value"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a.safetensors"], "two models and inputs"),
        (["a.safetensors", "b.safetensors"], "two models and inputs"),
        (["a.safetensors", "b.safetensors", "out", "--data", "x.npy"], "writes no model"),
        (["a.safetensors", "b.safetensors", "--data", "x.npy", "--plot", "page.png"], "must end in .html"),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], told: str):
    assert told in str(_run(*arguments).exception)
