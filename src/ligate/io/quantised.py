"""Quantised checkpoints as the numbers they stand for: fp8 weights times their scales; anything else is refused.

Numbers of a weight that are not yet multiplied by their scales must never be averaged: W1 = s1 q1 and W2 = s2 q2 are
close where q1 and q2 are not. The scales therefore vanish from the view, and what cannot be turned back for certain
is named in an error.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ligate.core.errors import InputError
from ligate.core.tensors import Header, Source, spoken_dtype

from .floats import widened
from .recent import Recent
from .strided import boxes
from .views import View

CONFIG_KEYS = ("quantization_config", "compression_config")
"""Keys of config.json that no longer hold for numbers that were turned back."""

_EIGHT_BIT = frozenset({"F8_E4M3", "F8_E5M2"})
_SCALES = ("_scale_inv", "_scale")  # both are multiplied, whatever the first is called
_SCALE_DTYPES = frozenset({"F32", "BF16", "F16", "F8_E8M0"})
_OF_ACTIVATIONS = (".input_scale", ".output_scale", "activation_scale", ".q_scale", ".k_scale", ".v_scale")
_LOW_BIT = frozenset({"I8", "U8", "I16", "U16", "I32", "U32", *_EIGHT_BIT})
_FOREIGN = {
    ".SCB": "bitsandbytes",
    ".weight.absmax": "bitsandbytes",
    ".weight.quant_map": "bitsandbytes",
    ".qweight": "GPTQ or AWQ",
    ".qzeros": "GPTQ or AWQ",
    ".weight_packed": "compressed-tensors",
    ".weight_zero_point": "compressed-tensors",
    ".W_q": "HQQ",
    ".weight._data": "quanto",
}
_CHUNK = 1 << 20  # elements turned back at a time, so that a long read needs little memory
_CACHE = 16 << 20  # bytes of scales
_ORIGINAL = "use the original, unquantised model."


class _Scaled(NamedTuple):
    """An 8-bit weight: each number is multiplied by the scale of its block; `block` is its extent per dimension."""

    scale: str
    block: tuple[int, ...]


def view_quantised(source: Source, config: Mapping[str, Any]) -> Source:
    """The source itself where nothing is quantised, else a view of the numbers as float32.

    `config` is the model's config.json, `{}` where there is none. Raises InputError naming the tensor or the method
    for everything that is not fp8 with its scales: per tensor, per row or per block.
    """
    settings, headers, where = _settings(config), source.headers(), f"model {source.label}"
    low_bit = any(header.dtype in _LOW_BIT for header in headers.values())
    if settings is None:
        _refuse_undeclared(headers, where)
        return source
    block = _block_size(settings, where) if low_bit else None
    weights = [name for name, header in headers.items() if header.dtype in _EIGHT_BIT]
    scaled = {name: _scaled(name, headers, block, where) for name in weights}
    gone = {weight.scale for weight in scaled.values()}
    gone |= {name for name in headers if scaled and name.endswith(_OF_ACTIVATIONS)}
    for name, header in headers.items():
        if name not in gone and name not in scaled:
            _refuse_leftover(name, header, where)
    native = spoken_dtype(str(config.get("dtype") or config.get("torch_dtype"))) or "BF16"
    return Dequantised(source, gone, scaled, native) if scaled else source


class Dequantised(View):
    """Eight-bit weights as the float32 product with their scales; other tensors as they are stored."""

    def __init__(self, inner: Source, gone: Collection[str], scaled: Mapping[str, _Scaled], native: str) -> None:
        super().__init__(inner)
        self._scaled = scaled
        self._scales = Recent(_CACHE)
        self._headers = {
            name: Header("F32", header.shape, rounds_to=native) if name in scaled else header
            for name, header in inner.headers().items()
            if name not in gone
        }

    def headers(self) -> Mapping[str, Header]:
        return self._headers

    def read_into(self, name: str, start: int, out: memoryview) -> None:
        if name not in self._scaled:
            super().read_into(name, start, out)
            return
        numbers = np.frombuffer(out, np.float32)
        for done in range(0, numbers.size, _CHUNK):
            self._read_chunk(name, start + done, numbers[done : done + _CHUNK])

    def _read_chunk(self, name: str, start: int, numbers: np.ndarray) -> None:
        raw = bytearray(numbers.size)
        self._inner.read_into(name, start, memoryview(raw))
        stored = self._inner.headers()[name]
        numbers[:] = widened(raw, stored.dtype)
        scales, block = self._scales_of(name), self._scaled[name].block
        done = 0
        for box in boxes(stored.shape, start, start + numbers.size):
            count = math.prod(high - low for low, high in box)
            part = numbers[done : done + count].reshape([high - low for low, high in box])
            spread = scales
            for axis, (span, size) in enumerate(zip(box, block, strict=True)):
                spread = spread.take(np.arange(*span) // size, axis=axis)
            part *= spread
            done += count

    def _scales_of(self, name: str) -> np.ndarray:
        """One scale per block, with as many dimensions as the weight has."""
        scale, block = self._scaled[name]

        def read() -> tuple[np.ndarray]:
            header = self._inner.headers()[scale]
            raw = bytearray(header.nbytes)
            self._inner.read_into(scale, 0, memoryview(raw))
            shape = _blocks(self._inner.headers()[name].shape, block)
            return (widened(raw, header.dtype).reshape(shape),)

        return self._scales.get(scale, read)[0]


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the config, or the language model's part of it, says of quantisation."""
    for table in (config, config.get("text_config")):
        for key in CONFIG_KEYS:
            if isinstance(table, Mapping) and isinstance(table.get(key), Mapping):
                return table[key]
    return None


def _block_size(settings: Mapping[str, Any], where: str) -> tuple[int, ...] | None:
    """The size of a block where scales belong to blocks; InputError for a method that is not turned back."""
    method = settings.get("quant_method")
    if method == "fp8":
        return _pair(settings.get("weight_block_size"))
    if method == "compressed-tensors":
        return _compressed_block_size(settings, where)
    if method is None and any(settings.get(key) for key in ("load_in_4bit", "load_in_8bit")):
        method = "bitsandbytes"
    raise InputError(f"is quantised by {method or 'an unnamed method'}, which is not read", where=where, hint=_ORIGINAL)


def _compressed_block_size(settings: Mapping[str, Any], where: str) -> tuple[int, ...] | None:
    """compressed-tensors names groups of layers; all of them must be symmetric 8-bit floats."""
    groups = [group.get("weights") or {} for group in (settings.get("config_groups") or {}).values()]
    for weights in groups:
        kind = f"{weights.get('num_bits')}-bit {weights.get('type')} per {weights.get('strategy')}"
        simple = weights.get("strategy") in ("tensor", "channel", "block") and weights.get("symmetric", True)
        if not simple or weights.get("type") != "float" or weights.get("num_bits") != 8:
            raise InputError(
                f"is quantised by compressed-tensors ({kind}), which is not read", where=where, hint=_ORIGINAL
            )
    if (settings.get("sparsity_config") or {}).get("format", "dense") != "dense":
        raise InputError("is stored sparse (`sparsity_config`), which is not read", where=where, hint=_ORIGINAL)
    if (settings.get("transform_config") or {}).get("config_groups"):
        raise InputError("has rotated weights (`transform_config`), which are not read", where=where, hint=_ORIGINAL)
    sizes = {_pair(weights.get("block_structure")) for weights in groups} - {None}
    if len(sizes) > 1:
        raise InputError("has blocks of several sizes", where=where, hint=_ORIGINAL)
    return sizes.pop() if sizes else None


def _pair(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(type(size) is int and size > 0 for size in value):
        return tuple(value)
    return None


def _scaled(name: str, headers: Mapping[str, Header], block: tuple[int, ...] | None, where: str) -> _Scaled:
    found = [name + suffix for suffix in _SCALES if name + suffix in headers]
    if len(found) != 1:
        fault = "has no scales" if not found else f"has two sets of scales, {' and '.join(found)}"
        raise InputError(f"the 8-bit tensor {name!r} {fault}", where=where, hint=_ORIGINAL)
    shape, scale = headers[name].shape, headers[found[0]]
    if scale.dtype not in _SCALE_DTYPES:
        raise InputError(f"the scales {found[0]!r} have the dtype {scale.dtype}", where=where, hint=_ORIGINAL)
    if scale.numel == 1:
        return _Scaled(found[0], shape)
    if len(shape) == 2 and scale.shape in (shape[:1], (shape[0], 1)):
        return _Scaled(found[0], (1, shape[1]))
    if block and len(shape) >= 2:
        sizes = (*(1 for _ in shape[2:]), *block)
        if scale.shape == _blocks(shape, sizes):
            return _Scaled(found[0], sizes)
    told = f" in blocks of {list(block)}" if block else ""
    raise InputError(
        f"the scales {found[0]!r} {list(scale.shape)} do not fit {name!r} {list(shape)}{told}",
        where=where,
        hint=_ORIGINAL,
    )


def _blocks(shape: Sequence[int], block: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-size // extent) if extent else 1 for size, extent in zip(shape, block, strict=True))


def _refuse_undeclared(headers: Mapping[str, Header], where: str) -> None:
    """Without a `quantization_config`, names and dtypes still betray quantised weights; plain buffers pass."""
    for name, header in headers.items():
        if header.dtype in _EIGHT_BIT:
            raise InputError(
                f"{name!r} has 8-bit numbers, and no config.json tells of their scales",
                where=where,
                hint="name the model's folder with its config.json, or use the original, unquantised model.",
            )
        _refuse_foreign(name, header, where)


def _refuse_leftover(name: str, header: Header, where: str) -> None:
    """What would be left of a quantised model when its 8-bit weights are turned back."""
    _refuse_foreign(name, header, where)
    if name.endswith(("_scale_inv", ".weight_scale")):
        raise InputError(f"the scales {name!r} belong to no 8-bit tensor", where=where, hint=_ORIGINAL)


def _refuse_foreign(name: str, header: Header, where: str) -> None:
    """Parts of another method, and integers where weights are expected."""
    method = next((method for suffix, method in _FOREIGN.items() if name.endswith(suffix)), None)
    if method:
        raise InputError(f"{name!r} belongs to weights quantised by {method}", where=where, hint=_ORIGINAL)
    if header.dtype in _LOW_BIT and len(header.shape) > 1 and name.endswith(("weight", "_blocks")):
        raise InputError(f"the weight {name!r} is stored as {header.dtype}", where=where, hint=_ORIGINAL)
