"""Both formats of ComfyUI are read, with subgraphs, group nodes and nodes that are switched off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.workflows import Severity, check_workflow
from tests.unit.workflows.samples import api, codes, link, nested, node, only, subgraph, ui

UUID = "3a670214-a2de-4768-bdf7-dc627efc7de9"


def test_both_formats_tell_the_same() -> None:
    page = check_workflow(ui(node(4, "CheckpointLoaderSimple", "a.ckpt"), node(9, "Note", "see b.ckpt")))
    runs = check_workflow(api(n4=("CheckpointLoaderSimple", {"ckpt_name": "a.ckpt"})))
    for report in (page, runs):
        assert report.is_valid
        assert [(model.name, model.folder) for model in report.models] == [("a.ckpt", "checkpoints")]
    assert (page.format, page.node_types) == ("ui", ("CheckpointLoaderSimple", "Note"))
    assert (runs.format, runs.node_types) == ("api", ("CheckpointLoaderSimple",))
    assert (page.models[0].nodes, runs.models[0].nodes) == ((4,), ("4",))


@pytest.mark.parametrize("name", ["prompt", "workflow", "workflow_json"])
def test_what_is_around_a_workflow_is_left_alone(name: str) -> None:
    inner = api(n1=("A", {"x": ["2", 0]}))
    report = check_workflow({"client_id": "c", name: inner})
    assert only(report).pointer == (name, "1", "inputs", "x")


def test_a_node_may_be_called_prompt() -> None:
    assert check_workflow({"prompt": {"class_type": "A", "inputs": {}}}).node_types == ("A",)


def test_nothing_in_it_is_only_a_notice() -> None:
    for workflow in ({}, ui()):
        report = check_workflow(workflow)
        assert codes(report) == ["no_nodes"]
        assert report.is_valid


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (5, "it is a int, not an object"),
        ({"id": [1], "type": "A"}, "its id is neither a number nor text"),
        ({"id": 1}, "it has no type"),
        ({"id": True, "type": "A"}, "its id is neither a number nor text"),
    ],
)
def test_what_is_no_node_of_the_page(entry: Any, reason: str) -> None:
    found = only(check_workflow(ui(node(1, "A"), entry)))
    assert (found.code, found.pointer) == ("malformed_node", ("nodes", 1))
    assert found.message == f"There is no node at nodes[1]: {reason}."


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ([], "it is a list, not an object"),
        ({"inputs": {}}, "no class_type"),
        ({"class_type": "A", "inputs": []}, "no obj"),
    ],
)
def test_what_is_no_node_that_runs(entry: Any, reason: str) -> None:
    found = only(check_workflow({**api(n1=("A", {})), "last": entry}))
    assert (found.code, found.pointer) == ("malformed_node", ("last",))
    assert reason in found.message


def test_nodes_without_a_number_are_given_one_by_the_page() -> None:
    bare = {"type": "VAELoader", "widgets_values": ["a.pt"]}
    report = check_workflow({"nodes": [bare, bare]})
    assert (codes(report), report.models[0].nodes) == ([], ("#0", "#1"))


def test_two_nodes_of_one_number() -> None:
    found = only(check_workflow(ui(node(5, "A"), node("5", "B"), node(6, "A"))))
    assert (found.code, found.node_id, found.pointer) == ("duplicate_node_id", "5", ("nodes", 1))
    assert not check_workflow(ui(node(5, "A"), node(5, "A"))).is_valid


# -- subgraphs ----------------------------------------------------------------------------------------


def test_subgraphs_are_looked_into_wherever_they_are_defined() -> None:
    inner = subgraph("in", node(7, "MissingOne"))
    outer = subgraph("out", node(3, "in"), node(4, "MissingTwo"), **nested(inner))
    report = check_workflow(ui(node(1, "out"), **nested(outer)), node_types_known=())
    assert report.node_types == ("MissingOne", "MissingTwo")
    assert [(found.node_id, found.path) for found in report.problems] == [(4, ("sub out",)), (7, ("sub out", "sub in"))]
    assert report.problems[1].pointer == ("definitions", "subgraphs", 0, "definitions", "subgraphs", 0, "nodes", 0)


def test_a_subgraph_that_contains_itself_is_told_once() -> None:
    a, b = subgraph("a", node(1, "b")), subgraph("b", node(2, "a"), node(3, "a"))
    found = only(check_workflow(ui(node(1, "a"), **nested(a, b))))
    assert (found.code, found.message) == ("subgraph_cycle", "The subgraph sub a contains itself.")
    assert not check_workflow(ui(node(1, "c"), **nested(subgraph("c", node(1, "c"))))).is_valid


def test_subgraphs_that_are_not_there_and_such_that_are_none() -> None:
    report = check_workflow(
        ui(node(1, UUID), **nested(subgraph("x"), subgraph("x"), {"name": "no id"}, {**subgraph("y"), "nodes": 5}))
    )
    assert codes(report) == ["duplicate_subgraph", "malformed_subgraph", "malformed_subgraph", "missing_subgraph"]
    assert report.node_types == ()
    assert report.problems[3].message == f"{UUID} (node 1) is a subgraph that the workflow does not contain."


# -- group nodes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["workflow>", "workflow/"])
def test_group_nodes_are_looked_into(prefix: str, tmp_path: Path) -> None:
    inside = [{"type": "CheckpointLoaderSimple", "widgets_values": ["old.ckpt"], "index": 0}, {"type": "Missing"}]
    groups = {"groupNodes": {"g": {"nodes": inside, "links": [[0, 0, 1, 0, 1, "MODEL"]]}}}
    report = check_workflow(ui(node(1, f"{prefix}g", "a.ckpt"), extra=groups), models=tmp_path, node_types_known=())
    assert codes(report) == ["missing_node", "missing_model"]
    assert report.problems[0].path == ("g",)
    assert [(model.name, model.folder) for model in report.models] == [("a.ckpt", "checkpoints")]


def test_without_values_of_a_group_node_those_inside_count(tmp_path: Path) -> None:
    groups = {"groupNodes": {"g": {"nodes": [{"type": "VAELoader", "widgets_values": ["a.pt"]}]}}}
    found = only(check_workflow(ui(node(1, "workflow>g"), extra=groups), models=tmp_path))
    assert (found.message, found.path) == ("The model a.pt is missing in vae.", ("g",))


def test_a_group_node_that_is_not_there() -> None:
    found = only(check_workflow(ui(node(1, "workflow>g")), node_types_known=()))
    assert found.message == "The group node g is used, but the workflow does not contain it."


# -- switched off -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [2, 4])
def test_nodes_that_are_switched_off_cannot_fail(mode: int, tmp_path: Path) -> None:
    inner = subgraph("s", node(1, "Missing"), node(2, "VAELoader", "b.pt"))
    workflow = ui(
        node(1, "Gone", mode=mode), node(2, "VAELoader", "a.pt", mode=mode), node(3, "s", mode=mode), **nested(inner)
    )
    report = check_workflow(workflow, models=tmp_path, node_types_known=())
    assert report.is_valid
    assert {found.severity for found in report.problems} == {Severity.NOTICE}
    assert codes(report) == ["missing_node"] * 2 + ["missing_model"] * 2


def test_a_subgraph_runs_if_one_of_its_uses_does(tmp_path: Path) -> None:
    deep = subgraph("deep", node(1, "VAELoader", "a.pt"))
    workflow = ui(node(1, "s", mode=4), node(2, "s"), **nested(subgraph("s", node(1, "deep")), deep, subgraph("t")))
    found = only(check_workflow(workflow, models=tmp_path))
    assert (found.severity, found.path) == (Severity.ERROR, ("sub s", "sub deep"))


def test_a_subgraph_that_nobody_uses_cannot_fail(tmp_path: Path) -> None:
    workflow = ui(
        node(1, "KSampler"), **nested(subgraph("s", node(1, "VAELoader", "a.pt"), links=[link(1, 5, 0, 1, 0, "*")]))
    )
    report = check_workflow(workflow, models=tmp_path)
    assert report.is_valid


def test_a_model_of_a_node_that_runs_and_of_one_that_does_not(tmp_path: Path) -> None:
    found = only(
        check_workflow(ui(node(1, "VAELoader", "a.pt", mode=2), node(2, "VAELoader", "a.pt")), models=tmp_path)
    )
    assert (found.severity, found.node_id) == (Severity.ERROR, 2)


def test_a_report_is_json() -> None:
    report = check_workflow(ui(node(1, "VAELoader", "a.pt")), models="/nowhere", node_types_known=())
    told = json.loads(json.dumps(report.to_dict()))
    assert (told["valid"], told["format"], told["node_types"]) == (False, "ui", ["VAELoader"])
    assert told["problems"][0] == {
        "code": "missing_model", "severity": "error", "message": "The model a.pt is missing in vae.", "node_id": 1,
        "node_type": "VAELoader", "path": [], "pointer": ["nodes", 0, "widgets_values", 0], "category": "validation",
        "retry": "after_fix", "fix": "download_missing_model", "parameters": {"model": "a.pt", "folder": "vae"},
        "fixable": False, "changes": [], "model": "a.pt",
    }  # fmt: skip
    assert told["models"] == [
        {"name": "a.pt", "folder": "vae", "state": "missing", "path": None, "nodes": [1], "sources": []}
    ]
