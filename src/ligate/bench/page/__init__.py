"""A result as one HTML file that needs nothing else: for screens, light or dark, and for paper."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from ligate.bench.page import sections
from ligate.bench.results import Results
from ligate.bench.summary import summarise

FILE = "report.html"
# The page says itself that it may fetch nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(results: Results) -> str:
    """The whole document."""
    told = summarise(results)
    body = "\n".join(part for section in sections.ALL for part in section(told))
    style, script = (files("ligate.bench.page").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Ligate bench: {escape(results.suite)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )
