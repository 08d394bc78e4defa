"""Tiny transformers of several families, for the tests of alignment."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def family(kind: str) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """A model with weights of its own, and what it is called with."""
    import transformers as t

    torch.manual_seed(0)
    common = {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    grouped = {**common, "intermediate_size": 24, "num_key_value_heads": 2}
    asked, text = {"use_cache": False}, torch.tensor([[3, 1, 4, 1, 5]])
    if kind == "llama":
        return (t.LlamaForCausalLM(t.LlamaConfig(**grouped)), (text,), asked)
    if kind == "mixtral":
        return (t.MixtralForCausalLM(t.MixtralConfig(**grouped, num_local_experts=3)), (text,), asked)
    if kind == "bert":
        return (t.BertForSequenceClassification(t.BertConfig(**common, intermediate_size=24)), (text,), {})
    config = t.ViTConfig(image_size=8, patch_size=4, hidden_size=16, num_attention_heads=2, intermediate_size=24,
                         num_hidden_layers=2)  # fmt: skip
    return (t.ViTForImageClassification(config), (torch.randn(1, 3, 8, 8, dtype=torch.float64),), {})
