"""Tables in the form that ComfyUI-Manager publishes tell where nodes and models can be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.workflows import ModelSource, NodeSource, Tables

NODES = {
    "custom_nodes": [
        {
            "title": "Pack One", "id": "one", "reference": "https://github.com/a/one", "install_type": "git-clone",
            "files": ["https://github.com/a/one"], "preemptions": ["Shared"], "nodename_pattern": "One$",
        },
        {"title": "One File", "files": ["https://raw.example/x.py"], "reference": "https://github.com/a/x"},
        {"title": "Slow", "files": ["https://github.com/a/slow"], "nodename_pattern": "(a+)+$"},
        {"title": "Wrong", "files": ["https://github.com/a/wrong"], "nodename_pattern": "("},
        {"title": "Nowhere"}, {"files": 5}, "?",
    ]
}  # fmt: skip
MAP = {
    "https://github.com/b/two.git": [["Shared", "OnlyTwo", 5], {"title_aux": "Pack Two", "nodename_pattern": "^Two"}],
    "https://github.com/A/One/": [["OnlyOne", "Shared"], {"title_aux": "not this"}],
    "no address": [["Else"], {}],
    "https://github.com/c/odd": "odd",
}
MODELS = {
    "models": [
        {"filename": "a.pt", "url": "https://h/a", "save_path": "default", "type": "lora", "size": "4.7MB"},
        {"filename": "A.pt", "url": "https://h/b", "save_path": "checkpoints/SDXL", "type": "checkpoint"},
        {"filename": "a.pt", "url": "https://h/c", "save_path": "default", "type": "unheard of"},
        {"filename": "b.pt", "url": "https://h/d", "save_path": "../clip", "type": "clip", "sha256": "AB" * 32},
        {"filename": "c.pt", "url": "ftp://h/e", "save_path": "loras"}, {"filename": 5}, "?",
    ]
}  # fmt: skip


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    paths = []
    for number, content in enumerate((MAP, NODES, MODELS)):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps(content), encoding="utf-8-sig" if number else "utf-8")
    return Tables(paths)


ONE = NodeSource("https://github.com/a/one", "Pack One", "one")
TWO = NodeSource("https://github.com/b/two.git", "Pack Two")


@pytest.mark.parametrize(
    ("node_type", "sources"),
    [
        ("OnlyOne", [ONE]),
        ("OnlyTwo", [TWO]),
        ("Shared", [ONE, TWO]),
        ("Something One", [ONE]),
        ("TwoOne", [TWO, ONE]),
        ("Else", []),
        ("a" * 100 + "!", []),
        ("x" * 5000 + "One", []),
    ],
)
def test_who_provides_a_node_type(tables: Tables, node_type: str, sources: list[NodeSource]) -> None:
    assert list(tables.node_sources(node_type)) == sources


def test_where_a_model_is(tables: Tables) -> None:
    lora, other = ModelSource("a.pt", "https://h/a", "loras"), ModelSource("a.pt", "https://h/c")
    checkpoint = ModelSource("SDXL/A.pt", "https://h/b", "checkpoints")
    assert list(tables.model_sources("x\\a.pt", "loras")) == [lora, other]
    assert list(tables.model_sources("a.pt", "checkpoints")) == [checkpoint, other]
    assert list(tables.model_sources("a.pt", "vae")) == [other]
    assert list(tables.model_sources("A.PT", None)) == [lora, checkpoint, other]
    assert list(tables.model_sources("b.pt", "text_encoders")) == [
        ModelSource("b.pt", "https://h/d", "text_encoders", "ab" * 32)
    ]
    assert list(tables.model_sources("c.pt", None)) == []


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"a": 1}', "\xff", "[" * 100_000])
def test_what_is_no_table_is_refused(content: Any, tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(RecoveryConfigError, match=r"table\.json (is no|cannot be read as a) table of nodes or models"):
        Tables([file])


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecoveryConfigError, match="No such file"):
        Tables([tmp_path / "none.json"])
