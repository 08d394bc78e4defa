from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ligate.core.errors import InputError, StorageError
from ligate.core.tensors import Header
from ligate.io.memory import MemorySink, MemorySource


def read(source: MemorySource, name: str, start: int, count: int) -> bytes:
    header = source.headers()[name]
    out = bytearray(count * (header.nbytes // max(1, header.numel)))
    source.read_into(name, start, memoryview(out))
    return bytes(out)


def stored(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def pieces() -> dict[str, torch.Tensor]:
    grid = torch.arange(2 * 3 * 5, dtype=torch.float32).reshape(2, 3, 5)
    return {
        "plain": grid,
        "transposed": grid.permute(2, 0, 1),
        "turned": grid[:1].permute(0, 2, 1),
        "strided": grid[:, ::2, 1::2],
        "expanded": torch.ones(3, 1).expand(3, 4),
        "column": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)[:, 1],
        "fp8": torch.arange(4.0).to(torch.float8_e4m3fn),
        "bool": torch.tensor([[True, False, True]]).T,
        "complex": torch.tensor([1 + 2j, 3 - 4j]).conj(),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
    }


@pytest.mark.parametrize("name", pieces())
def test_every_range_of_every_kind_of_tensor_is_read_in_its_own_order(name):
    tensor = pieces()[name]
    source = MemorySource("m", {name: tensor})
    size = tensor.element_size()
    for start in range(tensor.numel()):
        for stop in range(start + 1, tensor.numel() + 1):
            assert read(source, name, start, stop - start) == stored(tensor.resolve_conj())[start * size : stop * size]


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(4)), st.lists(st.integers(1, 4), min_size=4, max_size=4), st.data())
def test_a_permuted_tensor_reads_like_its_copy(order, shape, data):
    tensor = torch.randn(shape).permute(*order)
    start = data.draw(st.integers(0, tensor.numel() - 1))
    count = data.draw(st.integers(1, tensor.numel() - start))
    expected = stored(tensor.reshape(-1)[start : start + count])
    assert read(MemorySource("m", {"t": tensor}), "t", start, count) == expected


def test_a_range_of_a_transposed_tensor_copies_only_the_rows_it_lies_in(monkeypatch):
    tensor, copied = torch.zeros(1000, 1000).T, []
    reshape = torch.Tensor.reshape
    monkeypatch.setattr(torch.Tensor, "reshape", lambda self, *to: copied.append(self.numel()) or reshape(self, *to))
    read(MemorySource("m", {"t": tensor}), "t", 500_500, 1000)
    assert 0 < sum(copied) <= 2000


def test_tied_tensors_are_both_there_and_inputs_stay_as_they_were():
    weight = torch.nn.Parameter(torch.arange(4.0))
    given_in = {"embed": weight, "head": weight}
    source = MemorySource("m", given_in)
    assert list(source.headers()) == ["embed", "head"]
    assert read(source, "embed", 1, 2) == read(source, "head", 1, 2) == stored(weight.detach()[1:3])
    source.close()
    assert given_in == {"embed": weight, "head": weight} and weight.requires_grad
    assert torch.equal(weight.detach(), torch.arange(4.0))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (3, "is a int, not a tensor"),
        ({"a": torch.ones(1)}, "is a dict"),
        (torch.ones(2).to_sparse(), "layout"),
        (torch.ones(2, device="meta"), "meta"),
        (torch.ones(2, dtype=torch.complex128), "complex128"),
    ],
)
def test_what_is_no_ordinary_tensor_is_refused_by_name(value, told):
    with pytest.raises(InputError, match=rf"tensor step, model m: .*{told}"):
        MemorySource("m", {"step": value})


def test_a_source_says_what_it_lacks():
    source = MemorySource("m", {"weight": torch.ones(3)})
    assert (source.folder, source.files(), source.metadata(), source.place("weight")) == (None, (), {}, "memory")
    with pytest.raises(InputError, match="did you mean 'weight'"):
        source.read_into("weigth", 0, memoryview(bytearray(4)))
    with pytest.raises(InputError, match="outside"):
        source.read_into("weight", 1, memoryview(bytearray(12)))
    source.close()
    with pytest.raises(InputError, match="closed"):
        source.read_into("weight", 0, memoryview(bytearray(4)))


def test_a_sink_keeps_what_is_written_in_any_order():
    tensors = {name: tensor.contiguous() for name, tensor in pieces().items() if name != "complex"}
    source = MemorySource("m", tensors)
    sink = MemorySink(source.headers())
    for name, tensor in reversed(tensors.items()):
        for start in reversed(range(tensor.numel())):
            sink.write(name, start, memoryview(read(source, name, start, 1)))
    result = sink.state_dict()
    assert list(result) == list(tensors)
    for name, tensor in tensors.items():
        assert result[name].dtype == tensor.dtype and result[name].shape == tensor.shape
        assert stored(result[name]) == stored(tensor)
        back = bytearray(tensor.nbytes)
        sink.read_back(name, 0, memoryview(back))
        assert bytes(back) == stored(tensor)


@pytest.mark.parametrize(("start", "nbytes"), [(-1, 4), (2, 8), (3, 4)])
def test_a_sink_refuses_a_range_outside(start, nbytes):
    sink = MemorySink({"t": Header("F32", (3,))})
    with pytest.raises(StorageError, match="outside"):
        sink.write("t", start, memoryview(bytes(nbytes)))
    with pytest.raises(StorageError, match="no such tensor"):
        sink.write("u", 0, memoryview(bytes(4)))
