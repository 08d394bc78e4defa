"""A small Llama and its tokenizer, made here: byte-level BPE, tied embeddings, plain next-token training.

A network reads windows of fixed length. Each begins with the mark END, and everything after it is to be told, so bits
can be counted per byte of text, which does not depend on the tokenizer. Training cuts its windows at random places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ligate.bench.encoder import fast_arithmetic
from ligate.bench.suite import State
from ligate.core.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END = "<|end|>"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
FILLER = -100  # follows the tokens of a short window, and is not asked
_HEAD_WIDTH = 64
_LARGEST_GRADIENT = 1.0
_RISE = 0.1  # the share of the steps in which the rate rises; then it falls to zero


class Sizes(NamedTuple):
    """Of the texts, the network, its training, and what it is asked."""

    text: int  # bytes per domain
    vocabulary: int
    width: int
    layers: int
    window: int  # tokens
    batch: int  # windows per step
    base_steps: int
    expert_steps: int
    joint_steps: int
    validation: int  # windows per domain
    test: int


def new_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Every text can be written in it, byte by byte if need be."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def token_bytes(tokenizer: Tokenizer) -> Tensor:
    """[V] how many bytes of text each token stands for: in byte-level BPE every character of a token is one byte."""
    tokens = [tokenizer.id_to_token(number) or "" for number in range(tokenizer.get_vocab_size())]
    return torch.tensor([0 if token == END else len(token) for token in tokens])


def stream(texts: Sequence[str], tokenizer: Tokenizer) -> Tensor:
    """All tokens of the texts in one row, END after each text."""
    end = end_of(tokenizer)
    return torch.tensor([token for each in tokenizer.encode_batch(texts) for token in (*each.ids, end)])


def end_of(tokenizer: Tokenizer) -> int:
    """The number of END, which every tokenizer made here has as its first token."""
    return tokenizer.token_to_id(END) or 0


def new_network(sizes: Sizes, tokenizer: Tokenizer, seed: int) -> torch.nn.Module:
    """With random weights, which only the seed decides."""
    from transformers import LlamaConfig

    end = end_of(tokenizer)
    heads = max(1, sizes.width // _HEAD_WIDTH)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=sizes.width,
        intermediate_size=32 * math.ceil(sizes.width / 12),  # 8/3 of the width, as in Llama
        num_hidden_layers=sizes.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=sizes.window,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
    )
    return _network(config, seed)


def shaped_like(folder: Path) -> torch.nn.Module:
    """A network of the shape of a model folder; its weights are to be set."""
    from transformers import LlamaConfig

    return _network(LlamaConfig.from_pretrained(folder, local_files_only=True), 0)


def set_weights(network: torch.nn.Module, state: State) -> None:
    """As they are in a model folder, where the head is left out; it may be there if it is the embedding.

    Raises:
        InputError: names or shapes are not those of the network, or the head differs from the embedding.
    """
    if HEAD in state and EMBEDDING in state and not torch.equal(state[HEAD], state[EMBEDDING]):
        raise InputError(
            f"`{HEAD}` differs from `{EMBEDDING}`, and in this network they are one tensor",
            where="bench lm",
            hint="merge the weights as they are in the model folders, where the head is left out.",
        )
    try:
        network.load_state_dict({**state, HEAD: state[EMBEDDING]})
    except (RuntimeError, KeyError) as error:
        raise InputError(
            f"these weights do not fit the network of the suite: {error}",
            where="bench lm",
            hint="merge networks of this suite, all of one run.",
        ) from error


def _network(config: Any, seed: int) -> torch.nn.Module:
    from transformers import LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).float().eval()


def save(network: torch.nn.Module, tokenizer: Tokenizer, folder: Path) -> None:
    """A folder that transformers loads with its Auto classes."""
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    network.save_pretrained(folder)  # type: ignore[operator]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END).save_pretrained(folder)


def logits(network: torch.nn.Module, windows: Tensor, end: int) -> Tensor:
    """[B, W, V] what is said at each place of windows [B, W] before the token there is seen."""
    before = torch.nn.functional.pad(windows[:, :-1], (1, 0), value=end)
    before = before.masked_fill(before == FILLER, end)  # behind everything that is asked
    with fast_arithmetic():
        return network(input_ids=before, use_cache=False).logits.float()


def train(
    network: torch.nn.Module,
    streams: Mapping[str, Tensor],
    shares: Mapping[str, float],
    *,
    sizes: Sizes,
    end: int,
    steps: int,
    rate: float,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Change the network in place. `shares` says how much of a batch is from which stream, on average."""
    draw = torch.Generator().manual_seed(seed)
    # No decay: a weight that no text touches keeps its value exactly.
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    network.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * pace(step, steps)
        windows = crops(streams, shares, sizes.batch, sizes.window, draw)
        loss = torch.nn.functional.cross_entropy(logits(network, windows, end).flatten(0, 1), windows.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        progress(step + 1, steps)
    network.eval()


def crops(
    streams: Mapping[str, Tensor], shares: Mapping[str, float], count: int, window: int, draw: torch.Generator
) -> Tensor:
    """[count, window] tokens from random places of streams drawn by their shares."""
    names = list(shares)
    weights = torch.tensor([shares[name] for name in names], dtype=torch.float64)
    which: list[int] = torch.multinomial(weights, count, replacement=True, generator=draw).tolist()
    places = torch.rand(count, generator=draw, dtype=torch.float64).tolist()
    rows: list[Tensor] = []
    for number, place in zip(which, places, strict=True):
        whole = streams[names[number]]
        start = int(place * (len(whole) - window + 1))
        rows.append(whole[start : start + window])
    return torch.stack(rows)


def pace(step: int, steps: int) -> float:
    """What part of the highest rate a step takes.

    >>> [round(pace(step, 10), 2) for step in (0, 1, 5, 9)]
    [1.0, 0.9, 0.5, 0.1]
    """
    rise = max(1, round(_RISE * steps))
    return (step + 1) / rise if step < rise else (steps - step) / max(1, steps - rise + 1)
