"""Block weights of image models: one number for each block of a U-Net, in the order in which merging tools list them.

The numbers stand for IN00, IN01, ..., M00, OUT00, OUT01, ...: 25 of them for Stable Diffusion 1 and 2, 19 for SDXL.
With one more in front (BASE) they also speak of everything else: text encoders, autoencoder. Then the embeddings of
time step and size get 0, that is, they stay those of the first model. The last block's number holds for the layers
behind it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ligate.core.errors import RecipeError

from .schema import Setting

UNET = "*diffusion_model"
KEY = "unet_blocks"
_ENDS: Mapping[int, tuple[int, Sequence[str]]] = {25: (12, ("time_embed",)), 19: (9, ("time_embed", "label_emb"))}
"""Numbers without BASE -> blocks on each side, and what BASE leaves alone."""


class BlockWeights(tuple[float, ...]):
    """Numbers by block, to tell them from numbers by layer or by model."""


def block_settings(setting: Setting, numbers: Sequence[float]) -> list[Setting]:
    """The setting once for each part of the network, in the order of their precedence.

    Raises:
        RecipeError: there are not 19, 20, 25 or 26 numbers.
    """
    with_base = len(numbers) - 1 in _ENDS
    own = numbers[1:] if with_base else numbers
    if len(own) not in _ENDS:
        text = f"`{setting.name}` has {len(numbers)} block weights"
        hint = "25 for Stable Diffusion 1 and 2, 19 for SDXL: IN00 ..., M00, OUT00 ...; one more in front is BASE"
        raise RecipeError(text, where=str(setting.place), hint=hint)
    side, alone = _ENDS[len(own)]
    parts = [
        *(f"input_blocks.{number}" for number in range(side)),
        "middle_block",
        *(f"output_blocks.{number}" for number in range(side)),
        "out",
    ]
    found = _for_parts(setting, parts, [*own, own[-1]])
    return (
        [*found, *_for_parts(setting, alone, [0.0] * len(alone)), replace(setting, value=numbers[0])]
        if with_base
        else found
    )


def _for_parts(setting: Setting, parts: Sequence[str], values: Sequence[float]) -> list[Setting]:
    return [replace(setting, match=f"{UNET}.{part}.*", value=value) for part, value in zip(parts, values, strict=True)]
