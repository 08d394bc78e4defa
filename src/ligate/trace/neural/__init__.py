"""Descent as networks show it by what they compute on a few inputs: Neural Lineage, arXiv 2406.11129."""
