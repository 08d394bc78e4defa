"""`make bench-align`: a network that was moved by random symmetries is found again: how long, in what memory, how well.

    python benchmarks/alignment.py                      a BERT of MiniLM's size and a Llama of 1.1 billion
    python benchmarks/alignment.py --only bert

Weights are random: what is matched does not change what it costs. Disk: 7 GB in build/bench-align while it runs.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ligate.align.architecture import architecture_of
from ligate.align.axes.graph import symmetries
from ligate.align.maps import AxisMap, mapped
from ligate.align.members import random_member
from ligate.align.stored import read_tensor
from ligate.verbs.opening import opened

FOLDER = Path(__file__).parent.parent / "build" / "bench-align"
NETWORKS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "bert": (
        "BertModel",
        "float32",
        {
            "model_type": "bert", "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6,
            "num_attention_heads": 12, "vocab_size": 30522,
        },
    ),
    "llama": (
        "LlamaForCausalLM",
        "bfloat16",
        {
            "model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
            "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000, "tie_word_embeddings": False,
        },
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS)
    chosen = parser.parse_args().only
    for name in [chosen] if chosen else NETWORKS:
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        numbers = make(name, folder)
        print(f"{name}: {numbers / 1e6:,.0f} million numbers, {measure(folder)}", flush=True)
        shutil.rmtree(folder)


def make(name: str, folder: Path) -> int:
    """`a` with random weights and `b`, the same network moved by a random member of each of its symmetries."""
    kind, dtype, settings = NETWORKS[name]
    config = {"architectures": [kind], "torch_dtype": dtype, **settings}
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        (folder / label / "config.json").write_text(json.dumps(config))
    network = architecture_of(folder / "a", name)
    groups = symmetries(network.model, network.inputs, network.options).groups
    draw = torch.Generator().manual_seed(0)
    norms: dict[str, Tensor] = {}
    for layer, names in _layers(network.model).items():
        weights = {each: _random(network.model.state_dict()[each].shape, draw) for each in names}
        norms |= {each: value for each, value in weights.items() if value.ndim == 1}
        save_file({each: value.to(getattr(torch, dtype)) for each, value in weights.items()}, _file(folder, "a", layer))
    maps: list[AxisMap] = [random_member(group, norms, draw) for group in groups]
    for layer, names in _layers(network.model).items():
        held = load_file(_file(folder, "a", layer))
        moved = {each: mapped(each, held[each].float(), maps) for each in names}
        stored = {each: value.to(getattr(torch, dtype)).contiguous() for each, value in moved.items()}
        save_file(stored, _file(folder, "b", layer))
    for label in ("a", "b"):
        _write_index(folder, label, _layers(network.model))
    return sum(value.numel() for value in network.model.state_dict().values())


def measure(folder: Path) -> str:
    begin = time.perf_counter()
    command = ["align", *(str(folder / each) for each in ("a", "b", "out")), "--starts", "1", "-q"]
    subprocess.run([sys.executable, "-m", "ligate", *command], check=True)
    seconds, peak = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    before, after = (max(_apart(folder, label)) for label in ("b", "out"))
    return f"{seconds:.0f} s, peak {peak:.1f} GB, worst tensor {before:.2f} off before and {after:.1e} after"


def _apart(folder: Path, label: str) -> Iterator[float]:
    """The distance of each matrix from that of `a`, relative to its norm."""
    with opened(str(folder / "a")) as a, opened(str(folder / label)) as b:
        for name in (name for name, header in a.headers().items() if len(header.shape) > 1):
            one, other = (read_tensor(each, name).float() for each in (a, b))
            yield float((one - other).norm() / one.norm())


def _layers(model: torch.nn.Module) -> dict[str, list[str]]:
    """Tensors that go into one file."""
    found: dict[str, list[str]] = {}
    for name in model.state_dict():
        numbers = [part for part in name.split(".") if part.isdigit()]
        found.setdefault(numbers[0] if numbers else "rest", []).append(name)
    return found


def _random(shape: Sequence[int], draw: torch.Generator) -> Tensor:
    value = torch.randn(*shape, generator=draw)
    return 1 + 0.1 * value if len(shape) == 1 else 0.02 * value


def _file(folder: Path, label: str, layer: str) -> Path:
    return folder / label / f"model-{layer}.safetensors"


def _write_index(folder: Path, label: str, layers: Mapping[str, Sequence[str]]) -> None:
    where = {name: f"model-{layer}.safetensors" for layer, names in layers.items() for name in names}
    index = {"metadata": {}, "weight_map": where}
    (folder / label / "model.safetensors.index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    main()
