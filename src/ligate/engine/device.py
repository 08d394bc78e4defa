"""Where rules that need a whole tensor at once calculate: these are matrix products and decompositions.

All other rules wait for memory, not for arithmetic; to send their numbers to another device and back takes longer.
"""

from __future__ import annotations

import re

from ligate.core.errors import RecipeError


def check_device(device: str | None) -> None:
    """RecipeError for a device that is not there; none is asked for where it is None or the CPU."""
    if device in (None, "cpu"):
        return
    if not (found := re.fullmatch(r"cuda(?::(\d+))?", device)):
        raise RecipeError(f"'{device}' is no device", hint="use cpu, cuda, or cuda:1 for the second GPU.")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        built = "" if torch.version.cuda else "; this build of PyTorch has no CUDA"
        raise RecipeError(f"there is no CUDA device here{built}", hint="leave `--device` out.")
    if int(found[1] or 0) >= count:
        raise RecipeError(f"there is no {device}: {count} in all", hint=f"use cuda:0 to cuda:{count - 1}.")
