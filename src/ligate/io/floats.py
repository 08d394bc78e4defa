"""Stored floating-point numbers as float32 or float64 arrays. Exact: no stored dtype holds more than its result."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

FLOATING = frozenset({"F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2", "F8_E8M0"})


def widened(raw: memoryview | bytearray, dtype: str) -> np.ndarray:
    """The numbers that these bytes spell in a dtype of `FLOATING`: float64 for F64, else float32."""
    if dtype == "F64":
        return np.frombuffer(raw, np.float64)
    if dtype == "F32":
        return np.frombuffer(raw, np.float32)
    if dtype == "F16":
        return np.frombuffer(raw, np.float16).astype(np.float32)
    if dtype == "BF16":
        return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    if dtype == "F8_E5M2":  # the upper byte of an F16
        return (np.frombuffer(raw, np.uint8).astype(np.uint16) << 8).view(np.float16).astype(np.float32)
    return np.take(_table(dtype), np.frombuffer(raw, np.uint8))


@lru_cache
def _table(dtype: str) -> np.ndarray:
    """All 256 numbers of an eight-bit format by their bits."""
    bits = np.arange(256)
    if dtype == "F8_E8M0":  # an exponent alone
        values = np.ldexp(1.0, bits - 127)
        values[255] = np.nan
    else:  # F8_E4M3: no infinity, one NaN of either sign
        exponent, mantissa = bits >> 3 & 15, bits & 7
        subnormal = np.ldexp(mantissa.astype(float), -9)
        values = np.where(exponent == 0, subnormal, np.ldexp(8.0 + mantissa, exponent - 10))
        values[bits & 127 == 127] = np.nan
        values = np.where(bits >> 7, -values, values)
    return values.astype(np.float32)
