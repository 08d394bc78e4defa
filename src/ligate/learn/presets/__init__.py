"""Published systems of learned merging, each as its choices, under the names that recipes and the bench know."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .adamerging import adamerging, adamerging_pp, adamerging_task
from .atlas import atlas, atlas_k, atlas_negation
from .concrete import concrete, dam, dam_answers
from .expert_merging import expert_merging, expert_merging_pp
from .guarded import row_agreement, row_agreement_guarded
from .neulig import neulig
from .preset import Preset
from .tsv import tsv_agreement, tsv_labels

_ALL: tuple[Callable[[], Preset], ...] = (
    adamerging_task,
    adamerging,
    adamerging_pp,
    atlas,
    atlas_k,
    atlas_negation,
    concrete,
    dam,
    dam_answers,
    expert_merging,
    expert_merging_pp,
    neulig,
    row_agreement,
    row_agreement_guarded,
    tsv_agreement,
    tsv_labels,
)

MAKERS: Mapping[str, Callable[[], Preset]] = {make.__name__: make for make in _ALL}
PRESETS: Mapping[str, Preset] = {name: make() for name, make in MAKERS.items()}

__all__ = ["MAKERS", "PRESETS", "Preset"]
