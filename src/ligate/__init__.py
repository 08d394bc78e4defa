"""Ligate: many trained models in, one model out."""

__version__ = "0.1.0"
