from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ligate.bench.weights import read_weights, write_weights
from ligate.cli.main import main
from ligate.core.errors import InputError
from ligate.engine.record import to_text
from ligate.verbs import family_tree
from ligate.verbs.merge import merge
from ligate.verbs.outcome import read_record
from ligate.verbs.trace import Traced, trace_child, trace_tree

State = dict[str, Tensor]
SHAPES = {"up.weight": (48, 32), "up.bias": (48,), "mid.weight": (40, 48), "down.weight": (32, 40), "norm": (32,)}


def network(seed: int) -> State:
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=draw) for name, shape in SHAPES.items()}


def tuned(state: State, seed: int, size: float = 0.05) -> State:
    change = network(seed)
    return {name: value + size * change[name] for name, value in state.items()}


def adapted(state: State, seed: int) -> State:
    draw = torch.Generator().manual_seed(seed)

    def low(value: Tensor) -> Tensor:
        rows, columns = value.shape
        return 0.1 * torch.randn(rows, 2, generator=draw) @ torch.randn(2, columns, generator=draw)

    return {name: value + low(value) if value.ndim == 2 else value.clone() for name, value in state.items()}


def write(folder: Path, nets: dict[str, State]) -> Path:
    for name, state in nets.items():
        write_weights(state, folder / name)
    return folder


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """A root with three children, two grandchildren, merges, copies, a stranger and what cannot be read."""
    root = network(0)
    a, b, c = tuned(root, 1), tuned(root, 2), adapted(root, 3)
    a1 = tuned(a, 4)
    nets = {
        "root": root,
        "a": a,
        "b": b,
        "c": c,
        "a1": a1,
        "soup": {name: 0.25 * a[name] + 0.75 * b[name] for name in root},
        "sum": {name: 0.6 * a[name] + 0.6 * c[name] - 0.2 * root[name] for name in root},
        "half": {name: value.bfloat16() for name, value in a1.items()},
        "pruned": {name: value * (value.abs() > 0.2) for name, value in b.items()},
        "stranger": network(9),
        "other": {"weight": torch.ones(3, 4)},
    }
    folder = write(tmp_path_factory.mktemp("folder"), nets)
    (folder / "cut").mkdir()
    (folder / "cut" / "model.safetensors").write_bytes((folder / "a" / "model.safetensors").read_bytes()[:-8])
    return trace_tree(folder)


@pytest.mark.parametrize(
    ("child", "kind", "parents"),
    [
        ("root", "root", set[str]()),
        ("a", "tuned", {"root"}),
        ("b", "tuned", {"root"}),
        ("c", "low rank", {"root"}),
        ("a1", "tuned", {"a"}),
        ("soup", "merged", {"a", "b"}),
        ("sum", "merged", {"a", "c"}),
        ("half", "rounded", {"a1"}),
        ("pruned", "pruned", {"b"}),
        ("stranger", "alone", set[str]()),
        ("other", "alone", set[str]()),
    ],
)
def test_every_model_gets_its_parents(traced: Traced, child: str, kind: str, parents: set[str]):
    found = traced.member(child)
    assert (found.kind, {link.name for link in found.parents if link.role == "parent"}) == (kind, parents)


def test_weights_of_linear_merges_are_told(traced: Traced):
    weights = {link.name: link.weight for link in traced.member("soup").parents}
    assert weights == pytest.approx({"a": 0.25, "b": 0.75}, abs=1e-3)
    weights = {link.name: link.weight for link in traced.member("sum").parents}
    assert weights == pytest.approx({"a": 0.6, "c": 0.6, "root": -0.2}, abs=1e-3)


def test_what_cannot_be_read_is_listed_and_all_else_is_traced(traced: Traced):
    (skipped,) = traced.skipped
    assert skipped.name == "cut" and "cut short" in skipped.why


def test_the_tree_is_told_in_text_data_and_a_picture(traced: Traced):
    text = family_tree.text(traced)
    assert "└─ half  rounded to 16 bits" in text and "= 0.75 b + 0.25 a" in text
    assert {each["name"] for each in family_tree.data(traced)["models"]} == {each.name for each in traced.members}
    assert family_tree.picture(traced).count("<rect class") == len(traced.members)


def test_a_child_is_never_older_than_its_possible_parents(tmp_path: Path):
    root = network(0)
    child = tuned(root, 1)
    write(tmp_path, {"child": child, "parent": root, "stranger": network(5)})
    found = trace_child(tmp_path / "child", [tmp_path / "stranger", tmp_path / "parent"])
    assert [link.name for link in found.members[0].parents] == ["parent"]
    write(tmp_path, {"foreign": network(6)})
    found = trace_child(tmp_path / "foreign", [tmp_path / "stranger", tmp_path / "parent"])
    assert found.members[0].kind == "alone"


def test_a_folder_without_models_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no two models"):
        trace_tree(tmp_path)


def test_a_false_claim_of_weights_and_of_parents_is_found(tmp_path: Path):
    root = network(0)
    write(tmp_path, {"a": tuned(root, 1), "b": tuned(root, 2), "c": tuned(root, 3)})
    honest = _merged(tmp_path, "honest", ("a", "b"), (1, 3))
    assert trace_tree(tmp_path).member("honest").record == ()
    even = _merged(tmp_path, "even", ("a", "b"), (1, 1))
    other = _merged(tmp_path, "other", ("a", "c"), (1, 3))
    _forge(honest, even)
    _forge(other, even)
    found = trace_tree(tmp_path)
    assert any("its record says 0.500" in line for line in found.member("honest").record)
    assert any("c went in" in line for line in found.member("other").record)
    assert found.member("even").record == ()


def _merged(folder: Path, name: str, models: tuple[str, str], weights: tuple[int, int]) -> Path:
    sources = ", ".join(f"{each}: {folder / each}" for each in models)
    weight = ", ".join(f"{each}: {value}" for each, value in zip(models, weights, strict=True))
    rule = f"method: linear, models: [{', '.join(models)}], parameters: {{weight: {{{weight}}}}}"
    (folder / f"{name}.yaml").write_text(f"sources: {{{sources}}}\nmerge: {{{rule}}}")
    merge(folder / f"{name}.yaml", folder / name)
    return folder / name


def _forge(liar: Path, told: Path) -> None:
    """The record of another merge, with the digests of this one's own weights, sealed anew."""
    own, claim = read_record(liar), read_record(told)
    tensors = {name: replace(entry, digest=own.tensors[name].digest) for name, entry in claim.tensors.items()}
    step = replace(claim.steps[-1], tensors=tensors)
    (liar / "ligate.json").write_text(to_text(replace(claim, steps=(*claim.steps[:-1], step))))


def test_the_command_line_writes_what_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = network(0)
    write(tmp_path / "models", {"child": tuned(root, 1), "x": root, "y": network(5)})
    files = [str(tmp_path / name) for name in ("tree.json", "tree.svg")]
    asked = [str(tmp_path / "models" / name) for name in ("child", "x", "y")]
    assert main(["trace", asked[0], "--parents", *asked[1:], "-q", "--json", files[0], "--plot", files[1]]) == 0
    assert "child  tuned" in capsys.readouterr().out
    told = json.loads(Path(files[0]).read_text())
    assert told["models"][0]["parents"][0]["name"] == "x"
    assert main(["trace", asked[0]]) == 2


def test_the_command_line_tells_of_lies_that_were_sealed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root, models = network(0), tmp_path / "models"
    write(models, {"root": root, "a": tuned(root, 1), "b": tuned(root, 2), "c": tuned(root, 3)})
    uneven, even = _merged(models, "uneven", ("a", "b"), (1, 3)), _merged(models, "even", ("a", "b"), (1, 1))
    stranger = _merged(models, "stranger", ("a", "c"), (1, 3))
    changed = _merged(models, "changed", ("b", "c"), (1, 1))
    _forge(uneven, even)
    _forge(stranger, even)
    weights = read_weights(changed)
    write_weights({name: 1.01 * value for name, value in weights.items()}, changed)
    assert main(["trace", "--tree", str(models), "-q"]) == 0
    lines = {line.strip("│├└─ ").split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "a has the weight 0.250, its record says 0.500" in lines["uneven"]
    assert "c went in with the confidence" in lines["stranger"]
    assert "its record names b, and the weights show nothing of it" in lines["stranger"]
    assert "its weights are not those that its record tells of" in lines["changed"]
    assert "record" not in lines["even"]


def test_the_command_line_traces_what_is_left_of_a_damaged_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = network(0)
    child = tuned(root, 1)
    lacking = {name: value for name, value in tuned(child, 2).items() if name != "mid.weight"}
    spoilt = {name: value.clone() for name, value in tuned(root, 3).items()}
    spoilt["up.bias"][0] = float("nan")
    write(tmp_path, {"root": root, "child": child, "lacking": lacking, "spoilt": spoilt, "cut": root})
    write(tmp_path, {"other": {"conv": torch.randn(8, 3, 3, 3)}})
    for name, change in (("cut", lambda raw: raw[:-100]), ("noise", lambda raw: bytes(range(256)) * 8)):
        path = tmp_path / name / "model.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(change((tmp_path / "root" / "model.safetensors").read_bytes()))
    (tmp_path / "shards").mkdir()
    index = {"metadata": {}, "weight_map": dict.fromkeys(SHAPES, "model-00001-of-00001.safetensors")}
    (tmp_path / "shards" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert main(["trace", "--tree", str(tmp_path), "-q"]) == 0
    out = capsys.readouterr().out
    assert "└─ lacking  tuned" in out
    assert "other  related to none of them" in out
    skipped = [line.split(":")[0].removeprefix("skipped ") for line in out.splitlines() if line.startswith("skipped")]
    assert skipped == ["cut", "noise", "shards", "spoilt"]
    assert "up.bias" in out and "not finite" in out


def test_siblings_without_their_parent_are_told_to_miss_one(tmp_path: Path):
    root = network(0)
    write(tmp_path, {name: tuned(root, seed) for seed, name in enumerate("abcd", 1)})
    assert [each.absent for each in trace_tree(tmp_path).members if each.kind == "root"] == [True]
    write(tmp_path, {"root": root})
    assert not any(each.absent for each in trace_tree(tmp_path).members)
