r"""A network that tells the parent of a network, trained on lineages that are known.

Each pair of a candidate and the child becomes tokens (`evidence`): one for every tensor, one for the features. Encoders
look at numbers side by side one by one and take the mean, so that widths and the order of units do not matter. A
transformer reads the tokens of a pair behind a token of its own (CLS), whose answer stands for the pair; a second one
lets the candidates look at each other, its attention led by how they lie to each other and to the child. A softmax over
the candidates of one number each is the answer:

    v_P = CLS( transformer( cls, weights_1 .. weights_T, features ) )
    u_P = v_P + sum_Q softmax_Q( q_P . k_Q / sqrt(d) + b(g_PQ) ) (V v_Q + G g_PQ)          twice
    p(P) = softmax_P( w . u_P )

Source: "Neural Lineage", arXiv 2406.11129, and its authors' code: encoders for weights and features, type embeddings,
CLS, attention, scores made comparable among candidates, cross entropy.
Differs: theirs reads one matrix and one layer of fixed shapes by convolutions; this one any number of tensors of any
shape. That features after the linear step are among what is read, facts beside the elements, and attention among
candidates led by angles g are ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from ligate.align.stored import read_tensor
from ligate.core.errors import InputError
from ligate.core.tensors import Header, dtype_name
from ligate.io import open_source
from ligate.io.writer import FolderSink

from .evidence import BETWEEN, FACTS, Evidence, evidence

if TYPE_CHECKING:
    from torch import Tensor

    from .tangent import Net

DETAILS = "detector.json"
_FORMAT = "ligate-lineage-detector-1"


class Size(NamedTuple):
    """`width` of tokens, `heads` of attention, `rounds` in which candidates look at each other."""

    width: int = 32
    heads: int = 4
    rounds: int = 2


class Encoder(nn.Module):
    """Elements [..., E, channels] and facts [..., F] -> a token [..., width].

    Facts come twice: as they are, and less their mean over the candidates.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(channels, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.all = nn.Sequential(nn.Linear(width + 2 * FACTS, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, elements: Tensor, facts: Tensor) -> Tensor:
        seen = self.each(elements).mean(-2)
        return self.all(torch.cat([seen, facts, facts - facts.mean(0)], -1))


class Among(nn.Module):
    """Candidates [n, width] look at each other, led by [n, n, BETWEEN]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.led = nn.Sequential(nn.Linear(BETWEEN, width), nn.GELU())
        self.bias, self.lying = nn.Linear(width, heads), nn.Linear(width, width)
        self.after = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, between: Tensor) -> Tensor:
        y, led, n = self.norm(x), self.led(between), len(x)
        query, key, value = (part(y).reshape(n, self.heads, -1) for part in (self.query, self.key, self.value))
        weights = torch.einsum("phd,qhd->pqh", query, key) / query.shape[-1] ** 0.5 + self.bias(led)
        seen = value[None] + self.lying(led).reshape(n, n, self.heads, -1)
        x = x + self.out(torch.einsum("pqh,pqhd->phd", weights.softmax(1), seen).reshape(n, -1))
        return x + self.after(x)


class Detector(nn.Module):
    """Evidence of n candidates -> [n] logits."""

    def __init__(self, size: Size = Size()) -> None:  # noqa: B008 - a tuple
        super().__init__()
        self.size = size
        self.weights, self.features = Encoder(2, size.width), Encoder(3, size.width)
        self.kinds = nn.Parameter(0.02 * torch.randn(3, size.width))  # of CLS, of weights, of features
        self.pair = nn.TransformerEncoderLayer(
            size.width, size.heads, 2 * size.width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.among = nn.ModuleList(Among(size.width, size.heads) for _ in range(size.rounds))
        self.score = nn.Sequential(nn.LayerNorm(size.width), nn.Linear(size.width, 1))

    def forward(self, given: Evidence) -> Tensor:
        count = len(given.names)
        weights = self.weights(given.weights, given.weight_facts) + self.kinds[1]
        features = self.features(given.features, given.feature_facts)[:, None] + self.kinds[2]
        cls = self.kinds[0].expand(count, 1, -1)
        x = self.pair(torch.cat([cls, weights, features], 1))[:, 0]
        between = given.between.to(x)
        for layer in self.among:
            x = layer(x, between)
        return self.score(x)[:, 0]


def detected(detector: Detector, child: Net, parents: Mapping[str, Net]) -> dict[str, float]:
    """The probability of each candidate that it is the parent, if one of them is; the likeliest first.

    Raises:
        InputError: there are no candidates, or one has other shapes than the child.
    """
    given = evidence(child, parents)
    with torch.no_grad():
        sure = detector.eval()(given).softmax(0)
    found = zip(given.names, sure.tolist(), strict=True)
    return dict(sorted(found, key=lambda one: -one[1]))


def save(detector: Detector, folder: Path, notes: Mapping[str, object] | None = None) -> None:
    """`model.safetensors` and `detector.json`: the size, and what else there is to tell of its training.

    Raises:
        StorageError: it cannot be written there.
    """
    state = {name: value.detach().contiguous() for name, value in detector.state_dict().items()}
    headers = {name: Header(dtype_name(value.dtype), tuple(value.shape)) for name, value in state.items()}
    with closing(FolderSink(folder, headers, eager=False)) as sink:
        for name, value in state.items():
            sink.write(name, 0, memoryview(value.numpy().tobytes()))
        sink.finish(fsync=False)
    told = {"format": _FORMAT, "size": detector.size._asdict(), "notes": dict(notes or {})}
    (folder / DETAILS).write_text(json.dumps(told, indent=1) + "\n", "utf-8")


def load(folder: Path) -> Detector:
    """Raises InputError where there is no detector, or one of another format."""
    try:
        told = json.loads((folder / DETAILS).read_text("utf-8"))
        fits = told["format"] == _FORMAT
        detector = Detector(Size(**told["size"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"holds no detector of lineages: {error}", where=str(folder)) from None
    if not fits:
        hint = "train it again with this version."
        raise InputError(f"is a detector of another format, {told['format']!r}", where=str(folder), hint=hint)
    with closing(open_source(str(folder), label=folder.name)) as source:
        state = {name: read_tensor(source, name) for name in source.headers()}
    try:
        detector.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"its weights do not fit: {' '.join(str(error).split())}", where=str(folder)) from None
    return detector.eval()
