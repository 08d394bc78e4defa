"""Make checkpoints to measure with: a base and experts, Llama-shaped, the same bytes each time.

    python benchmarks/checkpoints.py FOLDER --size 0.55

writes FOLDER/base, FOLDER/expert-1, ... once; a folder that is complete is left alone. The numbers are made up, their
kind is not: weights are normal with deviation 0.02, and fine-tuning moved each by the cube of a normal number: most
by next to nothing, few by much.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 400_000_000
WEIGHT_SPREAD = 0.02
DELTA_SPREAD = 2e-4
MODELS = ("base", "expert-1", "expert-2", "expert-3")


class Widths(NamedTuple):
    """Widths of one transformer: how wide it is decides how large its largest tensors are."""

    hidden: int
    inner: int
    keys: int
    vocabulary: int


def widths(billions: float) -> Widths:
    """Widths that are usual at this number of parameters."""
    if billions < 0.2:
        return Widths(256, 688, 64, 8_000)
    return Widths(1536, 4096, 512, 32_000) if billions < 1 else Widths(2560, 6912, 640, 64_000)


def llama(billions: float, wide: Widths | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Llama with tied embeddings and about so many billion parameters."""
    wide = wide or widths(billions)
    layer = _layer(wide)
    per_layer = sum(_numel(shape) for shape in layer.values())
    layers = max(1, round((billions * 1e9 - wide.vocabulary * wide.hidden) / per_layer))
    shapes = {"model.embed_tokens.weight": (wide.vocabulary, wide.hidden)}
    for index in range(layers):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    return shapes | {"model.norm.weight": (wide.hidden,)}


def _layer(wide: Widths) -> dict[str, tuple[int, ...]]:
    hidden, inner, keys, _ = wide
    return {
        "input_layernorm.weight": (hidden,),
        "mlp.down_proj.weight": (hidden, inner),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "post_attention_layernorm.weight": (hidden,),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, hidden),
        "self_attn.q_proj.weight": (hidden, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
    }


def tiny(count: int) -> dict[str, tuple[int, ...]]:
    """So many tensors of 256 numbers: what is left to measure is the cost of having many."""
    return {f"model.layers.{i // 200}.experts.{i % 200}.w.weight": (16, 16) for i in range(count)}


def _numel(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def make(folder: Path, shapes: dict[str, tuple[int, ...]], models: Sequence[str] = MODELS) -> None:
    """Write all models shard by shard; what is there in full is kept."""
    done = folder / "complete.json"
    told = {"shapes": {name: list(shape) for name, shape in shapes.items()}, "models": list(models)}
    if done.exists() and json.loads(done.read_text()) == told:
        return
    shutil.rmtree(folder, ignore_errors=True)
    shards = list(_shards(shapes))
    where: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        where |= dict.fromkeys(names, file)
        _write_shard(folder, file, {name: shapes[name] for name in names}, models)
    total = 2 * sum(map(_numel, shapes.values()))
    for model in models:
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (folder / model / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
        (folder / model / "config.json").write_text(json.dumps(_config(shapes), indent=1))
    done.write_text(json.dumps(told))


def _shards(shapes: dict[str, tuple[int, ...]]) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, shape in shapes.items():
        if names and size + 2 * _numel(shape) > SHARD_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += 2 * _numel(shape)
    yield names


def _write_shard(folder: Path, file: str, shapes: dict[str, tuple[int, ...]], models: Sequence[str]) -> None:
    from safetensors.torch import save_file

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda name: _tensors(name, shapes[name], len(models)), shapes))
    for index, model in enumerate(models):
        (folder / model).mkdir(parents=True, exist_ok=True)
        tensors = {name: versions[index] for name, versions in zip(shapes, made, strict=True)}
        save_file(tensors, folder / model / file, metadata={"format": "pt"})


def _tensors(name: str, shape: tuple[int, ...], count: int) -> list[torch.Tensor]:
    """The base's tensor and each expert's, from a seed that the name alone decides."""
    import numpy as np
    import torch

    draw = np.random.Generator(np.random.SFC64(zlib.crc32(name.encode())))
    base = draw.standard_normal(shape, dtype=np.float32)
    base *= WEIGHT_SPREAD
    versions = [torch.from_numpy(base).bfloat16()]
    for _ in range(count - 1):
        moved = draw.standard_normal(shape, dtype=np.float32)
        moved *= moved * moved * np.float32(DELTA_SPREAD)
        moved += base
        versions.append(torch.from_numpy(moved).bfloat16())
    return versions


def _config(shapes: dict[str, tuple[int, ...]]) -> dict[str, object]:
    """What transformers and mergekit want to know of a Llama."""
    layer = {name.partition("layers.0.")[2]: shape for name, shape in shapes.items() if ".layers.0." in name}
    if "mlp.gate_proj.weight" not in layer:
        return {"model_type": "none"}
    inner, hidden = layer["mlp.gate_proj.weight"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": layer["self_attn.k_proj.weight"][0] // 64,
        "num_hidden_layers": sum(name.endswith("input_layernorm.weight") for name in shapes),
        "vocab_size": shapes["model.embed_tokens.weight"][0],
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=float, default=0.55, help="billion parameters")
    parser.add_argument("--embedding", type=int, default=0, metavar="ROWS", help="an embedding of ROWS x 4096 instead")
    parser.add_argument("--tiny", type=int, default=0, metavar="COUNT", help="so many tensors of 256 numbers instead")
    parser.add_argument("--matrices", metavar="ROWSxWIDTHxCOUNT", help="a base and four models of matrices instead")
    given = parser.parse_args()
    models = MODELS
    if given.matrices:
        rows, width, count = map(int, given.matrices.split("x"))
        shapes = {f"model.layers.{i}.mlp.down_proj.weight": (rows, width) for i in range(count)}
        models = (*MODELS, "expert-4")
    elif given.tiny:
        shapes = tiny(given.tiny)
    elif given.embedding:
        shapes = llama(0, Widths(4096, 4096, 1024, given.embedding))
    else:
        shapes = llama(given.size)
    make(given.folder, shapes, models)
    parameters = sum(map(_numel, shapes.values()))
    sys.stdout.write(json.dumps({"parameters": parameters, "tensors": len(shapes)}) + "\n")


if __name__ == "__main__":
    main()
