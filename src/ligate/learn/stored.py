"""Tensors that are made once and read again and again: they lie in a temporary file, not in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor


def stored(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """The same in float32, mapped from a file that is gone with the last of them.

    Raises:
        OSError: the folder for temporary files is full.
    """
    found: dict[str, Tensor] = {}
    with tempfile.TemporaryFile() as file:
        for name, one in tensors:
            start = file.seek(0, os.SEEK_END)
            file.write(one.detach().float().contiguous().numpy().tobytes())
            file.flush()
            there = np.memmap(file, np.float32, "r+", start, tuple(one.shape) or (1,))
            found[name] = torch.from_numpy(there).reshape(one.shape)
    return found
