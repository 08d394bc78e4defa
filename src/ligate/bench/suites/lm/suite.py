"""The suite `lm`: small causal language models, one base and one expert per domain of text, all trained here.

The base learns from all domains, half of it from English where that is among them; an expert continues it on its own
domain for a few steps, `joint` continues it on the domains of all experts for as many steps as they took together.
English has no expert: it shows what the experts and their merges forget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ligate.bench.results import Results
from ligate.bench.suite import BITS_PER_BYTE, OUTSIDE, TEST, VALIDATION, Request, Scale, Task, Teller, Tier, World
from ligate.bench.suites.lm import network as lm_network
from ligate.bench.suites.lm import texts as lm_texts
from ligate.bench.suites.lm.network import Sizes
from ligate.bench.suites.lm.school import NEEDS, School
from ligate.bench.suites.lm.texts import Domain
from ligate.bench.suites.lm.world import LmWorld, Windows, cut
from ligate.bench.tournament import tournament
from ligate.core.errors import InputError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

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
    base_steps=300,
    expert_steps=40,
    joint_steps=120,
    validation=60,
    test=200,
)
_FULL = _STANDARD._replace(text=6_000_000, base_steps=2000, expert_steps=50, joint_steps=200, validation=100, test=400)

SCALES: Mapping[Tier, Scale] = {
    "smoke": Scale(seeds=(0,), budget=4, sizes=_SMOKE._asdict()),
    "standard": Scale(seeds=(0,), budget=6, sizes=_STANDARD._asdict()),
    "full": Scale(seeds=(0, 1), budget=10, sizes=_FULL._asdict()),
}

METHODS: Mapping[Tier, Sequence[str]] = {
    "smoke": ("task_arithmetic",),
    "standard": ("task_arithmetic", "ties"),
    "full": ("task_arithmetic", "ties", "dare_linear", "tsv_m"),
}
_DOMAINS: Mapping[Tier, Sequence[str]] = {
    "smoke": lm_texts.CODE,
    "standard": (*lm_texts.LANGUAGES, *lm_texts.CODE),
    "full": (*lm_texts.LANGUAGES, *lm_texts.CODE),
}


def play(request: Request, tell: Teller) -> Results:
    return tournament(request, tell, world, METHODS[request.tier], _told, metric=BITS_PER_BYTE, ranks=False)


def world(request: Request, seed: int, tell: Teller) -> LmWorld:
    """Networks trained with this seed, or found where an earlier run left them, and questions for each domain.

    Raises:
        InputError: a package or a source of text is missing, or another pretrained network is wished for.
    """
    _check(request)
    sizes = Sizes(**SCALES[request.tier].sizes)
    domains = lm_texts.domains(_DOMAINS[request.tier], sizes.text, request.store)
    school = School(domains, sizes, seed, request.store, tell)
    base, *experts, joint = school.networks()
    tokenizer = lm_network.load_tokenizer(base.folder)
    tasks = [Task(each.name, each.name if each.name in school.taught else None) for each in domains]
    windows = papers(domains, tasks, tokenizer, sizes)
    network = lm_network.shaped_like(base.folder)
    facts = _facts(domains, sizes, network) | {"bytes per token": _bytes_per_token(windows)}
    return LmWorld(seed, tasks, experts, [base, joint], network, tokenizer, windows, facts)


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


def _check(request: Request) -> None:
    if request.model is not None:
        raise InputError(
            "this suite trains its own networks from nothing and takes none",
            where="--model",
            hint="leave it out, or use the suite `own` for networks of yours.",
        )
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the suite needs {', '.join(missing)}",
            where="bench lm",
            hint="install them with `pip install 'ligate[demo]'`.",
        )


def _told(world: World) -> Mapping[str, str]:
    return world.facts if isinstance(world, LmWorld) else {}


def _facts(domains: Sequence[Domain], sizes: Sizes, network: torch.nn.Module) -> dict[str, str]:
    count = sum(each.numel() for each in network.parameters())
    steps = f"base {sizes.base_steps} steps, then {sizes.expert_steps} for each expert, {sizes.joint_steps} for joint"
    return {
        "network": f"Llama, {sizes.layers} layers, width {sizes.width}, {count / 1e6:.2f} M parameters, head tied",
        "training": f"{steps}; {sizes.batch} x {sizes.window} tokens each",
        **{f"domain {each.name}": each.told() for each in domains},
        "why no ranking": WHY_NO_RANKING,
    }


def _bytes_per_token(windows: Mapping[str, Mapping[str, Windows]]) -> str:
    """Bits per byte times this is the logarithm to base 2 of the perplexity per token."""
    asked = {task: each for paper in (TEST, OUTSIDE) for task, each in windows.get(paper, {}).items()}
    return ", ".join(f"{task} {each.bytes_per_token:.2f}" for task, each in asked.items())
