"""Networks that answer tasks, against what transformers and the bench say of the same questions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny_folders as made
from ligate.bench import encoder as encoders
from ligate.tasks import phrases
from ligate.tasks.loading import tokenizer_of
from ligate.tasks.network import Wanted, frozen_but, network_of
from ligate.tasks.questions import Asked

pytest.importorskip("transformers")

TEXTS = ["word1 word2", "word3 word4 word5 word6 red", "word7 word8 word9"]
ASKED = [Asked((text,), text, number % 2) for number, text in enumerate(TEXTS)]


def wanted(folder: Path, task: str) -> Wanted:
    return Wanted(made.CLASSES[task], folder / task, ("{}",), "here")


def test_encoders_answer_as_those_of_the_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encoders, "has_fast_bfloat16", lambda: False)
    made.encoders(tmp_path, ("colour",))
    encoder = encoders.load(tmp_path / "base")
    head = encoders.embed(encoder, encoder.tokens(made.CLASSES["colour"], 64))
    right = encoders.logits(encoders.embed(encoder, encoder.tokens(TEXTS, 64)), head)
    network = network_of("classification", tmp_path / "base", {"colour": wanted(tmp_path, "colour")}, 64, "here")
    told = network.ask("colour", network.examples("colour", ASKED).inputs)
    torch.testing.assert_close(told, right, atol=1e-4, rtol=1e-4)
    assert told.requires_grad
    hidden = network.answer("colour", network.examples("colour", ASKED).inputs).hidden
    assert hidden is not None
    torch.testing.assert_close(20 * torch.nn.functional.normalize(hidden, dim=1) @ head.T, told, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        phrases.head(network.module, tokenizer_of(tmp_path / "base"), made.CLASSES["colour"], 64), head
    )


def test_classifiers_share_their_body_and_keep_their_heads(tmp_path: Path):
    from transformers import AutoModelForSequenceClassification

    made.classifiers(tmp_path)
    tasks = {task: wanted(tmp_path, task) for task in made.CLASSES}
    network = network_of("sequence-classification", tmp_path / "base", tasks, 64, "here")
    expert = AutoModelForSequenceClassification.from_pretrained(tmp_path / "size").eval()
    body = dict(expert.named_parameters())
    with torch.no_grad():
        for name, one in network.module.named_parameters():
            one.copy_(body[name])
    assert not [name for name, _ in network.module.named_parameters() if name.startswith("classifier")]
    inputs = network.examples("size", ASKED).inputs
    torch.testing.assert_close(network.ask("size", inputs), expert(**inputs).logits)
    assert network.ask("colour", inputs).shape == (3, 3)
    states = expert.bert(**inputs).last_hidden_state
    lengths = inputs["attention_mask"].sum(1).tolist()
    right = torch.stack([row[:length].mean(0) for row, length in zip(states, lengths, strict=True)])
    torch.testing.assert_close(network.answer("size", inputs).hidden, right)


def test_language_models_are_asked_every_token(tmp_path: Path):
    from transformers import AutoModelForCausalLM

    made.language_models(tmp_path, ("colour",))
    network = network_of("causal-lm", tmp_path / "base", {"x": Wanted((), None, (), "here")}, 64, "here")
    texts = [f"{text} word1 word2 word3" for text in TEXTS]
    told = network.examples("x", [Asked((text,), text, 0) for text in texts])
    loss = torch.nn.functional.cross_entropy(network.ask("x", told.inputs), told.right)
    model, tokens = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval(), made.tokenizer()
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([[tokens.eos_token_id, *tokens(text)["input_ids"]]])
        logs = model(input_ids=ids).logits[0, :-1].log_softmax(1).detach()
        total -= float(logs[torch.arange(len(logs)), ids[0, 1:]].sum())
        count += len(logs)
    assert float(loss.detach()) == pytest.approx(total / count, rel=1e-4) and len(told.right) == count


def test_what_is_not_merged_becomes_a_buffer():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    before = module(torch.ones(1, 2))
    frozen_but(module, ["0.weight"])
    assert [name for name, _ in module.named_parameters()] == ["0.weight"]
    assert torch.equal(module(torch.ones(1, 2)), before)
