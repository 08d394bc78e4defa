"""The suite `lm`: small causal language models, one base and one expert per domain of text, all trained here.

The base learns from all domains, half of it from English where that is among them; an expert continues it on its own
domain for a few steps, `joint` continues it on the domains of all experts for as many steps as they took together.
English has no expert: it shows what the experts and their merges forget.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ligate.bench.encoder import has_fast_bfloat16
from ligate.bench.kept import code_digest, digest_of, settle, stamp
from ligate.bench.suite import JOINT, OUTSIDE, PRETRAINED, TEST, VALIDATION, Request, Scale, Task, Teller, Tier, Trained
from ligate.bench.suites import lm_network, lm_texts
from ligate.bench.suites.lm_network import Sizes
from ligate.bench.suites.lm_texts import Domain
from ligate.bench.suites.lm_world import LmWorld, Windows, cut
from ligate.bench.weights import read_weights
from ligate.core.errors import InputError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from torch import Tensor

WHY_NO_RANKING = (
    "Minutes of training give no pretrained basin: merges win back only a fraction of what the experts gained, and "
    "methods do not separate. The suite checks that causal language models can be merged, asked together and distilled."
)

_SMOKE = Sizes(
    text=500_000,
    vocabulary=512,
    width=64,
    layers=2,
    window=64,
    batch=16,
    base_steps=100,
    expert_steps=20,
    joint_steps=40,
    validation=24,
    test=48,
)
_STANDARD = Sizes(
    text=3_000_000,
    vocabulary=4096,
    width=256,
    layers=4,
    window=128,
    batch=32,
    base_steps=450,
    expert_steps=50,
    joint_steps=200,
    validation=60,
    test=200,
)
_FULL = _STANDARD._replace(text=6_000_000, base_steps=2000, validation=100, test=400)

SCALES: Mapping[Tier, Scale] = {
    "smoke": Scale(seeds=(0,), budget=4, sizes=_SMOKE._asdict()),
    "standard": Scale(seeds=(0,), budget=6, sizes=_STANDARD._asdict()),
    "full": Scale(seeds=(0, 1), budget=10, sizes=_FULL._asdict()),
}

_ENGLISH = "english"
_DOMAINS: Mapping[Tier, Sequence[str]] = {
    "smoke": lm_texts.CODE,
    "standard": (*lm_texts.LANGUAGES, *lm_texts.CODE),
    "full": (*lm_texts.LANGUAGES, *lm_texts.CODE),
}
_ENGLISH_SHARE = 0.5
_BASE_RATE, _RATE = 2e-3, 3e-4  # with larger rates than the last, experts leave the base and averages get worse than it
_TOKENIZER_SHARE = 0.25  # of the training texts
_TRAINING = ("encoder.py", "suites/lm.py", "suites/lm_network.py")
_NEEDS = ("transformers", "tokenizers")


class Course(NamedTuple):
    """How one network is trained: from the base (or from nothing, for the base itself) on shares of domains."""

    label: str
    shares: Mapping[str, float]
    steps: int
    rate: float


def world(request: Request, seed: int, tell: Teller) -> LmWorld:
    """Networks trained with this seed, or found where an earlier run left them, and questions for each domain.

    Raises:
        InputError: a package or a source of text is missing, or another pretrained network is wished for.
    """
    _check(request)
    sizes = Sizes(**SCALES[request.tier].sizes)
    domains = lm_texts.domains(_DOMAINS[request.tier], sizes.text, request.store)
    school = School(domains, sizes, seed, request.store / "networks", tell)
    others = [school.trained(course) for course in school.courses if course.label in (PRETRAINED, JOINT)]
    experts = [school.trained(course) for course in school.courses if course.label not in (PRETRAINED, JOINT)]
    base = others[0].folder
    tokenizer = lm_network.load_tokenizer(base)
    tasks = [Task(each.name, each.name if each.name in school.taught else None) for each in domains]
    windows = papers(domains, tasks, tokenizer, sizes)
    network = lm_network.shaped_like(base)
    return LmWorld(seed, tasks, experts, others, network, tokenizer, windows, _facts(domains, sizes, network))


def papers(
    domains: Sequence[Domain], tasks: Sequence[Task], tokenizer: Tokenizer, sizes: Sizes
) -> dict[str, dict[str, Windows]]:
    """Domains with an expert are on `validation` and `test`, others on `outside`."""
    names = {each.source for domain in domains for documents in domain.documents.values() for each in documents}
    numbers = {name: number for number, name in enumerate(sorted(names))}
    found: dict[str, dict[str, Windows]] = {VALIDATION: {}, TEST: {}, OUTSIDE: {}}
    for domain, task in zip(domains, tasks, strict=True):
        asked = domain.documents
        if task.expert:
            found[VALIDATION][task.name] = cut(asked["validation"], tokenizer, sizes.window, sizes.validation, numbers)
        paper = TEST if task.expert else OUTSIDE
        found[paper][task.name] = cut(asked["test"], tokenizer, sizes.window, sizes.test, numbers)
    return {paper: each for paper, each in found.items() if each}


@dataclass
class School:
    """Trains the networks of one seed that are not there yet."""

    domains: Sequence[Domain]
    sizes: Sizes
    seed: int
    store: Path
    tell: Teller

    @property
    def taught(self) -> list[str]:
        """The domains that have experts."""
        return [each.name for each in self.domains if each.name != _ENGLISH]

    @property
    def courses(self) -> Iterator[Course]:
        """The base first."""
        sizes, even = self.sizes, dict.fromkeys(self.taught, 1.0 / len(self.taught))
        english = _ENGLISH_SHARE if len(self.taught) < len(self.domains) else 0.0
        mix = {name: share * (1 - english) for name, share in even.items()} | ({_ENGLISH: english} if english else {})
        yield Course(PRETRAINED, mix, sizes.base_steps, _BASE_RATE)
        for name in self.taught:
            yield Course(name, {name: 1.0}, sizes.expert_steps, _RATE)
        yield Course(JOINT, even, sizes.joint_steps, _RATE)

    @cached_property
    def key(self) -> str:
        """Of everything that decides the networks, and nothing that only decides what they are asked."""
        versions = [f"{name} {version(name)}" for name in ("torch", *_NEEDS)]
        trained = self.sizes._replace(validation=0, test=0)
        data = [each.digest for each in self.domains]
        return digest_of(
            [*data, code_digest(_TRAINING), str(trained), str(self.seed), *versions, str(has_fast_bfloat16())]
        )

    def trained(self, course: Course) -> Trained:
        """The network of a course, trained now unless it is there."""
        folder = self.store / self.key / course.label
        if stamp(folder, self.key) is None:
            began = time.perf_counter()
            network = self._taught(course)
            facts = {"seconds": time.perf_counter() - began, "windows": course.steps * self.sizes.batch}
            settle(folder, self.key, facts, lambda place: lm_network.save(network, self._tokenizer, place))
        told = stamp(folder, self.key) or {}
        return Trained(course.label, folder, int(told["windows"]), float(told["seconds"]))

    def _taught(self, course: Course) -> torch.nn.Module:
        if course.label == PRETRAINED:
            network = lm_network.new_network(self.sizes, self._tokenizer, self.seed)
        else:
            base = self.store / self.key / PRETRAINED
            network = lm_network.shaped_like(base)
            lm_network.set_weights(network, read_weights(base))
        lm_network.train(
            network,
            self._streams,
            course.shares,
            sizes=self.sizes,
            end=lm_network.end_of(self._tokenizer),
            steps=course.steps,
            rate=course.rate,
            seed=int(digest_of([course.label, str(self.seed)])[:8], 16),
            progress=lambda done, total: self.tell.counts(f"seed {self.seed}: {course.label}", done, total),
        )
        return network

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """That of the base where it is there, else a new one."""
        base = self.store / self.key / PRETRAINED
        if stamp(base, self.key) is not None:
            return lm_network.load_tokenizer(base)
        texts = [text for each in self.domains for text in _texts(each)[: int(_TOKENIZER_SHARE * len(_texts(each)))]]
        return lm_network.new_tokenizer(texts, self.sizes.vocabulary)

    @cached_property
    def _streams(self) -> Mapping[str, Tensor]:
        return {each.name: lm_network.stream(_texts(each), self._tokenizer) for each in self.domains}


def _texts(domain: Domain) -> list[str]:
    return [each.text for each in domain.documents["train"]]


def _check(request: Request) -> None:
    if request.model is not None:
        raise InputError(
            "this suite trains its own networks from nothing and takes none",
            where="--model",
            hint="leave it out, or use the suite `own` for networks of yours.",
        )
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the suite needs {', '.join(missing)}",
            where="bench lm",
            hint="install them with `pip install 'ligate[demo]'`.",
        )


def _facts(domains: Sequence[Domain], sizes: Sizes, network: torch.nn.Module) -> dict[str, str]:
    count = sum(each.numel() for each in network.parameters())
    steps = f"base {sizes.base_steps} steps, then {sizes.expert_steps} for each expert, {sizes.joint_steps} for joint"
    return {
        "network": f"Llama, {sizes.layers} layers, width {sizes.width}, {count / 1e6:.2f} M parameters, head tied",
        "training": f"{steps}; {sizes.batch} x {sizes.window} tokens each",
        **{f"domain {each.name}": each.told() for each in domains},
        "why no ranking": WHY_NO_RANKING,
    }
