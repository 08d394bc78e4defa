"""Inputs for networks from a file: arrays of numpy, or lines of text that a model's tokenizer turns into numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ligate.core.errors import InputError, RecipeError
from ligate.io.ranges import cannot_read

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ligate.align.architecture import Architecture

_KINDS = "give `.npy` (one array), `.npz` (an array for each input, by name) or a text file with a text on each line"
_TOKENS = ("input_ids", "decoder_input_ids")


class Given(NamedTuple):
    """Inputs of a network, the first axis of each counts them: in its order or by their names. `told` says what."""

    tensors: tuple[Tensor, ...] | Mapping[str, Tensor]
    told: str

    def batches(self, size: int, most: int) -> list[tuple[Tensor, ...] | dict[str, Tensor]]:
        """So many inputs at once, all batches of one size; a rest that fills none is left out."""
        count = min(most, self.number)
        size = min(size, count)
        return [self._part(slice(start, start + size)) for start in range(0, count - size + 1, size)] if size else []

    def _part(self, some: slice) -> tuple[Tensor, ...] | dict[str, Tensor]:
        if isinstance(self.tensors, Mapping):
            return {name: value[some] for name, value in self.tensors.items()}
        return tuple(value[some] for value in self.tensors)

    @property
    def number(self) -> int:
        values = self.tensors.values() if isinstance(self.tensors, Mapping) else self.tensors
        return min((len(value) for value in values), default=0)


def read_inputs(path: Path, wanted: Architecture, folder: Path | None, length: int) -> Given:
    """What the network is to be asked, as tensors.

    Args:
        wanted: the network that takes them.
        folder: of the model whose tokenizer knows the texts.
        length: tokens per input; texts follow one another, so that no input is padded.

    Raises:
        InputError: the file cannot be read, or does not hold what the network takes.
        RecipeError: a library is needed that is not installed, or the kind of file is not known.
    """
    if not path.is_file():
        raise InputError("there is no such file", where=str(path), hint=_KINDS + ".")
    if path.suffix in (".npy", ".npz"):
        return _placed(_arrays(path), wanted, path)
    if path.suffix in (".txt", ".text", ".jsonl", ".md"):
        return _tokens(path, wanted, folder, length)
    raise RecipeError(f"`{path.name}` is of no kind that can be read", where="--data", hint=_KINDS + ".")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    import numpy as np

    try:
        held = np.load(path, allow_pickle=False)
        return {"": held} if isinstance(held, np.ndarray) else {name: held[name] for name in held.files}
    except OSError as error:
        raise cannot_read(path, error) from None
    except ValueError as error:  # also arrays of Python objects, which would be code
        raise InputError(f"numpy cannot read it: {error}", where=str(path)) from None


def _placed(arrays: Mapping[str, np.ndarray], wanted: Architecture, path: Path) -> Given:
    """A single array goes to the single input; several go by their names."""
    names = list(wanted.options) or [str(place) for place in range(len(wanted.inputs))]
    if list(arrays) == [""] and len(names) == 1:
        arrays = {names[0]: arrays[""]}
    if set(arrays) != set(names):
        text = f"it holds {', '.join(filter(None, arrays)) or 'one array'}, the network takes {', '.join(names)}"
        raise InputError(text, where=str(path), hint="save an array for each input: `numpy.savez(FILE, NAME=ARRAY)`.")
    tensors = {name: _tensor(arrays[name], path) for name in names}
    if len({len(value) for value in tensors.values()}) > 1:
        raise InputError("its arrays hold different numbers of inputs", where=str(path))
    given = Given(tensors if wanted.options else tuple(tensors.values()), "")
    return given._replace(told=f"{path.name}, {given.number:,} inputs")


def _tensor(array: np.ndarray, path: Path) -> Tensor:
    import torch

    if array.ndim == 0 or array.dtype.kind not in "fiub":
        raise InputError(f"an array of {array.dtype}, {array.ndim} axes", where=str(path), hint="numbers are needed.")
    value = torch.from_numpy(array)
    return value.float() if array.dtype.kind == "f" else value.long() if array.dtype.kind in "iu" else value


def _tokens(path: Path, wanted: Architecture, folder: Path | None, length: int) -> Given:
    import torch

    names = [name for name in wanted.options if name in _TOKENS]
    if not names or set(wanted.options) - set(names):
        takes = ", ".join(wanted.options) or f"{len(wanted.inputs)} arguments"
        raise InputError(f"the network takes {takes}, no texts", where=str(path), hint="give the arrays as `.npz`.")
    tokenizer = _tokenizer(folder, path)
    stream = [number for text in _lines(path) if text.strip() for number in tokenizer(text)["input_ids"]]
    if len(stream) < length:
        text = f"{len(stream)} tokens, and one input takes {length}"
        raise InputError(text, where=str(path), hint="give more text, or a smaller `length`.")
    cut = torch.tensor(stream[: len(stream) // length * length]).reshape(-1, length)
    return Given(dict.fromkeys(names, cut), f"{path.name}, {len(cut):,} pieces of {length} tokens")


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError as error:
        raise cannot_read(path, error) from None
    except UnicodeDecodeError as error:
        raise InputError(f"is no UTF-8 text: {error}", where=str(path)) from None


def _tokenizer(folder: Path | None, path: Path) -> Any:
    try:
        import transformers
    except ImportError:
        raise RecipeError("texts need transformers, which is not installed", hint="pip install transformers") from None
    if folder is None:
        hint = "give the tokens as `.npz`, or the model's folder."
        raise InputError("no tokenizer is known for these texts", where=str(path), hint=hint)
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever transformers and the libraries below it raise
        told = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"its tokenizer cannot be loaded: {told}", where=str(folder)) from error
