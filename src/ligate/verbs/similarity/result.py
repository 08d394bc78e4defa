"""What an analysis of two networks says, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ligate.align.analysis.layer import Layer, Said

TITLES: Mapping[str, str] = {
    "matched": "matched",
    "greedy": "greedy",
    "shared": "shared clusters",
    "cka": "CKA",
    "debiased_cka": "debiased CKA",
    "svcca": "SVCCA",
    "pwcca": "PWCCA",
    "procrustes": "Procrustes",
}


class Analysis(NamedTuple):
    """Two networks, layer by layer.

    Args:
        a, b: what the networks are called.
        inputs: how many, and of what, in words.
        layers: in the order in which they are computed.
        left_out: layers that were not compared, and why.
    """

    a: str
    b: str
    inputs: str
    layers: Sequence[Layer]
    left_out: Mapping[str, str] = {}

    def mean(self, index: str) -> Said | None:
        """Over the layers where the index and its chance are defined; None where there is no such layer."""
        told = [said for layer in self.layers if (said := layer.indices.get(index)) and said.value is not None]
        if not told:
            return None
        value = sum(said.value for said in told if said.value is not None) / len(told)
        return Said(value, None)
