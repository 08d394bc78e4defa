from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ligate.core.errors import InputError
from ligate.core.tensors import dtype_names, torch_dtype
from ligate.io.pickle import open_pickle


def saved(tmp_path: Path, value: object, **how: object) -> Path:
    path = tmp_path / "pytorch_model.bin"
    torch.save(value, path, **how)
    return path


def read(path: Path, name: str, start: int = 0, count: int | None = None) -> Tensor:
    source = open_pickle(path, "a")
    header = source.headers()[name]
    count = header.numel - start if count is None else count
    out = torch.zeros(count, dtype=torch_dtype(header.dtype))
    source.read_into(name, start, memoryview(out.view(torch.uint8).numpy()))
    source.close()
    return out


def same(found: Tensor, expected: Tensor) -> bool:
    expected = expected.detach().contiguous().reshape(-1)
    return found.dtype == expected.dtype and torch.equal(found.view(torch.uint8), expected.view(torch.uint8))


@pytest.mark.parametrize("dtype", dtype_names())
def test_every_dtype_is_read_bit_for_bit(tmp_path, dtype):
    bits = torch.randint(0, 2 if dtype == "BOOL" else 256, (6, 16), dtype=torch.uint8)
    tensor = bits.bool() if dtype == "BOOL" else bits.view(torch_dtype(dtype))
    path = saved(tmp_path, {"w": tensor})
    header = open_pickle(path, "a").headers()["w"]
    assert (header.dtype, header.shape) == (dtype, tuple(tensor.shape))
    assert same(read(path, "w"), tensor)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_is_followed(tmp_path, protocol):
    state = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict()
    path = saved(tmp_path, state, pickle_protocol=protocol)
    assert list(open_pickle(path, "a").headers()) == list(state)
    assert all(same(read(path, name), tensor) for name, tensor in state.items())


STORED = torch.arange(4 * 6 * 10, dtype=torch.float32)
VIEWS = {
    "transposed": STORED.view(24, 10).t(),
    "permuted": STORED.view(4, 6, 10).permute(2, 0, 1),
    "every_other": STORED[::2],
    "tail": STORED[7:],
    "columns": STORED.view(24, 10)[:, 3:5],
    "expanded": STORED[:5].unsqueeze(1).expand(5, 7),
    "one_number_everywhere": STORED[3].expand(50, 3),
    "scalar": STORED[11],
    "empty": STORED[:0].view(0, 3),
    "single_rows": STORED.view(24, 10)[:, :1],
    "channels_last": STORED.view(2, 3, 4, 10).contiguous(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_read_from_any_element_to_any_other(tmp_path, name):
    view = VIEWS[name]
    path = saved(tmp_path, {"before": STORED, "w": view})
    assert same(read(path, "w"), view)
    flat = view.contiguous().view(-1)
    for start in range(0, len(flat), 7):
        for count in (1, 5, 23):
            stop = min(start + count, len(flat))
            assert same(read(path, "w", start, stop - start), flat[start:stop])


def test_a_large_transposed_tensor_is_read_without_its_whole_storage(tmp_path, monkeypatch):
    tensor = torch.randn(1500, 700).t()
    path = saved(tmp_path, {"w": tensor})
    largest = 0

    def watched(fd, offset, out):
        nonlocal largest
        largest = max(largest, len(out))
        return read_at(fd, offset, out)

    from ligate.io import strided

    read_at = strided.read_at
    monkeypatch.setattr(strided, "read_at", watched)
    rows = read(path, "w", 3 * 1500 + 5, 4000)
    assert same(rows, tensor.contiguous().view(-1)[3 * 1500 + 5 :][:4000])
    assert 0 < largest < tensor.nbytes // 8


def test_tied_tensors_keep_all_their_names(tmp_path):
    model = nn.ModuleDict({"embed": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    model["head"].weight = model["embed"].weight
    path = saved(tmp_path, model.state_dict())
    assert list(open_pickle(path, "a").headers()) == ["embed.weight", "head.weight"]
    assert same(read(path, "head.weight"), model["embed"].weight)


def test_parameters_are_tensors(tmp_path):
    marked = nn.Parameter(torch.randn(3))
    marked.note = "kept beside the numbers"
    path = saved(tmp_path, {"w": nn.Parameter(torch.randn(2, 2)), "marked": marked})
    assert same(read(path, "marked"), marked)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "module", "params"])
def test_one_well_known_wrapper_is_taken_off(tmp_path, wrapper):
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    path = saved(tmp_path, {"epoch": 3, wrapper: {"w": torch.ones(2)}, "optimizer": optimizer, "name": "x"})
    assert list(open_pickle(path, "a").headers()) == ["w"]


def test_the_source_tells_its_file_and_label(tmp_path):
    path = saved(tmp_path, {"w": torch.ones(2)})
    source = open_pickle(path, "mine")
    assert (source.label, source.place("w"), source.files(), source.metadata()) == ("mine", str(path), (path,), {})
    source.prefetch("w", 0, 2)


def test_reading_needs_no_torch(tmp_path):
    path = saved(tmp_path, {"w": torch.ones(2)})
    code = (
        "import sys; from pathlib import Path; from ligate.io.pickle import open_pickle;"
        f"s = open_pickle(Path({str(path)!r}), 'a'); b = bytearray(8); s.read_into('w', 0, memoryview(b));"
        "sys.exit('torch' in sys.modules or b != b'\\0\\0\\x80?' * 2)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_range_outside_the_tensor_and_an_unknown_name_are_errors(tmp_path):
    source = open_pickle(saved(tmp_path, {"weight": torch.ones(3)}), "a")
    with pytest.raises(InputError, match="outside the tensor"):
        source.read_into("weight", 2, memoryview(bytearray(8)))
    with pytest.raises(InputError, match="did you mean 'weight'"):
        source.read_into("wieght", 0, memoryview(bytearray(4)))
    source.close()
    with pytest.raises(InputError, match="closed"):
        source.read_into("weight", 0, memoryview(bytearray(4)))
