from __future__ import annotations

import os

import pytest

from .parents import Licence, parent


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# x", Licence(("apache-2.0",))),
        ("---\r\nlicense: mit\r\n---\r\n", Licence(("mit",))),
        (
            "---\nlicense: other\nlicense_name: my-licence\nlicense_link: LICENSE.md\n---\n",
            Licence(("other",), "my-licence", "LICENSE.md"),
        ),
        ("---\nlicense: [mit, apache-2.0]\n---\n", Licence(("mit", "apache-2.0"))),
        ("---\nlicense: mit\nlicense_link: 'javascript:alert(1) \"'\n---\n", Licence(("mit",))),
        ("---\nlicense: [mit, {a: b}]\n---\n", None),
        ("---\nlicense: []\n---\n", None),
        ("---\nlicense: 2024-13-45\n---\n", None),
        ('---\nlicense: "mit\\n---\\n# x"\n---\n', None),
        (f"---\nlicense: {'x' * 1000}\n---\n", None),
        ("---\nlicense: [a\n---\n", None),
        ("---\n- a\n---\n", None),
        ("license: mit", None),
        ("---\nlicense: mit\nx: [!!bool maybe, !!int '', !!timestamp soon]\n---\n", Licence(("mit",))),
        ("---\nlicense: !!bool maybe\n---\n", None),
        ("---\n? [a]\n: b\nlicense: mit\n---\n", Licence(("mit",))),
        ("---\nlicense: &all [mit, *all]\n---\n", None),
        ("---\nnever closed", None),
        ("", None),
    ],
)
def test_the_licence_stands_in_the_parents_card(tmp_path, text, licence):
    (tmp_path / "README.md").write_bytes(text.encode())
    assert parent("a", None, tmp_path).licence == licence


def test_keys_that_are_merged_again_and_again_do_not_fill_the_memory(tmp_path):
    lines = [f"k{n}: &k{n} {{<<: [{', '.join([f'*k{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    text = "\n".join(("---", "k0: &k0 {a: b}", *lines, "license: mit", "---", ""))
    (tmp_path / "README.md").write_text(text)
    assert parent("a", None, tmp_path).licence == Licence(("mit",))


def test_a_parent_without_a_card_has_no_licence(tmp_path):
    assert parent("a", None, tmp_path).licence is None
    assert parent("a", None, None).licence is None


def test_a_card_that_is_no_text_says_nothing(tmp_path):
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert parent("a", None, tmp_path).licence is None
    (tmp_path / "README.md").unlink()
    os.mkfifo(tmp_path / "README.md")
    assert parent("a", None, tmp_path).licence is None


@pytest.mark.parametrize(
    ("files", "library"),
    [
        (["config.json"], "transformers"),
        (["config.json", "modules.json"], "sentence-transformers"),
        (["model_index.json"], "diffusers"),
        (["adapter_config.json"], "peft"),
        ([], None),
    ],
)
def test_the_library_is_told_by_the_card_or_by_the_files(tmp_path, files, library):
    for name in files:
        (tmp_path / name).write_text("{}")
    assert parent("a", None, tmp_path).library == library
    (tmp_path / "README.md").write_text("---\nlibrary_name: open_clip\npipeline_tag: feature-extraction\n---\n")
    assert parent("a", None, tmp_path)[3:5] == ("open_clip", "feature-extraction")
