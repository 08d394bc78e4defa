"""Models of the Hugging Face Hub, through huggingface_hub. Asked only for what is named as a Hub id."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ligate.core.errors import InputError

_SECONDS = 10  # to wait for an answer before the copy on this disk is looked for
_BESIDE = re.compile(r".*\.(json|txt|py|jinja|model|tiktoken|spm|bpe|vocab)|(LICEN[CS]E|NOTICE|USE_POLICY|COPYING).*")
_TENSORS = ".safetensors"
_PICKLED = (".bin", ".pt", ".pth")
_OTHERS = ("onnx", "openvino", "original", "gguf", "coreml", "tf", "flax", "runs")  # the same model for other programs
_ACCOUNT = "log in with `hf auth login` if it is private, and accept its terms on the Hub if it asks for that."


def resolve_hub(repo_id: str, revision: str | None = None) -> Path:
    """The folder of a model on this disk, fetched first if it is not there: weights, config, tokenizer, code.

    Without an answer from the Hub the copy that an earlier call left behind is taken, if there is one.
    """
    spoken = f"{repo_id}@{revision}" if revision else repo_id
    client = _client(spoken)
    try:
        names = _listed(client, repo_id, revision)
        wanted = [glob.escape(name) for name in wanted_files(names)] if names is not None else None
        return Path(
            client.snapshot_download(
                repo_id, revision=revision, allow_patterns=wanted, local_files_only=names is None, etag_timeout=_SECONDS
            )
        )
    except Exception as error:  # the client's transport, and with it its errors, differ between its versions
        raise _told(error, spoken) from None


def wanted_files(names: Sequence[str]) -> list[str]:
    """What a merge needs of a repository: pickles only where there are no safetensors, no other programs' copies."""
    names = [name for name in names if PurePosixPath(name).parts[0] not in _OTHERS]
    usual = any(name.startswith("model") and name.endswith((_TENSORS, f"{_TENSORS}.index.json")) for name in names)
    tensors = [name for name in names if name.endswith(_TENSORS) and not (usual and name.startswith("consolidated"))]
    weights = tensors or [name for name in names if name.endswith(_PICKLED)]
    return sorted({*weights, *(name for name in names if _BESIDE.fullmatch(PurePosixPath(name).name))})


def _client(spoken: str) -> Any:
    try:
        import huggingface_hub  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise InputError(
            "there is no such file or folder here, and huggingface_hub is not installed to look for it on the Hub",
            where=spoken,
            hint="check the path, or `pip install 'ligate[hub]'`.",
        ) from None
    return huggingface_hub


def _listed(client: Any, repo_id: str, revision: str | None) -> list[str] | None:
    """The names of a repository's files; None when the Hub cannot be reached, not when it says no."""
    try:
        info = client.HfApi().model_info(repo_id, revision=revision, timeout=_SECONDS)
    except Exception as error:
        if _kinds(error) & {"HfHubHTTPError", "HFValidationError"}:
            raise
        return None
    return [sibling.rfilename for sibling in info.siblings or ()]


def _told(error: Exception, spoken: str) -> InputError:
    kinds = _kinds(error)
    if "GatedRepoError" in kinds:
        return InputError("the Hub shows this model only to those whom it knows", where=spoken, hint=_ACCOUNT)
    if "RepositoryNotFoundError" in kinds:
        return InputError(
            "there is no such file or folder here, and no such model on the Hub", where=spoken, hint=_ACCOUNT
        )
    if "RevisionNotFoundError" in kinds:
        return InputError(
            "the model on the Hub has no such revision", where=spoken, hint="name a branch, tag or commit."
        )
    if "HFValidationError" in kinds:
        return InputError("is neither a path that exists nor a Hub id", where=spoken, hint="write `org/name`.")
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "IncompleteSnapshotError", "ConnectionError"}:
        return InputError(
            "there is no such file or folder here; the Hub cannot be reached and no copy was left by an earlier call",
            where=spoken,
            hint="check the path, or the network and `HF_HUB_OFFLINE`.",
        )
    lines = str(error).strip().splitlines()
    said = lines[0] if lines else type(error).__name__
    return InputError(f"cannot be fetched from the Hub: {said}", where=spoken, hint="try again later.")


def _kinds(error: Exception) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
