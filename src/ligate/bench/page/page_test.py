from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from ligate.bench.page import page
from ligate.bench.results import Cell, Results
from ligate.bench.suite import BITS_PER_BYTE
from ligate.bench.synthetic_test import hand, many, mechanics

VOID = {"meta", "br", "hr", "img", "input", "link"}
MADE = {
    "many": lambda: many(count=40),
    "one seed": lambda: many(seeds=1, count=40),
    "bits per byte": lambda: many(2, 40, BITS_PER_BYTE, ("en", "de")),
    "no merges": mechanics,
    "one row": lambda: hand({"average": [[1.0, 0.0]]}),
    "only failures": lambda: replace(hand({"ties": [[1.0]]}), rows=[failed(hand({"ties": [[1.0]]}))]),
}


def failed(results: Results):
    return replace(results.rows[0], cells=[Cell(0, failed="it broke")])


class Reader(HTMLParser):
    """Every tag that opens is closed in order; texts by the tag around them."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes what is not open"

    def handle_data(self, data: str):
        self.texts.append((self.open[-1] if self.open else "", data))


@pytest.mark.parametrize("name", MADE)
def test_it_is_well_formed_and_asks_nobody_for_anything(name: str):
    text = page(MADE[name]())
    read = Reader(text)
    assert not read.open
    names = {attribute for _, attribute, _ in read.attributes}
    assert not names & {"src", "href", "srcset", "xlink:href", "onclick", "action"}
    assert not re.search(r"https?:|//\w|url\(|@import|fetch\(|XMLHttp", text)
    assert "default-src 'none'" in text
    assert "nan" not in re.findall(r'(?:[xy]\d?|cx|cy|points|data-v|style)="([^"]*)"', text)


@pytest.mark.parametrize("name", MADE)
def test_no_drawing_leaves_the_numbers(name: str):
    values = re.findall(r' (?:[xy]\d?|cx|cy|r|width|height|points)="([^"]*)"', page(MADE[name]()))
    assert all(re.fullmatch(r"[-\d., ]*", value) for value in values)


def test_names_are_shown_not_obeyed():
    made = many(seeds=1, count=20, tasks=("<i>task</i>", "b"))
    odd = '<b>bold</b> & "quoted"'
    rows = [replace(row, title=odd, note="<script>alert(1)</script>", coefficient="<u>") for row in made.rows]
    text = page(replace(made, suite="<h1>", rows=rows, facts={"<dt>": "</dl>"}, digest="<em>"))
    read = Reader(text)
    assert not read.open
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    for tag in ("<b>bold", "<script>alert", "<i>task", "<u>", "<em>"):
        assert tag not in text


def test_the_best_merge_is_marked_only_when_its_lead_is_resolved():
    clear = page(hand({"average": [[0.0] * 20], "ties": [[1.0] * 19 + [0.0]]}))
    close = page(hand({"average": [[1.0, 0.0, 0.0]], "ties": [[1.0, 1.0, 0.0]]}))
    assert '<th scope="row" class="name">ties <span class="badge">best merge</span>' in clear
    assert "badge" not in close.split("</style>")[1] and "lead not resolved" in close


def test_with_bits_per_byte_the_lowest_is_shaded_deepest_and_leads():
    text = page(hand({"average": [[1.0] * 20], "ties": [[0.0] * 19 + [1.0]]}, metric=BITS_PER_BYTE))
    found = re.findall(r'<th scope="row" class="name">(.*?)</tr>', text)[:2]  # of the first table
    rows = {re.sub("<.*", "", row): row for row in found}
    assert "best merge" in rows["ties "] and "--v:0.920" in rows["ties "] and "--v:0.000" in rows["average"]
    assert "−0.950" in rows["ties "]
    assert "left is better" in text and 'class="point good"' in text
    assert "data-low" in text


def test_every_row_says_what_it_used():
    text = page(many(count=20))
    rows = re.findall(r'<th scope="row" class="name">(.*?)</th>', text)[:12]
    assert len(rows) == 12 and all('<span class="uses">uses ' in row for row in rows)
    assert "uses training data" in text


def test_a_suite_that_must_not_rank_says_so_at_the_top():
    text = page(mechanics())
    assert text.index("must not be used to rank") < text.index("<h2>")
    assert "must not be used to rank" not in page(many(seeds=1, count=20))


def test_paths_between_networks_are_drawn_for_each_architecture():
    text = page(mechanics())
    assert "mlp 32 x 3: loss between two networks" in text and "mlp 32 x 3: accuracy between two networks" in text
    assert text.count('class="line c0"') == 2 and text.count('class="seed c0"') == 4


def test_a_choice_at_the_end_of_its_range_has_a_ring():
    made = many(seeds=1, count=20)
    assert page(made).count('class="edge"') == 1
    inside = [replace(row, cells=[replace(cell, at_edge=False) for cell in row.cells]) for row in made.rows]
    assert 'class="edge"' not in page(replace(made, rows=inside))


def test_failures_are_listed_with_their_reasons():
    text = page(many(count=20))
    assert "What failed" in text and "stops &lt;here&gt;" in text
    assert "What failed" not in page(mechanics())


def test_sections_without_anything_to_say_are_left_out():
    headings = re.findall("<h2>(.*?)</h2>", page(hand({"average": [[1.0, 0.0]]})))
    assert headings == ["Scores", "What was measured on what"]


def test_a_coefficient_that_ruins_a_network_does_not_flatten_the_sweeps():
    made = many(seeds=1, count=20)
    ties = made.row("ties").cells[0]
    ruined = replace(ties, curve=[*ties.curve[:-1], ties.curve[-1]._replace(scores={"a": -100.0})])
    rows = [replace(row, cells=[ruined]) if row.id == "ties" else row for row in made.rows]
    assert "Lines leave the drawing" in page(replace(made, rows=rows))


def test_a_seed_keeps_its_colour_where_another_failed():
    text = page(many(count=20))
    dare = text[text.index('aria-label="Validation score of DARE') :]
    colours = re.findall('class="line (c[0-9])"', dare[: dare.index("</figure>")])
    assert colours == ["c0", "c2"]  # seed 1 failed


def test_the_drawing_of_conflicts_needs_conflicts():
    made = many(seeds=1, count=20)
    assert "Sign conflict" in page(made)
    assert "Sign conflict" not in page(replace(made, drawings={}))


def test_sorting_values_are_the_numbers_themselves():
    values = [1.0, 0.0, 0.0]
    text = page(hand({"average": [values]}))
    assert f'data-v="{float(torch.tensor(values).double().mean())!r}"' in text
