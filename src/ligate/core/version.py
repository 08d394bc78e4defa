"""The one place where the version stands; the package, its metadata and every record read it from here."""

from __future__ import annotations

__version__ = "0.1.0"
