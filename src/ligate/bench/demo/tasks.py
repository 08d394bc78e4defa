"""Three questions about the same texts: which library, which topic, what kind of thing is described.

One split by source file serves all three, so no file that one expert has seen is in the test of another. The task is
not visible in the text: a merged model must answer all three questions from one embedding.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from ligate.bench.demo.data import Docstring, Split, docstrings, library_folders, source_files, without_templates

_FILES_PER_CELL = 48  # of one library and topic; bounds the time of reading
_TEXTS_PER_FILE = 8  # so that no long file dominates

# import name -> (name of the distribution, words that name it in a text, class phrase)
_LIBRARIES = {
    "numpy": ("numpy", ("numpy", "np"), "arrays and array computing"),
    "scipy": ("scipy", ("scipy",), "algorithms for scientific computing"),
    "sklearn": ("scikit-learn", ("scikit-learn", "sklearn", "scikit"), "classical machine learning"),
    "torch": ("torch", ("torch", "pytorch"), "deep learning with tensors on a GPU"),
    "transformers": ("transformers", ("transformers", "huggingface", "hugging face"), "pretrained transformer models"),
    "networkx": ("networkx", ("networkx", "nx"), "graphs, nodes and edges"),
    "sympy": ("sympy", ("sympy",), "symbolic mathematics and expressions"),
}
_BLANK = "library"

# topic -> (class phrase, globs on the path of the file; the first topic that fits is the label)
_TOPICS = {
    "linear algebra": (
        "matrices and linear algebra",
        "numpy/linalg/* numpy/matrixlib/* scipy/linalg/* scipy/sparse/linalg/* sympy/matrices/* "
        "sympy/polys/matrices/* torch/linalg/* networkx/linalg/*",
    ),
    "probability": (
        "probability distributions and statistics",
        "scipy/stats/* torch/distributions/* sympy/stats/* numpy/random/* sklearn/gaussian_process/* "
        "sklearn/mixture/* sklearn/covariance/*",
    ),
    "optimization": (
        "optimization: minimizing a function",
        "scipy/optimize/* torch/optim/* scipy/_lib/cobyqa/* scipy/_lib/pyprima/* transformers/optimization* "
        "networkx/algorithms/flow/*",
    ),
    "signals": (
        "audio, filters and Fourier transforms",
        "scipy/signal/* scipy/fft/* scipy/fftpack/* numpy/fft/* transformers/models/*/feature_extraction_* "
        "transformers/audio_utils* torch/signal/*",
    ),
    "images": (
        "images and video",
        "scipy/ndimage/* transformers/models/*/image_processing_* transformers/models/*/video_processing_* "
        "transformers/image_* transformers/video_* sklearn/feature_extraction/*image*",
    ),
    "language": (
        "text, tokens and parsing",
        "transformers/models/*/tokenization_* transformers/tokenization_* sklearn/feature_extraction/*text* "
        "transformers/generation/* sympy/parsing/*",
    ),
    "polynomials": ("polynomials and interpolation", "numpy/polynomial/* sympy/polys/* scipy/interpolate/*"),
    "clustering": (
        "clustering and nearest neighbors",
        "sklearn/cluster/* scipy/cluster/* sklearn/neighbors/* networkx/algorithms/community/*",
    ),
    "graphs": (
        "graph algorithms",
        "networkx/algorithms/* networkx/classes/* networkx/generators/* scipy/sparse/csgraph/*",
    ),
    "calculus": (
        "derivatives, integrals and series",
        "sympy/integrals/* sympy/series/* sympy/calculus/* sympy/solvers/ode/* scipy/integrate/* torch/autograd/* "
        "scipy/differentiate/*",
    ),
    "layers": (
        "neural network layers",
        "torch/nn/* transformers/models/*/modeling_* sklearn/neural_network/*",
    ),
    "files": (
        "reading and writing files",
        "scipy/io/* networkx/readwrite/* numpy/lib/*npyio* numpy/lib/*format* torch/serialization* torch/package/* "
        "sklearn/datasets/* torch/distributed/checkpoint/*",
    ),
    "display": (
        "plots, printing and display",
        "networkx/drawing/* sympy/plotting/* sympy/printing/* sklearn/*/_plot/* numpy/_core/arrayprint* "
        "sklearn/utils/_repr_html/*",
    ),
    "arrays": (
        "shape, type and elements of arrays",
        "numpy/_core/* numpy/lib/* numpy/ma/* scipy/_lib/array_api_* sklearn/externals/array_api_* torch/masked/* "
        "torch/_prims* sympy/tensor/array/*",
    ),
}

_KINDS = {
    "module": "overview of a module",
    "class": "a class of objects",
    "function": "a function that computes something",
    "method": "a method of an object",
    "test": "a test that checks for correct behavior",
}


@dataclass(frozen=True)
class Task:
    """A question with a closed set of answers; the pretrained model reads the phrases to form the frozen head."""

    name: str
    classes: tuple[str, ...]
    phrases: tuple[str, ...]


TASKS = (
    Task("library", tuple(_LIBRARIES), tuple(phrase for _, _, phrase in _LIBRARIES.values())),
    Task("topic", tuple(_TOPICS), tuple(phrase for phrase, _ in _TOPICS.values())),
    Task("kind", tuple(_KINDS), tuple(_KINDS.values())),
)


class Example(NamedTuple):
    """One text and its answer to each task, as indices into the tasks' classes."""

    text: str
    path: str
    split: Split
    answers: tuple[int, ...]


@dataclass(frozen=True)
class Corpus:
    """All examples, in an order that says nothing, and the versions of the libraries they come from."""

    examples: tuple[Example, ...]
    versions: Mapping[str, str]

    def part(self, split: Split) -> list[Example]:
        return [example for example in self.examples if example.split == split]

    @property
    def digest(self) -> str:
        text = json.dumps([example[:] for example in self.examples])
        return hashlib.blake2s(text.encode(), digest_size=16).hexdigest()


def library_versions() -> dict[str, str]:
    return {distribution: version(distribution) for distribution, _, _ in _LIBRARIES.values()}


def build() -> Corpus:
    """Read the installed libraries; takes some seconds."""
    folders = library_folders(_LIBRARIES)
    blanked = {word: _BLANK for _, words, _ in _LIBRARIES.values() for word in words}
    found = chain.from_iterable(docstrings(folder, _chosen_files(folder), blanked) for folder in folders.values())
    kept = without_templates(sorted(found, key=lambda item: (_digest(item.path), _digest(item.text))))
    return Corpus(tuple(map(_example, _thinned(kept))), library_versions())


def topic_of(path: str) -> str | None:
    """The first topic one of whose globs fits the path."""
    fits = (name for name, (_, globs) in _TOPICS.items() if any(fnmatch.fnmatchcase(path, g) for g in globs.split()))
    return next(fits, None)


def drawn(examples: Sequence[Example], task: int, count: int, seed: int) -> list[Example]:
    """Up to `count` examples, as many of each class as there are; another seed draws others."""
    classes: dict[int, list[Example]] = {}
    for example in sorted(examples, key=lambda item: _digest(f"{seed}/{task}/{item.path}/{item.text}")):
        classes.setdefault(example.answers[task], []).append(example)
    rounds = chain.from_iterable(zip_longest(*(classes[label] for label in sorted(classes))))
    return [example for example in rounds if example is not None][:count]


def save(corpus: Corpus, path: Path) -> None:
    """Write the corpus as JSON, whole or not at all."""
    rows = [[example.text, example.path, example.split, list(example.answers)] for example in corpus.examples]
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"versions": dict(corpus.versions), "examples": rows}), encoding="utf-8")
    partial.replace(path)


def read(path: Path) -> Corpus:
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows = (Example(text, place, split, tuple(answers)) for text, place, split, answers in stored["examples"])
    return Corpus(tuple(rows), stored["versions"])


def _chosen_files(folder: Path) -> list[str]:
    """Some files of each topic; files without a topic are not read."""
    cells: dict[str, list[str]] = {}
    for path in source_files(folder):
        topic = topic_of(path)
        if topic is not None:
            cells.setdefault(topic, []).append(path)
    return [path for paths in cells.values() for path in paths[:_FILES_PER_CELL]]


def _thinned(items: Sequence[Docstring]) -> list[Docstring]:
    counts: dict[str, int] = {}
    kept: list[Docstring] = []
    for item in items:
        counts[item.path] = counts.get(item.path, 0) + 1
        if counts[item.path] <= _TEXTS_PER_FILE:
            kept.append(item)
    return kept


def _example(item: Docstring) -> Example:
    labels = (item.library, topic_of(item.path), item.kind)
    answers = tuple(task.classes.index(str(label)) for task, label in zip(TASKS, labels, strict=True))
    return Example(item.text, item.path, item.split, answers)


def _digest(text: str) -> str:
    return hashlib.blake2s(text.encode(), digest_size=16).hexdigest()
