"""How a tokenizer spells text as tokens: which two tokenizers mean the same by the same token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_CHANGE_TEXT = ("NFKC", "NFKD", "StripAccents", "BertNormalizer", "Precompiled", "Nmt")
_SPACE = "\u2581"  # SentencePiece writes a space so


def model_type(content: Mapping[str, Any]) -> str:
    """BPE, WordPiece, WordLevel or Unigram; older files do not say it."""
    model = content["model"]
    if isinstance(model.get("type"), str):
        return model["type"]
    if isinstance(model.get("vocab"), list):
        return "Unigram"
    if "merges" in model:
        return "BPE"
    return "WordPiece" if "continuing_subword_prefix" in model else "WordLevel"


def spelling(content: Mapping[str, Any]) -> dict[str, object]:
    """What must be equal where tokens of one tokenizer are to be used by another, by its name in messages."""
    model = content["model"]
    return {
        "kind": model_type(content),
        "continuing_subword_prefix": model.get("continuing_subword_prefix") or "",
        "end_of_word_suffix": model.get("end_of_word_suffix") or "",
        "byte_fallback": bool(model.get("byte_fallback")),
        "ByteLevel": any(part.get("type") == "ByteLevel" for part in _parts(content)),
        f"spaces as {_SPACE}": any(_writes_space(part) for part in _parts(content)),
        "lower case": any(_lowers(part) for part in _parts(content)),
    }


def spelling_difference(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """The first respect in which two tokenizers spell differently: `kind: BPE here, Unigram there`."""
    here, there = spelling(found), spelling(wanted)
    return next((f"{key}: {here[key]!r} here, {there[key]!r} there" for key in there if here[key] != there[key]), None)


def changes_of_text(content: Mapping[str, Any]) -> list[str]:
    """What a tokenizer changes in a text before it looks for tokens, so that it does not come back as it was."""
    return sorted({str(part["type"]) for part in _flat(content.get("normalizer")) if part.get("type") in _CHANGE_TEXT})


def _parts(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for room in ("normalizer", "pre_tokenizer", "decoder"):
        yield from _flat(content.get(room))


def _flat(part: Any) -> Iterator[Mapping[str, Any]]:
    """A component and all components of a sequence."""
    if isinstance(part, dict):
        yield part
        for inner in ("normalizers", "pretokenizers", "decoders"):
            found = part.get(inner)
            for one in found if isinstance(found, list) else ():
                yield from _flat(one)


def _writes_space(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "Metaspace" or (part.get("type") == "Replace" and part.get("content") == _SPACE)


def _lowers(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "Lowercase" or (part.get("type") == "BertNormalizer" and part.get("lowercase") is True)
