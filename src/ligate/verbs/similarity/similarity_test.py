from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from html.parser import HTMLParser

import pytest
import torch

from ligate.align.analysis.layer import Wish, compared
from ligate.cli.show import plain

from . import page
from .pixels import picture, png
from .result import TITLES, Analysis

VOID = {"meta", "img", "input", "br"}


class Reader(HTMLParser):
    """Tags must close in order."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _activations(seed: int, units: int = 12):
    return torch.randn(80, units, generator=torch.Generator().manual_seed(seed)).relu()


@pytest.fixture(scope="module")
def found() -> Analysis:
    dead = _activations(3)
    dead[:, 2] = 0
    layers = [
        compared("hidden.0.weight[0]", _activations(0), _activations(0)[:, torch.randperm(12)]),
        compared("hidden.1.weight[0]", _activations(1), dead),
        compared("<b>", _activations(1, 5), torch.zeros(80, 5)),
    ]
    return Analysis("first & best", "second", "80 images", layers, {"embedding": "there is none in second"})


def test_the_page_is_whole_and_fetches_nothing(found: Analysis):
    text = page(found)
    reader = Reader(text)
    assert reader.open == []
    assert "default-src 'none'" in text
    assert not re.findall(r"https?://", text)
    assert all(address.startswith("data:image/png") for address in re.findall(r'src="([^"]+)', text))


def test_it_says_the_numbers_and_what_was_left_out(found: Analysis):
    text = page(found)
    for key in TITLES:
        said = found.layers[1].indices[key]
        assert said.value is not None
        assert said.chance is not None
        assert f"{said.value:.3f}" in text
        assert f"{said.chance.mean:.3f}" in text
    assert "0 and 1 dead" in text
    assert "there is none in second" in text
    assert "&lt;b&gt;: a network has no live unit here" in text
    assert "first &amp; best" in text
    assert "In <b>2 layers</b>" in text


def test_every_comparable_layer_is_drawn(found: Analysis):
    tags = Reader(page(found)).tags
    assert tags.count("img") == 2 * 2
    assert tags.count("svg") == 1 + 2 + 2 + 2  # over layers; curves, sparse, clusters of each


@pytest.mark.parametrize("wish", [Wish(strengths=(), draws=0), Wish(draws=0)])
def test_what_was_not_calculated_is_not_shown(wish: Wish):
    layer = compared("only", _activations(0), _activations(1), wish)
    text = page(Analysis("a", "b", "80 images", [layer]))
    assert Reader(text).open == []
    assert ("One from several" in text) == bool(wish.strengths)


def test_an_analysis_without_layers_still_says_why():
    text = page(Analysis("a", "b", "80 images", [], {"0": "its width is no number"}))
    assert Reader(text).open == []
    assert "its width is no number" in text


def test_the_result_is_json(found: Analysis):
    told = json.loads(json.dumps(plain(found)))
    assert told["layers"][0]["indices"]["matched"]["value"] == pytest.approx(1.0)
    assert told["layers"][1]["b"]["dead"] == 1


def test_the_picture_says_every_correlation():
    """Read back by hand: colours and densities of the pixels 100, -50, 0 and one beyond the range."""
    data = png([[100, -50], [0, 120]])
    assert base64.b64decode(picture([[100, -50], [0, 120]]).partition(",")[2]) == data
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(body)
        chunks[body[:4]] = body[4:]
        at += 12 + size
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (2, 2)
    rows = zlib.decompress(chunks[b"IDAT"])
    assert rows == bytes([0, 200, 50, 0, 100, 200])
    densities, colours = chunks[b"tRNS"], chunks[b"PLTE"]
    assert [densities[at] for at in (200, 50, 100)] == [255, 128, 0]
    assert colours[600:603] == bytes((39, 103, 216))
    assert colours[150:153] == bytes((194, 87, 12))
