"""Tiny random models of many architectures, written to folders as their libraries write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**SMALL, "vocab_size": 40, "max_position_embeddings": 32, "pad_token_id": 0}
DECODER = {**TEXT, "num_key_value_heads": 1, "head_dim": 8, "bos_token_id": 1, "eos_token_id": 2}
IMAGE = {**SMALL, "image_size": 8, "patch_size": 4}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "vocab_size": 40}
EXPERTS = {**DECODER, "moe_intermediate_size": 8, "num_experts_per_tok": 2}

TOKENS = torch.tensor([[3, 5, 7, 4]])
PIXELS = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)


class Architecture(NamedTuple):
    """A class of transformers with a config so small that a model is made in no time, and something to feed it."""

    name: str
    model: str
    config: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Tensor]

    def build(self, seed: int) -> transformers.PreTrainedModel:
        torch.manual_seed(seed)
        return self.kind(getattr(transformers, self.config)(**self.settings)).eval()

    @property
    def kind(self) -> Any:
        return getattr(transformers, self.model)


WORDS = {"input_ids": TOKENS}
PAIR = {"input_ids": TOKENS, "decoder_input_ids": TOKENS}

ARCHITECTURES = (
    Architecture("llama", "LlamaForCausalLM", "LlamaConfig", DECODER, WORDS),
    Architecture("mistral", "MistralForCausalLM", "MistralConfig", {**DECODER, "sliding_window": 8}, WORDS),
    Architecture("qwen2", "Qwen2ForCausalLM", "Qwen2Config", DECODER, WORDS),
    Architecture("qwen3", "Qwen3ForCausalLM", "Qwen3Config", {**DECODER, "tie_word_embeddings": True}, WORDS),
    Architecture(
        "gemma3",
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        {**DECODER, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8},
        WORDS,
    ),
    Architecture("phi", "PhiForCausalLM", "PhiConfig", {**TEXT, "bos_token_id": 1, "eos_token_id": 2}, WORDS),
    Architecture(
        "gpt2",
        "GPT2LMHeadModel",
        "GPT2Config",
        {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 40, "n_positions": 32},
        WORDS,
    ),
    Architecture(
        "opt",
        "OPTForCausalLM",
        "OPTConfig",
        {**{key: TEXT[key] for key in TEXT if key != "intermediate_size"}, "ffn_dim": 24, "word_embed_proj_dim": 16},
        WORDS,
    ),
    Architecture("mixtral", "MixtralForCausalLM", "MixtralConfig", {**DECODER, "num_local_experts": 4}, WORDS),
    Architecture("qwen3-moe", "Qwen3MoeForCausalLM", "Qwen3MoeConfig", {**EXPERTS, "num_experts": 4}, WORDS),
    Architecture(
        "deepseek-moe",
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        {
            **{key: value for key, value in EXPERTS.items() if key != "head_dim"},
            "num_key_value_heads": 2,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 4,
            "v_head_dim": 8,
        },
        WORDS,
    ),
    Architecture("bert", "BertModel", "BertConfig", TEXT, WORDS),
    Architecture(
        "modernbert",
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        {**TEXT, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
        WORDS,
    ),
    Architecture("vit", "ViTForImageClassification", "ViTConfig", {**IMAGE, "num_labels": 3}, {"pixel_values": PIXELS}),
    Architecture(
        "clip",
        "CLIPModel",
        "CLIPConfig",
        {
            "text_config": {**TEXT, "projection_dim": 8, "bos_token_id": 1, "eos_token_id": 4},
            "vision_config": {**IMAGE, "projection_dim": 8},
            "projection_dim": 8,
        },
        {"input_ids": TOKENS, "pixel_values": PIXELS},
    ),
    Architecture("t5-relu", "T5ForConditionalGeneration", "T5Config", T5, PAIR),
    Architecture(
        "t5-gated",
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        PAIR,
    ),
    Architecture(
        "whisper",
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {
            "d_model": 16,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_ffn_dim": 24,
            "decoder_ffn_dim": 24,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "vocab_size": 40,
            "num_mel_bins": 4,
            "max_source_positions": 8,
            "max_target_positions": 8,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
            "suppress_tokens": [],
            "begin_suppress_tokens": [],
        },
        {"input_features": torch.linspace(-1, 1, 64).view(1, 4, 16), "decoder_input_ids": TOKENS},
    ),
    Architecture(
        "llava",
        "LlavaForConditionalGeneration",
        "LlavaConfig",
        {
            "text_config": {"model_type": "llama", **DECODER},
            "vision_config": {"model_type": "clip_vision_model", **IMAGE, "projection_dim": 8},
            "image_token_index": 39,
            "vision_feature_layer": -1,
        },
        {"input_ids": torch.tensor([[3, 39, 39, 39, 39, 4]]), "pixel_values": PIXELS},
    ),
    Architecture(
        "qwen2.5-vl",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen2_5_VLConfig",
        {
            "text_config": {
                **DECODER,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
            },
            "vision_config": {
                "depth": 2,
                "hidden_size": 16,
                "intermediate_size": 24,
                "num_heads": 2,
                "out_hidden_size": 16,
                "patch_size": 2,
                "window_size": 8,
                "fullatt_block_indexes": [1],
            },
            "image_token_id": 39,
            "video_token_id": 38,
            "vision_start_token_id": 37,
            "vision_end_token_id": 36,
        },
        {
            "input_ids": torch.tensor([[3, 37, 39, 39, 39, 39, 36, 4]]),
            "pixel_values": torch.linspace(-1, 1, 16 * 24).view(16, 24),
            "image_grid_thw": torch.tensor([[1, 4, 4]]),
            "mm_token_type_ids": torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0]]),
        },
    ),
)


def by_name(name: str) -> Architecture:
    return next(architecture for architecture in ARCHITECTURES if architecture.name == name)


def sentence_encoder(folder: Path, seed: int) -> None:
    """As sentence-transformers writes one: BERT in the folder itself, pooling without weights, a dense layer."""
    by_name("bert").build(seed).save_pretrained(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    listed = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(modules)
    ]
    _write(folder / "modules.json", listed)
    _write(folder / "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "cosine"})
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True})
    _write(folder / "2_Dense" / "config.json", {"in_features": 16, "out_features": 8, "bias": True})
    save_file(_random(nn.Linear(16, 8), seed), folder / "2_Dense" / "model.safetensors", {"format": "pt"})


class Convolutions(nn.Module):
    """Stands for a UNet or an autoencoder: what matters is that it has weights of its own kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, 6, 3, padding=1)
        self.down_blocks = nn.ModuleList([nn.Sequential(nn.GroupNorm(2, 6), nn.Conv2d(6, 6, 3)) for _ in range(2)])
        self.conv_out = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(x)


def pipeline(folder: Path, seed: int) -> None:
    """As diffusers writes one: every component in a folder of its own, named by model_index.json."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.30.0",
        "feature_extractor": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    _write(folder / "model_index.json", index)
    _write(folder / "scheduler" / "scheduler_config.json", {"num_train_timesteps": 1000})
    _write(folder / "tokenizer" / "vocab.json", {"a": 0})
    for number, name in enumerate(("unet", "vae")):
        _write(folder / name / "config.json", {"_class_name": index[name][1], "in_channels": 4})
        weights = _random(Convolutions(), 2 * seed + number)
        save_file(weights, folder / name / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    torch.manual_seed(seed)
    config = transformers.CLIPTextConfig(**{**TEXT, "projection_dim": 8, "bos_token_id": 1, "eos_token_id": 2})
    transformers.CLIPTextModel(config).save_pretrained(folder / "text_encoder")


def plain_module(file: Path, seed: int) -> None:
    """What `torch.save(model.state_dict(), file)` leaves of a network that no library knows."""
    module = Convolutions()
    module.load_state_dict(_random(module, seed))
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), file)


Writer = Callable[[Path, int], None]


def _random(module: nn.Module, seed: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(x.shape, generator=draw) * 0.1 for name, x in module.state_dict().items()}


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
