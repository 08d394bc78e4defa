"""What an adapter_config.json says, as far as it decides numbers; all else that it may say is refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ligate.core.errors import InputError

from .documents import read_object

CONFIG = "adapter_config.json"

_DECIDES = frozenset(
    {
        *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "fan_in_fan_out"),
        *("use_dora", "lora_bias", "init_lora_weights"),
    }
)
_IRRELEVANT = frozenset(  # how the adapter was trained or is loaded; the tensors show which modules it has
    {
        *("task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"),
        *("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern", "bias"),
        *("lora_dropout", "megatron_core", "qalora_group_size", "runtime_config", "ensure_weight_tying"),
        *("loftq_config", "eva_config", "corda_config", "lora_ga_config"),  # details of `init_lora_weights`
    }
)
_LEAVES_BASE = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
_MERGE_WITH_PEFT = "merge it with `PeftModel.merge_and_unload()` and name the result instead."
_CONVERT = "let PEFT convert it: `save_pretrained(..., path_initial_model_for_weight_conversion=...)`."


@dataclass(frozen=True)
class AdapterConfig:
    """Rank and scaling of a LoRA adapter, for all modules and for those that a pattern names."""

    rank: int
    alpha: float
    ranks: Mapping[str, Any] = field(default_factory=dict)
    alphas: Mapping[str, Any] = field(default_factory=dict)
    rank_stabilised: bool = False
    transposed: bool = False  # weights lie [in, out], as in GPT-2
    dora: bool = False
    biased: bool = False

    def rank_of(self, module: str) -> int:
        return int(_of(module, self.ranks, self.rank))

    def scaling_of(self, module: str) -> float:
        """alpha / r, or alpha / sqrt(r) when rank-stabilised."""
        rank = self.rank_of(module)
        return float(_of(module, self.alphas, self.alpha)) / (math.sqrt(rank) if self.rank_stabilised else rank)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """The settings of a LoRA adapter; InputError names a setting that Ligate does not follow."""
    path = folder / CONFIG
    if not path.exists():
        raise InputError(f"is no adapter: it has no {CONFIG}", where=str(folder), hint="name the adapter's folder.")
    try:
        return _checked(read_object(path))
    except InputError as error:
        raise error if error.where else error.inside(file=path) from None


def _checked(said: Mapping[str, Any]) -> AdapterConfig:
    if said.get("peft_type") != "LORA":
        raise InputError(
            f"the adapter is a {said.get('peft_type')!r}; Ligate lays LoRA over a model", hint=_MERGE_WITH_PEFT
        )
    for key, value in said.items():
        if key not in _DECIDES and key not in _IRRELEVANT and value not in (None, False, [], {}):
            raise InputError(f"the adapter uses `{key}`, which Ligate does not follow", hint=_MERGE_WITH_PEFT)
    init = said.get("init_lora_weights")
    if init not in _LEAVES_BASE:
        raise InputError(f"the adapter was started by {init!r}, which changes the base model as well", hint=_CONVERT)
    config = AdapterConfig(
        rank=_number(said, "r", whole=True),
        alpha=_number(said, "lora_alpha"),
        ranks=_pattern(said, "rank_pattern", whole=True),
        alphas=_pattern(said, "alpha_pattern"),
        rank_stabilised=_flag(said, "use_rslora"),
        transposed=_flag(said, "fan_in_fan_out"),
        dora=_flag(said, "use_dora"),
        biased=_flag(said, "lora_bias"),
    )
    if config.dora and config.biased:
        raise InputError("the adapter has both `use_dora` and `lora_bias`", hint=_MERGE_WITH_PEFT)
    return config


def _pattern(said: Mapping[str, Any], key: str, *, whole: bool = False) -> Mapping[str, Any]:
    pattern = said.get(key) or {}
    if not isinstance(pattern, dict):
        raise InputError(f"`{key}` must map names to numbers")
    for name in pattern:
        _number(pattern, name, whole=whole)
        try:
            re.compile(name)
        except re.error as error:
            raise InputError(f"`{key}` has {name!r}, which is no valid pattern: {error}") from None
    return pattern


def _number(said: Mapping[str, Any], key: str, *, whole: bool = False) -> Any:
    value = said.get(key)
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or (whole and value < 1):
        raise InputError(f"`{key}` must be a {'whole number from 1 on' if whole else 'number'}. Got {value!r} instead.")
    return value


def _flag(said: Mapping[str, Any], key: str) -> bool:
    value = said.get(key)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"`{key}` must be true or false. Got {value!r} instead.")
    return bool(value)


def _of(module: str, pattern: Mapping[str, Any], default: Any) -> Any:
    """The value of the first pattern that is the module's name or the end of it, from a dot on."""
    found = (value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", module))
    return next(found, default)
