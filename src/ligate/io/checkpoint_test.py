from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ligate.core.errors import InputError, LigateError
from ligate.core.tensors import Source
from ligate.io import open_source


@pytest.fixture
def sharded(tmp_path):
    """Tensors over two files with an index, as everybody stores large models."""
    tensors = {f"layers.{i}.w": torch.randn(4, 3).bfloat16() for i in range(4)}
    parts = {"model-00001-of-00002.safetensors": tensors_of(tensors, 0, 2)}
    parts["model-00002-of-00002.safetensors"] = tensors_of(tensors, 2, 4)
    for file, part in parts.items():
        save_file(part, tmp_path / file, metadata={"format": "pt", "file": file})
    table = {name: file for file, part in parts.items() for name in part}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return tmp_path, tensors


def tensors_of(tensors, start, stop):
    return dict(list(tensors.items())[start:stop])


def read(source: Source, name: str, start: int = 0, count: int | None = None) -> bytes:
    header = source.headers()[name]
    count = header.numel - start if count is None else count
    out = bytearray(count * (header.nbytes // header.numel))
    source.read_into(name, start, memoryview(out))
    return bytes(out)


def stored(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def test_a_single_file_has_no_folder_and_reads_ranges(tmp_path):
    tensor = torch.arange(10, dtype=torch.float32)
    save_file({"t": tensor}, tmp_path / "a.safetensors")
    source = open_source(str(tmp_path / "a.safetensors"), label="a")
    assert source.folder is None and source.label == "a"
    assert read(source, "t", 3, 4) == stored(tensor[3:7])
    assert list(source.files()) == [tmp_path / "a.safetensors"]
    assert source.place("t") == str(tmp_path / "a.safetensors")
    source.prefetch("t", 2, 5)


def test_shards_are_one_source_in_stored_order(sharded):
    folder, tensors = sharded
    for path in (folder, folder / "model.safetensors.index.json"):
        source = open_source(str(path), label="m")
        assert list(source.headers()) == list(tensors)
        assert all(read(source, name) == stored(tensor) for name, tensor in tensors.items())
        assert source.metadata() == {"format": "pt", "file": "model-00001-of-00002.safetensors"}
        assert {file.name for file in source.files()} == {file.name for file in folder.iterdir()}
        assert source.place("layers.3.w").endswith("model-00002-of-00002.safetensors")


def test_many_threads_read_at_once(sharded):
    folder, tensors = sharded
    source = open_source(str(folder), label="m")
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda name: read(source, name) == stored(tensors[name]), list(tensors) * 50))


def test_a_folder_of_numbered_files_needs_no_index(sharded):
    folder, tensors = sharded
    (folder / "model.safetensors.index.json").unlink()
    assert list(open_source(str(folder), label="m").headers()) == list(tensors)
    (folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"of 2 parts, number 1 is missing"):
        open_source(str(folder), label="m")


@pytest.mark.parametrize("name", ["model.safetensors", "anything.safetensors", "diffusion_pytorch_model.safetensors"])
def test_the_only_file_of_a_folder_is_the_model_unless_it_is_an_adapter(tmp_path, name):
    save_file({"t": torch.ones(1)}, tmp_path / name)
    save_file({"u": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    torch.save({"v": torch.ones(1)}, tmp_path / "training_args.bin")
    assert list(open_source(str(tmp_path), label="m").headers()) == ["t"]


def test_safetensors_come_before_pickles(tmp_path):
    save_file({"t": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    assert list(open_source(str(tmp_path), label="m").headers()) == ["t"]


def test_a_pickled_folder_is_opened_too(tmp_path):
    torch.save({"t": torch.arange(3.0)}, tmp_path / "pytorch_model.bin")
    source = open_source(str(tmp_path), label="m")
    assert read(source, "t") == stored(torch.arange(3.0)) and source.folder == tmp_path


def test_components_keep_their_place_in_the_names(tmp_path):
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "modules.json").write_text(
        json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}, {"path": "3_Normalize"}])
    )
    save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    save_file({"linear.weight": torch.full((2,), 7.0)}, tmp_path / "2_Dense" / "model.safetensors")
    source = open_source(str(tmp_path), label="m")
    assert list(source.headers()) == ["w", "2_Dense/linear.weight"]
    assert read(source, "2_Dense/linear.weight", 1) == stored(torch.tensor([7.0]))


def test_a_pipeline_has_components_only(tmp_path):
    for name, file in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        (tmp_path / name).mkdir()
        save_file({"w": torch.ones(1)}, tmp_path / name / f"{file}.safetensors")
    (tmp_path / "scheduler").mkdir()
    listed = {"_class_name": "P", "scheduler": ["d", "S"], "text_encoder": ["t", "T"], "unet": ["d", "U"]}
    (tmp_path / "model_index.json").write_text(json.dumps(listed))
    assert list(open_source(str(tmp_path), label="m").headers()) == ["text_encoder/w", "unet/w"]


def test_tensors_without_elements_and_files_without_tensors(tmp_path):
    save_file({"e": torch.zeros(0, 3)}, tmp_path / "a.safetensors")
    source = open_source(str(tmp_path / "a.safetensors"), label="a")
    source.read_into("e", 0, memoryview(bytearray()))
    source.prefetch("e", 0, 0)
    save_file({}, tmp_path / "b.safetensors")
    nothing = open_source(str(tmp_path / "b.safetensors"), label="b")
    assert nothing.headers() == {}
    nothing.close()


@pytest.mark.parametrize(("start", "nbytes"), [(-1, 4), (0, 44), (10, 4), (3, 32)])
def test_a_range_outside_the_tensor_is_refused(tmp_path, start, nbytes):
    save_file({"s": torch.zeros(9), "t": torch.zeros(10), "u": torch.zeros(9)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="outside"):
        open_source(str(tmp_path / "a.safetensors"), label="a").read_into("t", start, memoryview(bytearray(nbytes)))


def test_an_unknown_tensor_and_a_closed_source_say_so(sharded):
    source = open_source(str(sharded[0]), label="m")
    with pytest.raises(InputError, match=r"did you mean 'layers\.1\.w'"):
        source.read_into("layers.1.v", 0, memoryview(bytearray(2)))
    source.close()
    source.close()
    with pytest.raises(InputError, match="closed"):
        source.read_into("layers.1.w", 0, memoryview(bytearray(2)))


def test_a_closed_source_leaves_no_descriptor(sharded):
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        open_source(str(sharded[0]), label="m").close()
    (sharded[0] / "model-00002-of-00002.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError):
        open_source(str(sharded[0]), label="m")
    assert len(os.listdir("/dev/fd")) == before


def test_a_file_that_shrinks_while_it_is_read_is_an_input_error(tmp_path):
    save_file({"t": torch.zeros(10_000)}, tmp_path / "a.safetensors")
    source = open_source(str(tmp_path / "a.safetensors"), label="a")
    os.truncate(tmp_path / "a.safetensors", 2000)
    with pytest.raises(InputError, match=r"a\.safetensors.*tensor t.*model a"):
        read(source, "t")


def test_opening_and_reading_need_no_torch(sharded):
    import subprocess
    import sys

    code = (
        "import sys; from ligate.io import open_source; s = open_source(sys.argv[1], label='m');"
        "[s.read_into(n, 0, memoryview(bytearray(h.nbytes))) for n, h in s.headers().items()];"
        "sys.exit('torch' in sys.modules)"
    )
    source = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code, str(sharded[0])], check=True, env={**os.environ, "PYTHONPATH": source})


# What is said about a model besides its path.


def test_names_can_be_stripped_and_given_twice(tmp_path):
    save_file({"module.embed": torch.arange(3.0), "module.w": torch.ones(1)}, tmp_path / "a.safetensors")
    path = str(tmp_path / "a.safetensors")
    source = open_source(path, label="a", strip_prefix="module.", alias={"head": "embed"})
    assert set(source.headers()) == {"embed", "w", "head"}
    assert read(source, "head", 1) == stored(torch.tensor([1.0, 2.0]))


def test_what_fails_after_opening_leaves_no_descriptor(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "a.safetensors")
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(LigateError):
        open_source(str(tmp_path / "a.safetensors"), label="a", strip_prefix="nothing.")
    assert len(os.listdir("/dev/fd")) == before


def test_an_adapter_is_added_as_tensors_are_read(tmp_path):
    weight, down, up = torch.randn(4, 3), torch.randn(2, 3), torch.randn(4, 2)
    (tmp_path / "lora").mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q"]}
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(config))
    parts = {"base_model.model.q.lora_A.weight": down, "base_model.model.q.lora_B.weight": up}
    save_file(parts, tmp_path / "lora" / "adapter_model.safetensors")
    save_file({"q.weight": weight, "v.weight": weight.clone()}, tmp_path / "a.safetensors")
    adapters = ((str(tmp_path / "lora"), None, 0.5),)
    source = open_source(str(tmp_path / "a.safetensors"), label="a", adapters=adapters)
    out = torch.empty(4, 3)
    source.read_into("q.weight", 0, memoryview(out.numpy()).cast("B"))
    torch.testing.assert_close(out, weight + 0.5 * 2 * up @ down)
    assert read(source, "v.weight") == stored(weight)
