"""Which files of a model folder hold its weights. What is ambiguous is refused, never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from ligate.core.errors import InputError

from .documents import read_list, read_object
from .ranges import open_file, read_at

Kind = Literal["safetensors", "pickle"]

INDEX = ".index.json"
_PIPELINE = "model_index.json"
_TENSORS = ("model.safetensors", "diffusion_pytorch_model.safetensors")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
ALIGNMENT = re.compile(r"alignment(-.*)?\.safetensors")
"""What lies beside the weights of a model that was brought into the coordinates of another."""

_TRAINING = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state|random_states).*")
_SERIES = re.compile(r"(?P<stem>.*)-(?P<number>\d+)-of-(?P<count>\d+)(?P<suffix>\.\w+)")
_FOREIGN = {
    ".gguf": "llama.cpp",
    ".ggml": "llama.cpp",
    ".h5": "Keras",
    ".keras": "Keras",
    ".msgpack": "Flax",
    ".onnx": "ONNX",
    ".npz": "numpy",
    ".ot": "Rust",
    ".tflite": "TensorFlow Lite",
}
_AGAIN = "download the model again."


class Weights(NamedTuple):
    """The weight files of a model, in order; where an index says which tensor is in which of them, what it says."""

    kind: Kind
    paths: tuple[Path, ...]
    told_by: Path | None = None  # the index
    promised: Mapping[str, Path] = {}


def file_weights(path: Path) -> Weights:
    """The weights that an index names, or the file itself."""
    return _indexed(path) if path.name.endswith(INDEX) else Weights(kind_of(path), (path,))


def folder_weights(folder: Path) -> Weights | None:
    """The weights that lie in a folder itself, safetensors before pickles."""
    names = {entry.name for entry in folder.iterdir()}
    tensors = sorted(name for name in names if name.endswith(".safetensors"))
    pickles = sorted(name for name in names if name.endswith(_PICKLED) and not _TRAINING.fullmatch(name))
    return _chosen(folder, names, _TENSORS, tensors) or _chosen(folder, names, ("pytorch_model.bin",), pickles)


def model_weights(folder: Path) -> Mapping[str, Weights]:
    """All weights of a model by the prefix of their tensors' names: its own (``""``), those of components (`unet/`).

    A pipeline of diffusers has components only: files beside them offer the same weights once more, in one file.
    """
    found = {below: folder_weights(below) for below in listed_folders(folder)}
    components = {f"{below.relative_to(folder).as_posix()}/": weights for below, weights in found.items() if weights}
    root = None if components and (folder / _PIPELINE).exists() else folder_weights(folder)
    return {"": root, **components} if root else components


def listed_folders(folder: Path) -> tuple[Path, ...]:
    """The folders below that belong to the model by its own account."""
    listed: list[tuple[Any, Path]] = []
    if (pipeline := folder / _PIPELINE).exists():
        listed += [(name, pipeline) for name, value in read_object(pipeline).items() if isinstance(value, list)]
    if (modules := folder / "modules.json").exists():
        listed += [(module.get("path"), modules) for module in read_list(modules) if isinstance(module, dict)]
    paths = [inside(folder, name, told_by) for name, told_by in listed if name]
    return tuple(dict.fromkeys(path for path in paths if path.is_dir() and path != folder))


def stems(folder: Path) -> Mapping[str, str]:
    """How loaders expect the weight files to be called: prefix of the tensors (`""`, `unet/`) -> `model`."""
    return {"": "model"} | {prefix: _stem(weights) for prefix, weights in model_weights(folder).items()}


def file_stem(name: str) -> str:
    """This name for the only weight file of a folder, if the folder can then still be told to be a model."""
    file = f"{name}.safetensors"
    other = file in _ADAPTERS or _SERIES.fullmatch(file) or ALIGNMENT.fullmatch(file)
    fine = not name.startswith(".") and not other
    return name if fine else "model"


def looks_like_model(folder: Path) -> bool:
    """Whether somebody could call this folder a model; an index of files that are not there counts too.

    Several files of weights and nothing that binds them are a collection, which nobody wants replaced by one model.
    """
    told_by = ("ligate.json", "config.json", _PIPELINE, "modules.json")
    inside = list(folder.iterdir())
    bound = any(path.name in told_by or path.name.endswith(INDEX) for path in inside)
    return bound or sum(map(_is_weights, inside)) == 1


def _is_weights(path: Path) -> bool:
    return path.name.endswith((".safetensors", *_PICKLED)) and not _TRAINING.fullmatch(path.name)


def _stem(weights: Weights) -> str:
    diffusers = weights.paths[0].name.startswith("diffusion_pytorch_model")
    return "diffusion_pytorch_model" if diffusers else "model"


def inside(folder: Path, name: Any, told_by: Path) -> Path:
    """The file or folder that a document names, which must lie in the folder of that document."""
    fault = InputError(
        f"names the path {name!r}, which leaves the model's folder", where=str(told_by), hint="do not trust this model."
    )
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        raise fault
    parts = PurePosixPath(name)
    path = folder / parts
    if parts.is_absolute() or ".." in parts.parts or not path.parent.resolve().is_relative_to(folder.resolve()):
        raise fault
    return path


def no_weights(folder: Path) -> InputError:
    """Why a folder cannot be opened as a model, as far as the names in it tell."""
    names = sorted(entry.name for entry in folder.iterdir())
    if any(name in _ADAPTERS for name in names):
        return InputError(
            "is an adapter, not a model",
            where=str(folder),
            hint=f"write `BASE+{folder}` with the model it belongs to; in a recipe `adapter:` of a source.",
        )
    if foreign := [name for name in names if Path(name).suffix.lower() in _FOREIGN]:
        return _foreign(folder / foreign[0])
    below = [name for name in names if (folder / name).is_dir() and any(map(_is_weights, (folder / name).iterdir()))]
    hint = f"the folders below hold some: {', '.join(below)}; name one of them." if below else _AGAIN
    return InputError("holds no weights: no *.safetensors, no pytorch_model.bin", where=str(folder), hint=hint)


def _chosen(folder: Path, names: set[str], expected: Sequence[str], files: Sequence[str]) -> Weights | None:
    """Of one format: the file or index of the usual name, else the only one there, else a numbered series."""
    suffixes = tuple({Path(stem).suffix + INDEX for stem in expected})
    usual = [name for stem in expected for name in (stem, stem + INDEX) if name in names]
    declared = usual or sorted(name for name in names if name.endswith(suffixes))
    if len(declared) == 1:
        return file_weights(folder / declared[0])
    if len(declared) == 2 and declared[1] == declared[0] + INDEX:
        return _agreeing(folder / declared[0], folder / declared[1])
    if declared:
        raise _ambiguous(folder, declared)
    files = [name for name in files if name not in _ADAPTERS and not ALIGNMENT.fullmatch(name)]
    if not files:
        return None
    if len(files) == 1 and not _SERIES.fullmatch(files[0]):
        return file_weights(folder / files[0])
    return Weights(kind_of(folder / files[0]), _series(folder, files))


def kind_of(path: Path) -> Kind:
    """By the end of the name; a file without a known one is told by its first bytes."""
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return "safetensors"
    if suffix in _PICKLED:
        return "pickle"
    if suffix in _FOREIGN:
        raise _foreign(path)
    first = _first_bytes(path)
    if first.endswith(b"{"):  # safetensors has the length of its header before that
        return "safetensors"
    if first.startswith((b"PK\x03\x04", b"\x80")):  # a zip archive, a pickle opcode
        return "pickle"
    hint = "give a model's folder, or a file such as model.safetensors or pytorch_model.bin."
    raise InputError("is no checkpoint", where=str(path), hint=hint)


def _indexed(index: Path) -> Weights:
    table = read_object(index).get("weight_map")
    if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
        raise InputError("needs a `weight_map` of tensor names to file names", where=str(index), hint=_AGAIN)
    files = {name: inside(index.parent, name, index) for name in sorted(set(table.values()))}
    missing = [name for name, path in files.items() if not path.exists()]
    if missing:
        told = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise InputError(f"names files that are not there: {told}", where=str(index), hint=_AGAIN)
    paths = tuple(files.values())
    promised = {tensor: files[name] for tensor, name in table.items()}
    if len({kind_of(path) for path in paths}) != 1:
        raise InputError("must name files of one format", where=str(index), hint=_AGAIN)
    return Weights(kind_of(paths[0]), paths, index, promised)


def _agreeing(file: Path, index: Path) -> Weights:
    """A single file and an index may stand together only if the index speaks of that file."""
    weights = _indexed(index)
    if weights.paths != (file,):
        raise _ambiguous(file.parent, (file.name, index.name))
    return weights


def _series(folder: Path, files: Sequence[str]) -> tuple[Path, ...]:
    """Files `x-00001-of-00003` ... that are complete, so that no index is needed to know it."""
    parts = [_SERIES.fullmatch(name) for name in files]
    if not all(parts) or len({(part["stem"], part["count"], part["suffix"]) for part in parts if part}) != 1:
        raise _ambiguous(folder, files)
    numbers = [int(part["number"]) for part in parts if part]
    count = int(parts[0]["count"]) if parts[0] else 0
    if numbers != list(range(1, len(numbers) + 1)) or len(numbers) != count:
        missing = sorted(set(range(1, min(count, 9999) + 1)) - set(numbers))
        raise InputError(
            f"of {count} parts, number {', '.join(map(str, missing[:9]))} is missing", where=str(folder), hint=_AGAIN
        )
    return tuple(folder / name for name in files)


def _ambiguous(folder: Path, names: Sequence[str]) -> InputError:
    return InputError(
        f"holds several sets of weights: {', '.join(names[:6])}",
        where=str(folder),
        hint=f"name the one you mean, for instance {folder / names[0]}, or remove the others.",
    )


def _foreign(path: Path) -> InputError:
    return InputError(
        f"is a file of {_FOREIGN[path.suffix.lower()]}, which Ligate does not read",
        where=str(path),
        hint="use the model's safetensors files.",
    )


def _first_bytes(path: Path) -> bytes:
    with open_file(path) as (fd, size):
        first = bytearray(min(size, 9))
        read_at(fd, 0, memoryview(first))
    return bytes(first)
