"""Trains the networks of the suite `lm`: a base, an expert for each domain, and one of all domains together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ligate.bench.encoder import has_fast_bfloat16
from ligate.bench.kept import code_digest, digest_of, settle, stamp
from ligate.bench.suite import JOINT, PRETRAINED, Teller, Trained
from ligate.bench.suites.lm import network as lm_network
from ligate.bench.suites.lm.network import Sizes
from ligate.bench.suites.lm.texts import Domain
from ligate.bench.weights import read_weights

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from torch import Tensor

NEEDS = ("transformers", "tokenizers")
_ENGLISH = "english"
_ENGLISH_SHARE = 0.5  # of what the base reads
_BASE_RATE, _RATE = 2e-3, 3e-4  # experts that learn at 1e-3 leave the base so far that their average is worse than it
_TOKENIZER_SHARE = 0.25  # of the training texts
_TRAINING = ("encoder.py", "suites/lm/network.py", "suites/lm/school.py")


class Course(NamedTuple):
    """How one network is trained: from the base (or from nothing, for the base itself) on shares of domains."""

    label: str
    shares: Mapping[str, float]
    steps: int
    rate: float


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

    def networks(self) -> list[Trained]:
        """The base, the experts in the order of their domains, and the one of all domains."""
        return [self.trained(course) for course in self.courses]

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
        versions = [f"{name} {version(name)}" for name in ("torch", *NEEDS)]
        trained = self.sizes._replace(validation=0, test=0)
        data = [each.digest for each in self.domains]
        return digest_of(
            [*data, code_digest(_TRAINING), str(trained), str(self.seed), *versions, str(has_fast_bfloat16())]
        )

    def trained(self, course: Course) -> Trained:
        """The network of a course, trained now unless it is there."""
        folder = self.store / "networks" / self.key / course.label
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
            base = self.store / "networks" / self.key / PRETRAINED
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
        base = self.store / "networks" / self.key / PRETRAINED
        if stamp(base, self.key) is not None:
            return lm_network.load_tokenizer(base)
        texts = [text for each in self.domains for text in _texts(each)[: int(_TOKENIZER_SHARE * len(_texts(each)))]]
        return lm_network.new_tokenizer(texts, self.sizes.vocabulary)

    @cached_property
    def _streams(self) -> Mapping[str, Tensor]:
        return {each.name: lm_network.stream(_texts(each), self._tokenizer) for each in self.domains}


def _texts(domain: Domain) -> list[str]:
    return [each.text for each in domain.documents["train"]]
