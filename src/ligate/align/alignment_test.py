"""An alignment comes back from its file as it was, and no file that is wrong gets in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ligate.align.alignment import Alignment, Made, lines, load, moved, save, shape_digest
from ligate.align.maps import AxisMap, Group, Place, reordered
from ligate.core.errors import InputError, LigateError
from ligate.core.tensors import Header

HEADS = Group("heads", 3, (Place("qkv", 0, (3, 3, 4), 1), Place("out", 1, (3, 4), 0, "reads")))
INSIDE = Group(
    "inside",
    4,
    (Place("qkv", 0, (3, 3, 4), 2, over=((0, 1),)), Place("out", 1, (3, 4), 1, "reads", ((1, 0),))),
    copies=3,
)
STREAM = Group("stream", 5, (Place("out", 0, (5,), 0), Place("qkv", 1, (5,), 0, "reads", scale="norm"),
                             Place("norm", 0, (5,), 0, "scales")), "orthogonal")  # fmt: skip
MADE = Made("weights", {"seed": 0, "starts": 3}, "a1", "b2", 0.125, 0.75)


def example() -> Alignment:
    draw = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=draw, dtype=torch.float64)).Q
    each = torch.stack([torch.randperm(4, generator=draw) for _ in range(3)])
    stream = AxisMap(STREAM, turn, turn, {"norm": torch.rand(2, 5, generator=draw)})
    return Alignment((reordered(HEADS, torch.tensor([2, 0, 1])), reordered(INSIDE, each), stream), MADE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "alignment.safetensors"
    save(example(), path)
    return path


def test_what_is_saved_comes_back_bit_by_bit(file: Path):
    before, after = example(), load(file)
    assert after.made == before.made
    for one, other in zip(before.maps, after.maps, strict=True):
        assert one.group == other.group
        assert torch.equal(one.write, other.write) and torch.equal(one.read, other.read)
        assert one.scales.keys() == other.scales.keys()
        assert all(torch.equal(one.scales[name], other.scales[name]) for name in one.scales)


def test_the_file_is_one_that_safetensors_reads(file: Path):
    assert set(load_file(file)) == {"0.order", "1.order", "2.write", "2.read", "2.scales.norm"}


def test_the_same_alignment_is_the_same_file(file: Path, tmp_path: Path):
    save(load(file), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_a_folder_stands_for_the_file_in_it(file: Path):
    assert load(file.parent).made == MADE


def test_how_many_units_moved_is_told():
    here = reordered(HEADS, torch.arange(3))
    swapped = reordered(INSIDE, torch.tensor([[0, 1, 2, 3], [1, 0, 2, 3], [0, 1, 2, 3]]))
    turned = torch.eye(5, dtype=torch.float64)
    turned[:2, :2] = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    assert [moved(each) for each in (here, swapped)] == [0, 2 / 12]
    assert moved(AxisMap(STREAM, turned, turned)) == pytest.approx(0.4)
    assert moved(AxisMap(STREAM, turned[:4], turned[:4])) == 1
    assert Alignment((here,), MADE).is_identity and not Alignment((here, swapped), MADE).is_identity
    (line,) = lines(Alignment((swapped,), MADE))
    assert line == ("inside", "permutation", 4, 3, 2, 2 / 12)


def test_the_digest_is_that_of_names_and_shapes():
    one = {"a": Header("F32", (2, 3)), "b": Header("F32", (4,))}
    other_order = {"b": Header("BF16", (4,)), "a": Header("F32", (2, 3))}
    assert shape_digest(one) == shape_digest(other_order)
    assert shape_digest(one) != shape_digest({**one, "b": Header("F32", (5,))})


def rewritten(file: Path, tensors=None, change=lambda data: None, **metadata: str) -> None:
    """The file with other tensors, or another description."""
    data = described(file)
    change(data)
    told = {"format": "ligate.alignment", "alignment": json.dumps(data), **metadata}
    save_file({**load_file(file), **(tensors or {})}, file, told)


def described(file: Path):
    text = file.read_bytes()
    header = json.loads(text[8 : 8 + int.from_bytes(text[:8], "little")])
    return json.loads(header["__metadata__"]["alignment"])


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("0.order", torch.tensor([0, 0, 1]), "no permutation"),
        ("0.order", torch.tensor([0, 1, 3]), "no permutation"),
        ("0.order", torch.tensor([-1, 0, 1]), "no permutation"),
        ("0.order", torch.tensor([0, 1]), r"I64 \[2\]; I64 \[3\] is expected"),
        ("0.order", torch.tensor([0.0, 1.0, 2.0]), r"F32 \[3\]"),
        ("1.order", torch.tensor([[0, 1, 2, 3]]), r"or I64 \[3, 4\] is expected"),
        ("2.write", torch.eye(4), r"F32 \[4, 4\]"),
        ("2.read", torch.ones(4, 5), "another shape"),
        ("2.write", torch.full((5, 5), torch.nan), "NaN"),
        ("2.scales.norm", torch.ones(3, 5), r"\[3, 5\]"),
        ("2.scales.other", torch.ones(2, 5), "no place of the group"),
        ("7.order", torch.arange(3), "belongs to no group"),
        ("spare", torch.arange(3), "belongs to no group"),
    ],
)
def test_tensors_that_are_wrong_are_named_with_their_file(file: Path, name, value, told):
    rewritten(file, {name: value})
    with pytest.raises(InputError, match=told) as caught:
        load(file)
    assert f"tensor {name}" in str(caught.value) and str(file) in str(caught.value)


def drop_group(data):
    data["groups"].append({**data["groups"][0], "name": "more"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (drop_group, "no map is stored"),
        (lambda data: data["groups"].append(data["groups"][0]), "same name"),
        (lambda data: data.update(groups={}), "lists no groups"),
        (lambda data: data.pop("made"), "how it was made"),
        (lambda data: data["made"].update(method=3), "`method`"),
        (lambda data: data["groups"][0].update(kind="magic"), "magic"),
        (lambda data: data["groups"][0].update(size="3"), "not described"),
        (lambda data: data["groups"][0].update(size=0), "not described"),
        (lambda data: data["groups"][0].update(extra=1), "a group needs"),
        (lambda data: data["groups"][0].pop("places"), "a group needs"),
        (lambda data: data["groups"][0]["places"][0].update(dim=-1), "not described"),
        (lambda data: data["groups"][0]["places"][0].update(sizes=[]), "not described"),
        (lambda data: data["groups"][0]["places"][0].update(sizes=[3, 3.5, 4]), "not described"),
        (lambda data: data["groups"][0]["places"][0].update(factor=9), "3 factors"),
        (lambda data: data["groups"][0]["places"][0].update(factor=2), "4 units, the group 3"),
        (lambda data: data["groups"][0]["places"][0].update(role="eats"), "not described"),
        (lambda data: data["groups"][1]["places"][0].update(over=[1]), "not described"),
        (lambda data: data["groups"][1]["places"][0].update(over=[[0, 2]]), "twice"),
        (lambda data: data["groups"][1].update(copies=2), "2 copies"),
        (lambda data: data["groups"][0]["places"].append(data["groups"][0]["places"][0]), "a place twice"),
        (lambda data: data["groups"][0].update(places=[7]), "a place of 'heads'"),
    ],
)
def test_descriptions_that_are_wrong_are_refused(file: Path, change, told):
    rewritten(file, change=change)
    with pytest.raises(InputError, match=told) as caught:
        load(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', "{" * 5000, "[" * 200_000])
def test_what_is_no_description_is_refused(file: Path, text: str):
    rewritten(file, alignment=text)
    with pytest.raises(InputError, match=r"JSON|how it was made"):
        load(file)


def test_a_checkpoint_is_no_alignment(tmp_path: Path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="no alignment"):
        load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"\xff" * 64, b"hello"])
def test_no_file_of_any_bytes_gets_in(tmp_path: Path, content: bytes):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(LigateError):
        load(tmp_path / "a.safetensors")


def test_a_folder_without_one_is_told(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path)
