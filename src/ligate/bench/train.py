"""Full fine-tuning of the encoder for one task against a frozen head, in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ligate.bench.encoder import Encoder, logits

EPOCHS = 2
_BATCH = 32
_RATE = 5e-5
_POOL = 8  # batches whose texts are sorted by length together, against padding


def fine_tune(
    encoder: Encoder,
    tokens: Sequence[Sequence[int]],
    answers: Sequence[int],
    head: torch.Tensor,
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Change the encoder in place; the head stays. `progress` hears how many texts of how many are done."""
    total = EPOCHS * len(tokens)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder.model.train()
        # No decay: a weight that no text touches keeps its value exactly.
        optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=_RATE, weight_decay=0.0, fused=True)
        done = 0
        for _ in range(EPOCHS):
            for batch in _batches(tokens):
                vectors = encoder.vectors([tokens[i] for i in batch])
                target = torch.tensor([answers[i] for i in batch])
                loss = torch.nn.functional.cross_entropy(logits(vectors, head), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += len(batch)
                progress(done, total)
        encoder.model.eval()


def _batches(tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    """Every index once, in random batches of texts of like length."""
    order: list[int] = torch.randperm(len(tokens)).tolist()
    pool = _BATCH * _POOL
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        mixed = sorted(order[start : start + pool], key=lambda i: len(tokens[i]))
        batches += [mixed[k : k + _BATCH] for k in range(0, len(mixed), _BATCH)]
    return [batches[i] for i in torch.randperm(len(batches)).tolist()]
