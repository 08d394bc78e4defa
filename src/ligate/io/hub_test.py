from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ligate.core.errors import InputError
from ligate.io.hub import resolve_hub, wanted_files


class HfHubHTTPError(OSError):
    pass


class RepositoryNotFoundError(HfHubHTTPError):
    pass


class GatedRepoError(RepositoryNotFoundError):
    pass


class RevisionNotFoundError(HfHubHTTPError):
    pass


class LocalEntryNotFoundError(OSError):
    pass


class ConnectError(Exception):
    pass


class Hub(ModuleType):
    """Stands for huggingface_hub: answers, or fails as told; remembers what it was asked."""

    def __init__(self, names=(), info=None, download=None) -> None:
        super().__init__("huggingface_hub")
        self.names, self.info, self.download = names, info, download
        self.asked: dict[str, object] = {}

    def HfApi(self):
        return self

    def model_info(self, repo_id, *, revision, timeout):
        if self.info:
            raise self.info
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in self.names])

    def snapshot_download(self, repo_id, **asked):
        self.asked = {"repo_id": repo_id, **asked}
        if self.download:
            raise self.download
        return "/cache/snapshot"


@pytest.fixture
def hub(monkeypatch):
    def install(**how) -> Hub:
        client = Hub(**how)
        monkeypatch.setitem(sys.modules, "huggingface_hub", client)
        return client

    return install


def test_a_model_is_fetched_with_what_a_merge_needs(hub):
    client = hub(names=["config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "picture.png"])
    assert resolve_hub("org/name", "v2") == Path("/cache/snapshot")
    assert client.asked["revision"] == "v2" and client.asked["local_files_only"] is False
    assert client.asked["allow_patterns"] == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["pytorch_model.bin", "LICENSE"], ["LICENSE", "pytorch_model.bin"]),
        (["model.safetensors", "consolidated.safetensors"], ["model.safetensors"]),
        (["consolidated.safetensors"], ["consolidated.safetensors"]),
        (["adapter_config.json", "adapter_model.safetensors"], ["adapter_config.json", "adapter_model.safetensors"]),
        (["unet/model.safetensors", "original/consolidated.00.pth"], ["unet/model.safetensors"]),
        (["tokenizer.model", "modeling_x.py", "README.md"], ["modeling_x.py", "tokenizer.model"]),
    ],
)
def test_weights_are_chosen_by_format(names, expected):
    assert wanted_files(names) == expected


@pytest.mark.parametrize("silence", [ConnectError(), TimeoutError(), OSError("no route")])
def test_without_an_answer_an_earlier_copy_is_taken(hub, silence):
    client = hub(info=silence)
    assert resolve_hub("org/name") == Path("/cache/snapshot")
    assert client.asked["local_files_only"] is True and client.asked["allow_patterns"] is None


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"info": RepositoryNotFoundError()}, "no such model on the Hub"),
        ({"info": GatedRepoError()}, "shows this model only"),
        ({"info": RevisionNotFoundError()}, "no such revision"),
        ({"info": ConnectError(), "download": LocalEntryNotFoundError()}, "cannot be reached and no copy"),
        ({"download": HfHubHTTPError("503 busy\nrequest id 7")}, "cannot be fetched from the Hub: 503 busy$"),
        ({"download": RuntimeError()}, "RuntimeError"),
    ],
)
def test_every_refusal_is_one_message_that_names_the_model(hub, how, words):
    hub(**how)
    with pytest.raises(InputError, match=rf"(?sm)org/name@main: .*{words}"):
        resolve_hub("org/name", "main")


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"no such file or folder here(?s:.*)pip install 'ligate\[hub\]'"):
        resolve_hub("org/name")


def test_the_real_client_in_offline_mode_gives_the_same_message(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="the Hub cannot be reached and no copy"):
        resolve_hub("ligate-tests/no-such-model")
