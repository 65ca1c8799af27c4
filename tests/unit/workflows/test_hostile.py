"""What would take all memory or time is refused in a sentence, or looked at only as far as it is allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher_recovery.workflows import Limits, apply_fixes, check_workflow
from tests.unit.workflows.samples import api, codes, nested, node, only, subgraph, ui

SMALL = Limits(text_bytes=20_000, depth=20, values=2_000, nodes=50, links=50, problems=10, names=10)


def alike(value: Any, times: int) -> Any:
    for _ in range(times):
        value = [value, value]
    return value


def itself() -> dict[str, Any]:
    nodes: list[Any] = []
    nodes.append(nodes)
    return {"nodes": nodes}


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("[" * 2_000_000, "too_deep", "more than 100 levels"),
        ('{"a":' * 200_000, "too_deep", "more than 100 levels"),
        ('{"a":["\\"[\\\\",' + "[" * 101 + "]" * 101 + "]}", "too_deep", "more than 100 levels"),
        (itself(), "too_deep", "more than 100 levels"),
        ({"nodes": [["x" * 1_000_000] * 40]}, "too_large", "characters"),
        (" " * 34_000_000, "too_large", "33554432 characters"),
        (b" " * 34_000_000, "too_large", "33554432 bytes"),
        ({str(number): {"class_type": "A", "inputs": {}} for number in range(50_001)}, "too_large", "50000 nodes"),
        ('{"nodes": [' + "9" * 1_000_000 + "]}", "bad_json", "a number is too long"),
    ],
    ids=range(9),
)
def test_it_is_refused(source: Any, code: str, words: str) -> None:
    found = only(check_workflow(source))
    assert found.code == code
    assert words in found.message
    assert len(found.message) < 300


def test_what_is_in_it_many_times_counts_each_time() -> None:
    found = only(check_workflow({"nodes": alike(0, 60)}, limits=Limits(values=5_000)))
    assert found.message == "It is too large to be a workflow: it has more than 5000 values."


def test_brackets_in_texts_are_no_levels() -> None:
    workflow = ui(node(1, "CLIPTextEncode", "[" * 500 + '"' + "{" * 500 + "\\"))
    assert check_workflow(json.dumps(workflow)).is_valid


@pytest.mark.parametrize(
    ("workflow", "what"),
    [
        (ui(*(node(number, "KSampler") for number in range(51))), "50 nodes"),
        (ui(**nested(*(subgraph(str(n), node(1, "A")) for n in range(51)))), "50 nodes"),
        (ui(node(1, "A"), links=[[number, 1, 0, 1, 0, "*"] for number in range(51)]), "50 links"),
        (api(n1=("A", {f"i{number}": ["1", 0] for number in range(51)})), "50 links"),
        (ui(node(1, "A", *[0] * 2_000)), "2000 values"),
    ],
)
def test_there_is_a_limit_for_each(workflow: Any, what: str) -> None:
    report = check_workflow(workflow, limits=SMALL)
    assert codes(report)[-1] == "too_large"
    assert what in report.problems[-1].message


def test_only_so_many_problems_are_listed() -> None:
    report = check_workflow(ui(*(node(1, "A", id=[number]) for number in range(30))), limits=SMALL)
    assert codes(report) == ["malformed_node"] * 10 + ["more_problems"]
    assert report.problems[-1].message == "There are more problems than the 10 that are listed."


def test_only_so_many_names_are_looked_for(tmp_path: Any) -> None:
    names = [f"{number}.pt" for number in range(30)]
    report = check_workflow(ui(node(1, "KSampler", *names)), models=tmp_path, limits=SMALL)
    assert len(report.models) == 10
    assert report.problems[0].message.endswith("more than 10 names of models.")


def test_a_long_chain_of_subgraphs_is_walked() -> None:
    chain = [subgraph(f"s{number}", node(1, f"s{number + 1}")) for number in range(3_000)]
    report = check_workflow(ui(node(1, "s0"), **nested(*chain, subgraph("s3000", node(7, "KSampler")))))
    assert codes(report) == []
    assert report.node_types == ("KSampler",)


def test_many_uses_of_subgraphs_in_one_another_are_looked_at_once() -> None:
    layers = [subgraph(f"s{n}", *(node(k, f"s{n + 1}") for k in range(20))) for n in range(30)]
    report = check_workflow(ui(node(1, "s0"), **nested(*layers, subgraph("s30", node(1, "VAELoader", "a.pt")))))
    assert [model.name for model in report.models] == ["a.pt"]


@pytest.mark.parametrize("value", [None, 1, -1, 1e300, True, "x", [], {}, [[]], {"a": [{}]}], ids=repr)
@pytest.mark.parametrize(
    "place",
    [
        ("id",), ("type",), ("mode",), ("inputs",), ("inputs", 0), ("inputs", 0, "name"), ("inputs", 0, "link"),
        ("inputs", 0, "type"), ("inputs", 0, "widget"), ("inputs", 0, "widget", "name"), ("outputs",),
        ("outputs", 0, "links"), ("outputs", 0, "links", 0), ("outputs", 0, "type"), ("properties",),
        ("properties", "models"), ("properties", "models", 0), ("properties", "models", 0, "hash"),
        ("properties", "models", 0, "name"), ("properties", "models", 0, "directory"), ("properties", "cnr_id"),
        ("properties", "aux_id"), ("properties", "ver"), ("properties", "proxyWidgets"),
        ("properties", "proxyWidgets", 0), ("widgets_values",), ("widgets_values", 0),
    ],
)  # fmt: skip
def test_anything_may_be_anywhere_in_a_node(place: tuple[Any, ...], value: Any, tmp_path: Any) -> None:
    """Whatever a node holds, a report comes out that JSON can hold."""
    for kind in ("LoraLoader", "PrimitiveNode", "sub", "workflow>g"):
        model = {"name": "a.pt", "url": "https://h/a", "hash": "0" * 64, "hash_type": "SHA256", "directory": "loras"}
        tried = node(1, kind, "a.pt", 1, inputs=[("lora_name", "COMBO", 1)], outputs=[("o", "*", [1])])
        tried["inputs"][0]["widget"] = {"name": "lora_name"}
        tried["properties"] = {
            "models": [model],
            "cnr_id": "x",
            "aux_id": "a/b",
            "proxyWidgets": [["1", "lora_name"], []],
        }
        holder: Any = tried
        for part in place[:-1]:
            holder = holder[part]
        holder[place[-1]] = value
        groups = {"groupNodes": {"g": {"nodes": [{"type": "LoraLoader"}]}}}
        inside = subgraph("sub", tried, inputs=[{"name": "a"}], links=[[1, -10, 0, 1, 0, "*"]])
        workflow = ui(tried, node(2, "A"), links=[[1, 1, 0, 1, 0, "*"]], extra=groups, **nested(inside))
        report = check_workflow(workflow, models=tmp_path, nodes=tmp_path)
        json.dumps(report.to_dict())
        apply_fixes(report)


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, [[]], [None], [{}], [[1, 2]], {"a": 1}], ids=repr)
@pytest.mark.parametrize(
    "place",
    [
        ("nodes", 0), ("links",), ("links", 0), ("links", 0, 1), ("links", 0, 4), ("links", 0, 5), ("extra",),
        ("extra", "groupNodes"), ("extra", "groupNodes", "g"), ("extra", "groupNodes", "g", "nodes"),
        ("definitions",), ("definitions", "subgraphs"), ("definitions", "subgraphs", 0),
        ("definitions", "subgraphs", 0, "id"), ("definitions", "subgraphs", 0, "name"),
        ("definitions", "subgraphs", 0, "nodes"), ("definitions", "subgraphs", 0, "inputs"),
        ("definitions", "subgraphs", 0, "inputNode"), ("definitions", "subgraphs", 0, "definitions"), ("models",),
        ("version",),
    ],
)  # fmt: skip
def test_anything_may_be_anywhere_in_a_workflow(place: tuple[Any, ...], value: Any, tmp_path: Any) -> None:
    workflow = ui(
        node(1, "sub", "a.pt"), node(2, "workflow>g", "b.pt"), links=[[1, 1, 0, 2, 0, "*"]],
        extra={"groupNodes": {"g": {"nodes": [{"type": "VAELoader"}]}}}, models=[],
        **nested(subgraph("sub", node(1, "VAELoader", "a.pt"))),
    )  # fmt: skip
    holder: Any = workflow
    for part in place[:-1]:
        holder = holder[part]
    holder[place[-1]] = value
    report = check_workflow(workflow, models=tmp_path, nodes=tmp_path)
    json.dumps(report.to_dict())
    if report.workflow is not None:
        apply_fixes(report)
