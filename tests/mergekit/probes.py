"""Bad mergekit configs and bad inputs, each with what Ligate has to say about it.

Every probe starts from three good models in `models/`: `base`, `a` and `b` (4 layers), and `sharded` (two files).
The line that is at fault carries `# here`; the message has to give its number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tiny_llama import HIDDEN, VOCAB, Tensors, random_tensors, rewrite, write_model

EMBEDDING = "model.embed_tokens.weight"
UP = "model.layers.1.mlp.up_proj.weight"


def nothing(models: Path) -> None:
    """The models are fine, the recipe isn't."""


@dataclass(frozen=True)
class Probe:
    """`words` must all be in the message; `code` is the exit code by kind; `prepare` spoils the models.

    `headers`: the fault shows before any number is read, so `ligate check` finds it too.
    """

    name: str
    recipe: str
    code: int
    words: tuple[str, ...]
    prepare: Callable[[Path], None] = nothing
    headers: bool = True
    out: str = "out"
    files: Mapping[str, str] = field(default_factory=dict)  # other files that lie there before

    @property
    def line(self) -> int | None:
        """Number of the line marked `# here`."""
        marked = [number for number, line in enumerate(self.recipe.splitlines(), 1) if "# here" in line]
        return marked[0] if marked else None


RECIPE, INPUT, NONFINITE, STORAGE = 2, 3, 4, 5

_TWO = """\
models:
  - model: models/a
    parameters: {weight: 0.5}
  - model: models/b
    parameters: {weight: 0.5}
"""
LINEAR = _TWO + "merge_method: linear\n"
TIES = _TWO + "merge_method: ties\nbase_model: models/base\n"


def nan_in(model: str) -> Callable[[Path], None]:
    def spoil(tensors: Tensors) -> None:
        tensors[UP][3, 2] = np.nan

    return lambda models: rewrite(models / model, spoil)


def extra_tensors(models: Path) -> None:
    extra = {"model.layers.0.self_attn.q_norm.weight": np.ones(8, np.float32), "value_head": np.ones(3, np.float32)}
    rewrite(models / "b", lambda tensors: tensors.update(extra))


def wrong_shape(models: Path) -> None:
    rewrite(models / "b", lambda tensors: tensors.update({UP: tensors[UP][:-1].copy()}))


def missing_tensor(models: Path) -> None:
    rewrite(models / "b", lambda tensors: tensors.pop(UP))


def more_tokens(models: Path) -> None:
    _replace(models / "b", random_tensors(7, vocab=VOCAB + 2))


def wider(models: Path) -> None:
    _replace(models / "b", random_tensors(7, hidden=HIDDEN * 2))


def other_token_order(models: Path) -> None:
    _replace(models / "b", random_tensors(7), tokens=lambda i: f"t{VOCAB + 2 - i}")


def truncated(file: str) -> Callable[[Path], None]:
    def cut(models: Path) -> None:
        whole = (models / file).read_bytes()
        (models / file).write_bytes(whole[: len(whole) * 3 // 4])

    return cut


def missing_shard(models: Path) -> None:
    (models / "sharded" / "model-00002-of-00002.safetensors").unlink()


def hollow_header(models: Path) -> None:
    """A tensor that claims bytes beyond the file's end."""
    header = json.dumps({EMBEDDING: {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4 << 40]}}).encode()
    (models / "b" / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def _replace(folder: Path, tensors: Tensors, tokens: Callable[[int], str] = "t{}".format) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    write_model(folder, tensors, tokens=tokens)


PROBES = (
    # What mergekit takes without a word.
    Probe(
        "global parameter misspelt",
        TIES + "parameters:\n  densitty: 0.5  # here\n",
        RECIPE,
        ("densitty", "'density'"),
    ),
    Probe("lambda misspelt", TIES + "parameters:\n  lamda: 0.5  # here\n", RECIPE, ("lamda", "'lambda'")),
    Probe(
        "model parameter misspelt",
        TIES.replace(
            "models/b\n    parameters: {weight: 0.5}", "models/b\n    parameters: {weight: 0.5, densty: 0.1}  # here"
        ),
        RECIPE,
        ("densty", "'density'"),
    ),
    Probe("parameters misspelt", TIES + "paramters:  # here\n  density: 0.5\n", RECIPE, ("paramters", "'parameters'")),
    Probe("dtype misspelt", TIES + "dtpye: bfloat16  # here\n", RECIPE, ("dtpye", "'dtype'")),
    Probe(
        "parameter beside the block",
        LINEAR.replace("models/b\n    parameters: {weight: 0.5}", "models/b\n    weight: 0.5  # here"),
        RECIPE,
        ("weight", "`parameters:`"),
    ),
    Probe("parameter at the top", TIES + "density: 0.5  # here\n", RECIPE, ("density", "`parameters:`")),
    Probe(
        "filter that matches nothing",
        TIES + "parameters:\n  density:\n    - filter: self_atn  # here\n      value: 0.3\n    - value: 0.5\n",
        RECIPE,
        ("self_atn", "density"),
    ),
    Probe(
        "filter behind the catch-all",
        TIES + "parameters:\n  density:\n    - value: 0.5\n    - filter: mlp  # here\n      value: 0.3\n",
        RECIPE,
        ("mlp", "density"),
    ),
    Probe("density of 7", TIES + "parameters:\n  density: 7  # here\n", RECIPE, ("density", "[0, 1]", "7")),
    Probe("density of -1", TIES + "parameters:\n  density: -1  # here\n", RECIPE, ("density", "[0, 1]", "-1")),
    Probe("weights of 0", LINEAR.replace("0.5", "0"), RECIPE, ("weight", "sum")),
    Probe("weights of 1 and -1", LINEAR.replace("0.5", "1", 1).replace("0.5", "-1"), RECIPE, ("weight", "sum")),
    Probe("NaN in linear", LINEAR, NONFINITE, (UP, "b"), nan_in("b"), headers=False),
    Probe("NaN in ties", TIES, NONFINITE, (UP, "a"), nan_in("a"), headers=False),
    Probe("NaN in the base", TIES, NONFINITE, (UP, "base"), nan_in("base"), headers=False),
    Probe("extra tensors", LINEAR, INPUT, ("q_norm", "value_head", "b"), extra_tensors),
    Probe(
        "layer range reversed",
        """\
        merge_method: passthrough
        slices:
          - sources:
              - model: models/a
                layer_range: [6, 2]  # here
        """,
        RECIPE,
        ("layer_range", "6", "2"),
    ),
    Probe(
        "parameter of all models under one",
        """\
        merge_method: slerp
        base_model: models/a
        models:
          - model: models/a
          - model: models/b
            parameters:
              t: 0.5  # here
        parameters: {t: 0.3}
        """,
        RECIPE,
        ("`t`", "one value"),
    ),
    Probe(
        "layer range under models",
        """\
        merge_method: linear
        models:
          - model: models/a
            layer_range: [0, 2]  # here
          - model: models/b
        parameters: {weight: 0.5}
        """,
        RECIPE,
        ("layer_range", "slices"),
    ),
    Probe("key given twice", LINEAR + "dtype: float32\ndtype: bfloat16  # here\n", RECIPE, ("dtype", "second time")),
    # Vocabularies.
    Probe(
        "two policies for tokenizers",
        LINEAR + "tokenizer: {source: union}\ntokenizer_source: base  # here\n",
        RECIPE,
        ("tokenizer_source", "keep one"),
    ),
    Probe(
        "row of a token that the model lacks",
        LINEAR + "tokenizer:\n  tokens:\n    new: {source: models/a}  # here\n",
        RECIPE,
        ("'new'", "`a`"),
    ),
    Probe(
        "row beyond the last",
        LINEAR
        + "tokenizer:\n  tokens:\n    new: {source: {kind: model_token, model: models/a, token_id: 99}}  # here\n",
        RECIPE,
        ("no row 99", "has 32"),
    ),
    Probe(
        "token forced to nothing",
        LINEAR + "tokenizer:\n  tokens:\n    t4: {force: true}  # here\n",
        RECIPE,
        ("'t4'", "where its row comes from"),
    ),
    Probe(
        "source of a row misspelt",
        LINEAR + "tokenizer:\n  tokens:\n    t4:\n      source: {kind: zeros}  # here\n",
        RECIPE,
        ("zeros", "model_token"),
    ),
    Probe("other vocabulary size", LINEAR, INPUT, (EMBEDDING, "34 rows", "32", "b"), more_tokens),
    Probe("other token order", LINEAR, INPUT, ("b", "vocabulary", "number 3 is"), other_token_order),
    Probe("chat template misspelt", LINEAR + "chat_template: chatlm  # here\n", RECIPE, ("chatlm", "'chatml'")),
    # What mergekit finds late.
    Probe("wrong shape", LINEAR, INPUT, (UP, "[24, 16]", "[23, 16]", "b"), wrong_shape),
    Probe("missing tensor", LINEAR, INPUT, (UP, "b"), missing_tensor),
    Probe("other hidden size", LINEAR, INPUT, (EMBEDDING, "[32, 16]", "[32, 32]", "b"), wider),
    Probe(
        "truncated shard",
        LINEAR.replace("models/b", "models/sharded"),
        INPUT,
        ("model-00002-of-00002.safetensors",),
        truncated("sharded/model-00002-of-00002.safetensors"),
    ),
    Probe(
        "missing shard",
        LINEAR.replace("models/b", "models/sharded"),
        INPUT,
        ("model-00002-of-00002.safetensors",),
        missing_shard,
    ),
    Probe("truncated file", LINEAR, INPUT, ("models/b/model.safetensors",), truncated("b/model.safetensors")),
    Probe("absurd header", LINEAR, INPUT, ("models/b/model.safetensors",), hollow_header),
    Probe(
        "layer range beyond the model",
        """\
        merge_method: passthrough
        slices:
          - sources:
              - model: models/a
                layer_range: [0, 4]
          - sources:
              - model: models/b
                layer_range: [2, 9]  # here
        """,
        RECIPE,
        ("[2, 9)", "it has 4", "`b`"),
    ),
    Probe("dtype bf16", LINEAR + "dtype: bf16  # here\n", RECIPE, ("bf16", "'bfloat16'")),
    Probe("dtype fp8", LINEAR + "out_dtype: float8_e4m3fn  # here\n", RECIPE, ("float8_e4m3fn", "bfloat16")),
    Probe("output inside a file", LINEAR, STORAGE, ("notes.txt",), out="notes.txt/out", files={"notes.txt": "mine"}),
    Probe("output is a file", LINEAR, STORAGE, ("notes.txt",), out="notes.txt", files={"notes.txt": "mine"}),
    Probe("output in use", LINEAR, STORAGE, ("out", "--overwrite"), files={"out/config.json": "{}"}),
    # What mergekit says, but hard to read.
    Probe("no such folder", LINEAR.replace("models/b", "models/bb"), INPUT, ("models/bb", "models/b")),
    Probe("no such hub name", LINEAR.replace("models/b", "nobody/nothing"), INPUT, ("nobody/nothing",)),
    Probe(
        "word for a number",
        LINEAR.replace("0.5}\n  -", "heavy}  # here\n  -", 1),
        RECIPE,
        ("weight", "heavy", "number"),
    ),
    Probe("null for a number", LINEAR.replace("0.5}\n  -", "null}  # here\n  -", 1), RECIPE, ("weight",)),
    Probe("unknown method", _TWO + "merge_method: tiez  # here\n", RECIPE, ("tiez", "'ties'")),
    Probe("method with a dash", TIES.replace("ties", "dare-ties  # here"), RECIPE, ("dare-ties", "'dare_ties'")),
    Probe(
        "padding that would show",
        _TWO + "merge_method: multislerp\nparameters: {eps: 0.01}  # here\n",
        RECIPE,
        ("eps", "leave `eps` out"),
    ),
    Probe(
        "chances beyond 1",
        TIES.replace("ties", "della\nparameters: {density: 0.9, epsilon: 0.2}  # here"),
        RECIPE,
        ("density", "epsilon", "1.1"),
    ),
    Probe(
        "model_stock of one model",
        TIES.replace("ties", "model_stock").replace("  - model: models/b\n    parameters: {weight: 0.5}\n", ""),
        RECIPE,
        ("model_stock", "at least 2"),
    ),
    Probe(
        "a share of 2, by its name in mergekit",
        TIES.replace("ties", "sce\nparameters: {select_topk: 2}  # here"),
        RECIPE,
        ("`select_topk` must be in [0, 1]", "2"),
    ),
    Probe(
        "a step backwards, by its name in mergekit",
        "base_model: models/base\nmodels: [{model: models/a}]\nmerge_method: nearswap\nparameters: {t: -1}  # here\n",
        RECIPE,
        ("`t` must be at least 0", "-1"),
    ),
    Probe(
        "a switch by a filter that matches nothing",
        TIES.replace("ties", "model_stock\nparameters: {filter_wise: {filter: mpl, value: true}}  # here"),
        RECIPE,
        ("`filter_wise`", "`mpl`", "'mlp'"),
    ),
    Probe(
        "nuslerp of weights that cancel out",
        LINEAR.replace("linear", "nuslerp").replace("0.5", "1", 1).replace("0.5", "-1"),
        RECIPE,
        ("weights 1, -1", "sum to zero", "change a weight."),
    ),
    Probe(
        "nuslerp of three",
        _TWO + "  - {model: models/sharded, parameters: {weight: 1}}\nmerge_method: nuslerp  # here\n",
        RECIPE,
        ("nuslerp", "2 models, not 3"),
    ),
    Probe(
        "fusion with two",
        _TWO + "base_model: models/base\nmerge_method: arcee_fusion  # here\n",
        RECIPE,
        ("arcee_fusion", "1 model besides the base, not 2"),
    ),
    Probe(
        "half a round",
        _TWO + "merge_method: karcher\nparameters: {max_iter: 2.5}  # here\n",
        RECIPE,
        ("max_iter", "whole"),
    ),
    Probe("nearswap without t", TIES.replace("ties", "nearswap  # here"), RECIPE, ("nearswap", "`t`")),
    Probe(
        "missing weight",
        TIES.replace("models/b\n    parameters: {weight: 0.5}", "models/b  # here"),
        RECIPE,
        ("weight", "b"),
    ),
    Probe(
        "slerp of three",
        LINEAR.replace("linear", "slerp\nbase_model: models/base\nparameters: {t: 0.5}"),
        RECIPE,
        ("slerp",),
    ),
    Probe("ties without base", _TWO + "merge_method: ties  # here\n", RECIPE, ("ties", "base_model")),
    Probe("same model twice", LINEAR.replace("models/b", "models/a  # here"), RECIPE, ("models/a", "twice")),
    Probe("models and slices", LINEAR + "slices: []  # here\n", RECIPE, ("models", "slices")),
    Probe("no models at all", "merge_method: linear\n", RECIPE, ("models", "slices")),
    Probe("no method", _TWO, RECIPE, ("merge_method",)),
    Probe(
        "layers of unequal number",
        """\
        merge_method: linear
        slices:
          - sources:  # here
              - {model: models/a, layer_range: [0, 2]}
              - {model: models/b, layer_range: [0, 3]}
        parameters: {weight: 1}
        """,
        RECIPE,
        ("2", "3", "layers"),
    ),
    Probe("broken YAML", LINEAR + "parameters: {weight: [1, 2}  # here\n", RECIPE, ()),
    Probe("empty file", "", RECIPE, ("probe.yaml",)),
)
