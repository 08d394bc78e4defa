"""Configs of the shapes that mergekit's own examples have, over the four models of the grid.

After `examples/` of its repository: arcee_fusion, bio-merge, gradient-slerp, linear, orcamini-platy-44layer, ties, and
mega, which older versions have; and after the three merges of its documentation of several stages, with other numbers.
"""

from __future__ import annotations

from textwrap import dedent
from typing import NamedTuple


class Example(NamedTuple):
    name: str
    text: str
    dtype: str
    layers: int = 4
    random: bool = False  # mergekit draws other numbers


def _example(name: str, text: str, dtype: str, **more: int) -> Example:
    return Example(name, dedent(text), dtype, **more)


EXAMPLES = (
    _example(
        "fusion",
        """
        models:
          - model: models/a
          - model: models/b
        merge_method: arcee_fusion
        base_model: models/a
        """,
        "bfloat16",
    ),
    _example(
        "ties of two specialists",
        """
        models:
          - model: models/a
            parameters:
              density: 0.4
              weight: 0.6
          - model: models/b
            parameters:
              density: 0.4
              weight: 0.6
        merge_method: ties
        base_model: models/base
        parameters:
          normalize: false
          int8_mask: true
        """,
        "float16",
    ),
    _example(
        "slerp over the layers",
        """
        slices:
          - sources:
              - model: models/a
                layer_range: [0, 4]
              - model: models/b
                layer_range: [0, 4]
        # or: models: [{model: models/a}, {model: models/b}]
        merge_method: slerp
        base_model: models/a
        parameters:
          t:
            - filter: self_attn
              value: [0, 0.4, 0.2, 0.8, 1]
            - filter: mlp
              value: [1, 0.6, 0.8, 0.2, 0]
            - value: 0.5 # for everything else
        """,
        "float16",
    ),
    _example(
        "soup",
        """
        models:
          - model: models/a
            parameters:
              weight: 1.0
          - model: models/b
            parameters:
              weight: 0.2
          - model: models/c
            parameters:
              weight: 0.6
        merge_method: linear
        """,
        "float16",
    ),
    _example(
        "stack of layers",
        """
        slices:
          - sources:
            - model: models/a
              layer_range: [0, 3]
          - sources:
            - model: models/b
              layer_range: [1, 4]
        merge_method: passthrough
        """,
        "float16",
        layers=6,
    ),
    _example(
        "ties over the layers",
        """
        models:
          - model: models/a
            parameters:
              density: [1, 0.6, 0.2] # over the layers
              weight: 1.0
          - model: models/b
            parameters:
              density: 0.45
              weight: [0, 0.2, 0.6, 1]
          - model: models/c
            parameters:
              density: 0.3
              weight:
                - filter: mlp
                  value: 0.4
                - value: 0
        merge_method: ties
        base_model: models/base
        parameters:
          normalize: true
          int8_mask: true
        """,
        "float16",
    ),
    _example(
        "merge of a merge",
        """
        slices:
          - sources:
              - model: models/a
                layer_range: [0, 4]
              - model: models/b
                layer_range: [0, 4]
        merge_method: slerp
        base_model: models/a
        parameters:
          t:
            - filter: self_attn
              value: [0, 0.4, 0.2, 0.8, 1]
            - value: 0.5
        name: halfway
        ---
        models:
          - model: halfway
            parameters:
              density: [1, 0.6, 0.2]
              weight: 1.0
          - model: models/c
            parameters:
              density: 0.3
              weight:
                - filter: mlp
                  value: 0.4
                - value: 0
        merge_method: ties
        base_model: models/base
        parameters:
          normalize: true
          int8_mask: true
        name: whole
        """,
        "float16",
    ),
    _example(
        "three stages",
        """
        name: first
        merge_method: linear
        models:
          - model: models/base
          - model: models/a
        parameters:
          weight: 0.4
        ---
        name: second
        merge_method: slerp
        base_model: first
        models:
          - model: models/b
        parameters:
          t: 0.6
        ---
        merge_method: dare_ties
        base_model: models/base
        models:
          - model: second
            parameters:
              density: 0.7
              weight: 0.4
          - model: models/c
            parameters:
              density: 0.9
              weight: 0.6
        """,
        "bfloat16",
        random=True,
    ),
)
