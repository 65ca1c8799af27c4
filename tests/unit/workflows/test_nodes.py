"""Node types that are not installed are told with who provides them; what is installed is read, never run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from launcher_recovery.workflows import Limits, NodeSource, Report, Severity, check_workflow
from launcher_recovery.workflows.builtin_types import BUILT_IN
from launcher_recovery.workflows.source_code import declared_in_page, declared_in_python
from launcher_recovery.workflows.sources import Nobody
from tests.unit.workflows.samples import codes, node, only, put, ui


class Known(Nobody):
    """Knows one repository for everything."""

    def __init__(self, *sources: NodeSource) -> None:
        self.sources = sources

    def node_sources(self, node_type: str) -> Sequence[NodeSource]:
        return self.sources


def checked(folder: Path, *types: str, sources: Sequence[NodeSource] = (), **properties: object) -> Report:
    nodes = [node(number, kind, properties=properties) for number, kind in enumerate(types)]
    return check_workflow(ui(*nodes), nodes=folder, lookups=Known(*sources))


def test_what_is_installed(tmp_path: Path) -> None:
    put(tmp_path, "pack/__init__.py", content=b"from .more import *\nraise SystemExit('never run')")
    put(tmp_path, "pack/deep/more.py", content=b'NODE_CLASS_MAPPINGS = {"One": object, "Two": object}')
    put(tmp_path, "pack/js/page.js", content=b'app.x(); LiteGraph.registerNodeType("OnPage", X)')
    put(tmp_path, "single.py", content=b'NODE_CLASS_MAPPINGS: dict = {"Three": 1}')
    put(tmp_path, "off.disabled/__init__.py", content=b'NODE_CLASS_MAPPINGS = {"Off": 1}')
    put(
        tmp_path,
        ".git/x.py",
        "__pycache__/x.py",
        "pack/tests/x.py",
        "notes.txt",
        content=b'NODE_CLASS_MAPPINGS = {"Off": 1}',
    )
    report = checked(tmp_path, "One", "Two", "Three", "OnPage", "KSampler", "Note", "Off")
    assert [missing.node_type for missing in report.missing_nodes] == ["Off"]


def test_a_missing_type_is_told_once_for_all_nodes(tmp_path: Path) -> None:
    source = NodeSource("https://github.com/a/pack", "The Pack", "pack")
    report = checked(tmp_path, "One", "One", sources=[source, NodeSource("https://github.com/b/other")])
    found = only(report)
    assert (found.code, found.severity, found.verdict.fix) == ("missing_node", Severity.ERROR, "install_missing_nodes")
    assert found.message == "The node type One is not installed; The Pack provides it."
    assert found.fix is not None
    assert found.fix.parameters == {
        "node_type": "One", "url": "https://github.com/a/pack", "title": "The Pack", "id": "pack",
        "other_urls": ["https://github.com/b/other"],
    }  # fmt: skip
    assert report.missing_nodes[0].nodes == (0, 1)
    assert report.to_dict()["missing_nodes"][0]["sources"][1] == {"url": "https://github.com/b/other"}


def test_nobody_knows_it(tmp_path: Path) -> None:
    assert only(checked(tmp_path, "One")).message == "The node type One is not installed."


def test_without_a_folder_types_are_only_listed() -> None:
    report = check_workflow(ui(node(1, "One")))
    assert (codes(report), report.node_types) == ([], ("One",))


def test_types_that_a_running_comfyui_has() -> None:
    assert codes(check_workflow(ui(node(1, "One")), node_types_known=["One"])) == []


def test_the_workflow_itself_tells_the_repository_and_the_commit(tmp_path: Path) -> None:
    report = checked(
        tmp_path, "One", aux_id="someone/pack", ver="0123abcd" * 5, sources=[NodeSource("https://h/other")]
    )
    assert report.missing_nodes[0].sources == (
        NodeSource("https://github.com/someone/pack", "someone/pack", ref="0123abcd" * 5),
        NodeSource("https://h/other"),
    )


def test_of_several_repositories_that_with_the_id_of_the_node_is_first(tmp_path: Path) -> None:
    other, right = NodeSource("https://h/other"), NodeSource("https://h/right", id="right")
    assert checked(tmp_path, "One", cnr_id="right", sources=[other, right]).missing_nodes[0].sources == (right, other)
    (source,) = checked(tmp_path, "One", cnr_id="right").missing_nodes[0].sources
    assert (source.url, source.id) == ("", "right")


@pytest.mark.parametrize("repository", ["a", "a/b/c", "../b", "a/b?x", "-a/b", "a/b c"])
def test_what_is_no_repository_is_not_one(repository: str, tmp_path: Path) -> None:
    assert checked(tmp_path, "One", aux_id=repository).missing_nodes[0].sources == ()


# -- what only running it would tell ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("renamed/.git/config", b'[remote "origin"]\n\turl = git@github.com:A/Pack_One.git\n'),
        ("renamed/.git/config", b'[remote "origin"]\n\turl = https://token@github.com/a/pack-one\n'),
        ("renamed/pyproject.toml", b'[project]\nname = "pack_one_id"\n'),
        ("pack-one/readme.txt", b""),
    ],
)
def test_a_package_that_is_there_provides_its_nodes(place: str, content: bytes, tmp_path: Path) -> None:
    put(tmp_path, place, content=content)
    source = NodeSource("https://github.com/a/pack_one", id="pack-one-id")
    assert codes(checked(tmp_path, "Dynamic", sources=[source])) == []
    assert codes(checked(tmp_path, "Dynamic", sources=[NodeSource("https://github.com/b/two")])) == ["missing_node"]


def test_a_package_that_may_provide_it_makes_it_a_warning(tmp_path: Path) -> None:
    put(tmp_path, "dynamic/__init__.py", content=b"NODE_CLASS_MAPPINGS = build()")
    found = only(checked(tmp_path, "One"))
    assert found.severity is Severity.WARNING
    assert found.message.endswith("unless dynamic provides it, which cannot be seen without running it.")


@pytest.mark.parametrize(
    ("source", "types", "is_opaque"),
    [
        ("NODE_CLASS_MAPPINGS = {'A': 1, **OTHER_NODE_MAPPINGS}", {"A"}, False),
        ("NODE_CLASS_MAPPINGS = {'A': 1, **other}", {"A"}, True),
        ("NODE_CLASS_MAPPINGS = {A.NAME: A, 'B': B}", {"B"}, True),
        ("NODE_CLASS_MAPPINGS = {}\nNODE_CLASS_MAPPINGS['A'] = 1", {"A"}, False),
        ("NODE_CLASS_MAPPINGS = {}\nNODE_CLASS_MAPPINGS.update({'A': 1})", {"A"}, False),
        ("NODE_CLASS_MAPPINGS |= {'A': 1} | {'B': 1}", {"A", "B"}, False),
        ("NODE_CLASS_MAPPINGS.update(found())", set(), True),
        ("NODE_CLASS_MAPPINGS = {k: v for k, v in x}", set(), True),
        ("NODE_DISPLAY_NAME_MAPPINGS = {'A': 'The A'}", {"A"}, False),
        ("io.Schema(node_id='A', display_name='B')", {"A"}, False),
        ("OTHER = {'A': 1}  # MAPPINGS", set(), False),
        ("NODE_CLASS_MAPPINGS = {'A'", set(), True),
        ("x = 1", set(), False),
        ("NODE_CLASS_MAPPINGS = " + "(" * 5000, set(), True),
        ("NODE_CLASS_MAPPINGS = " + " | ".join(["{'A': A}"] * 1500), {"A"}, False),
        ("NODE_CLASS_MAPPINGS = {'A': 1} - {'B': 2}", set(), True),
    ],
)
def test_what_source_declares(source: str, types: set[str], is_opaque: bool) -> None:
    found = declared_in_python(source.encode())
    assert (found.types, found.is_opaque) == (types, is_opaque)


def test_what_a_page_declares() -> None:
    assert declared_in_page(b"registerNodeType('A', A); x.registerNodeType(`B`); registerNodeType(C)") == {"A", "B"}


def test_only_so_many_files_are_read(tmp_path: Path) -> None:
    put(tmp_path, "a/1.py", "a/2.py", content=b'NODE_CLASS_MAPPINGS = {"A": 1}')
    put(tmp_path, "a/3.py", content=b'NODE_CLASS_MAPPINGS = {"B": 1}')
    report = check_workflow(ui(node(1, "A"), node(2, "B")), nodes=tmp_path, limits=Limits(source_files=2))
    assert [missing.node_type for missing in report.missing_nodes] == ["B"]


# -- ComfyUI itself -----------------------------------------------------------------------------------


def test_the_comfyui_around_the_folder_is_looked_at(tmp_path: Path) -> None:
    put(tmp_path, "nodes.py", content=b'NODE_CLASS_MAPPINGS = {"KSampler": 1, "Newest": 1}')
    put(tmp_path, "comfy_extras/nodes_x.py", content=b'io.Schema(node_id="Extra")')
    put(tmp_path, "custom_nodes/readme.txt")
    assert codes(checked(tmp_path / "custom_nodes", "Newest", "Extra")) == []
    found = only(checked(tmp_path / "custom_nodes", "Newer", cnr_id="comfy-core"))
    assert (found.code, found.verdict.fix) == ("outdated_comfyui", "update_comfyui")


def test_where_there_is_no_comfyui_its_own_nodes_are_believed_in(tmp_path: Path) -> None:
    assert codes(checked(tmp_path, "Newer", cnr_id="comfy-core")) == []


def test_what_is_around_the_folder_need_not_be_comfyui(tmp_path: Path) -> None:
    put(tmp_path, "nodes.py", content=b'NODE_CLASS_MAPPINGS = {"Other": 1}')
    put(tmp_path, "custom_nodes/readme.txt")
    assert codes(checked(tmp_path / "custom_nodes", "Other", "Newer", cnr_id="comfy-core")) == []
    assert codes(checked(tmp_path / "custom_nodes", "Other")) == ["missing_node"]


def test_the_types_that_come_along() -> None:
    assert {"KSampler", "Reroute", "LoraLoaderModelOnly", "VAEDecodeTiled", "ConditioningAverage "} <= BUILT_IN
    assert len(BUILT_IN) > 300
