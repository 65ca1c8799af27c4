"""Links lead from an output that is there to an input that is there and takes what comes, and never in a circle."""

from __future__ import annotations

from typing import Any

import pytest

from launcher_recovery.workflows import Severity, apply_fixes, check_workflow
from tests.unit.workflows.samples import api, codes, link, nested, node, only, subgraph, ui


def pair(given: Any = "LATENT", wanted: Any = "LATENT", **members: Any) -> dict[str, Any]:
    """An encoder linked to a decoder."""
    return ui(
        node(1, "VAEEncode", outputs=[("LATENT", given, [7])]),
        node(2, "VAEDecode", inputs=[("samples", wanted, 7)]),
        links=[[7, 1, 0, 2, 0, "LATENT"]],
        **members,
    )


def test_links_of_both_versions_are_fine() -> None:
    workflow = pair()
    assert codes(check_workflow(workflow)) == []
    workflow["links"] = [link(7, 1, 0, 2, 0, "LATENT"), None]
    assert codes(check_workflow({**workflow, "version": 1})) == []


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("*", "LATENT"), ("LATENT", "*"), ("latent", "LATENT"), ("LATENT,IMAGE", "IMAGE"), (["a", "b"], "COMBO"),
        ("STRING", ["a"]), (0, "LATENT"), ("", "LATENT"), (None, "LATENT"),
    ],
)  # fmt: skip
def test_types_that_fit(given: Any, wanted: Any) -> None:
    assert codes(check_workflow(pair(given, wanted))) == []


def test_types_that_do_not_fit() -> None:
    found = only(check_workflow(pair("CONDITIONING")))
    assert (found.code, found.severity, found.node_id) == ("link_type_mismatch", Severity.ERROR, 2)
    assert found.message == "Samples of VAEDecode (node 2) takes LATENT, but what is linked to it gives CONDITIONING."


def test_custom_nodes_may_take_more_than_they_say() -> None:
    workflow = pair("CONDITIONING")
    workflow["nodes"][1]["type"] = "SomethingElse"
    assert only(check_workflow(workflow)).severity is Severity.WARNING


def test_a_link_from_a_node_that_is_not_there() -> None:
    workflow = pair()
    del workflow["nodes"][0]
    found = only(check_workflow(workflow))
    assert (found.code, found.node_id, found.severity) == ("link_from_missing_node", 2, Severity.ERROR)
    assert "linked to the node 1, which does not exist" in found.message


def test_a_link_to_a_node_that_is_not_there_is_taken_away() -> None:
    workflow = pair()
    del workflow["nodes"][1]
    report = check_workflow(workflow)
    found = only(report)
    assert (found.code, found.severity) == ("link_to_missing_node", Severity.NOTICE)
    fixed = apply_fixes(report).workflow
    assert (fixed["links"], fixed["nodes"][0]["outputs"][0]["links"]) == ([], [])
    assert codes(check_workflow(fixed)) == []


def test_slots_that_name_links_that_are_not_there_forget_them() -> None:
    workflow = pair()
    workflow["links"] = []
    workflow["nodes"][0]["outputs"][0]["links"] = [3, 7, 4]
    report = check_workflow(workflow)
    assert codes(report) == ["dangling_link"] * 4
    assert [found.severity for found in report.problems] == [Severity.NOTICE] * 3 + [Severity.WARNING]
    fixed = apply_fixes(report).workflow
    assert fixed["nodes"][0]["outputs"][0]["links"] == []
    assert fixed["nodes"][1]["inputs"][0]["link"] is None


def test_a_link_that_counts_inputs_otherwise_is_put_right() -> None:
    for links in ([[7, 1, 0, 2, 5, "LATENT"]], [link(7, 1, 0, 2, 5, "LATENT")]):
        workflow = {**pair(), "links": links}
        report = check_workflow(workflow)
        assert only(report).code == "link_slot_moved"
        fixed = apply_fixes(report).workflow
        assert codes(check_workflow(fixed)) == []


@pytest.mark.parametrize(
    ("slots", "side"), [((0, 5), "input 5 of VAEDecode"), ((3, 0), "output 3 of VAEEncode"), ((-1, 0), "output -1")]
)
def test_a_slot_that_is_not_there(slots: tuple[int, int], side: str) -> None:
    workflow = pair()
    workflow["links"] = [[7, 1, slots[0], 2, slots[1], "LATENT"]]
    if slots[1]:
        workflow["nodes"][1]["inputs"][0]["link"] = None
    found = only(check_workflow(workflow))
    assert (found.code, found.severity) == ("link_slot", Severity.ERROR)
    assert side in found.message


@pytest.mark.parametrize("entry", [[1, 2], "x", {"id": 1}, [7, 1, "a", 2, 0, "X"], [None, 1, 0, 2, 0, "X"]])
def test_what_is_no_link(entry: Any) -> None:
    workflow = pair()
    workflow["links"].append(entry)
    found = only(check_workflow(workflow))
    assert (found.code, found.pointer) == ("malformed_link", ("links", 1))


def test_a_link_to_an_input_that_is_linked_otherwise_does_nothing() -> None:
    workflow = pair()
    workflow["links"].insert(0, [3, 1, 0, 2, 0, "CONDITIONING"])
    assert codes(check_workflow(workflow)) == []


def test_two_links_of_one_number() -> None:
    workflow = pair()
    workflow["links"] *= 2
    assert only(check_workflow(workflow)).code == "duplicate_link_id"


def test_slots_may_be_written_as_text() -> None:
    workflow = pair()
    workflow["links"] = [[7, 1, "0", "2", "0", "LATENT"]]
    assert codes(check_workflow(workflow)) == []


def test_nodes_that_depend_on_one_another() -> None:
    workflow = ui(
        *(node(n, "X", inputs=[("i", "*", (n + 1) % 3)], outputs=[("o", "*", [n])]) for n in range(3)),
        node(9, "Y"),
        links=[[n, n, 0, (n + 2) % 3, 0, "*"] for n in range(3)],
    )
    found = only(check_workflow(workflow))
    assert found.code == "cycle"
    assert sorted(found.details["nodes"].split(", ")) == ["0", "1", "2"]


def test_links_of_a_subgraph_lead_to_its_sides() -> None:
    inner = subgraph(
        "s", node(1, "VAEDecode", inputs=[("samples", "LATENT", 1)], outputs=[("IMAGE", "IMAGE", [2])]),
        links=[link(1, -10, 0, 1, 0, "LATENT"), link(2, 1, 0, -20, 0, "IMAGE")],
        inputs=[{"name": "l", "type": "LATENT"}], outputs=[{"name": "i", "type": "IMAGE"}],
    )  # fmt: skip
    assert codes(check_workflow(ui(node(1, "s"), **nested(inner)))) == []
    inner["outputs"] = [{"name": "i", "type": "MASK"}]
    inner["inputs"] = []
    report = check_workflow(ui(node(1, "s"), **nested(inner)))
    assert codes(report) == ["link_slot", "link_type_mismatch"]
    assert report.problems[0].message == "The link 1 is fastened to output 0 of the subgraph sub s, which has 0."
    assert report.problems[1].path == ("sub s",)


# -- the format that runs -----------------------------------------------------------------------------


def test_links_that_run() -> None:
    fine = api(
        n1=("CheckpointLoaderSimple", {"ckpt_name": "a"}), n2=("CLIPTextEncode", {"clip": ["1", 1], "text": ["3", 0]}),
        n3=("Custom", {"numbers": [1, 2], "pair": ["x", "y"]}),
    )  # fmt: skip
    assert codes(check_workflow(fine)) == []
    wrong = {
        **fine,
        "4": {"class_type": "VAEDecode", "inputs": {"samples": ["2", 0], "vae": ["1", 3]}},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["8", 0], "vae": ["1", 2]}},
    }
    report = check_workflow(wrong)
    assert codes(report) == ["link_type_mismatch", "link_slot", "link_from_missing_node"]
    assert [found.pointer for found in report.problems] == [
        ("4", "inputs", "samples"), ("4", "inputs", "vae"), ("5", "inputs", "samples"),
    ]  # fmt: skip


def test_a_circle_that_runs() -> None:
    found = only(check_workflow(api(n1=("A", {"x": ["2", 0]}), n2=("A", {"x": ["1", 0]}), n3=("A", {"x": ["1", 0]}))))
    assert (found.code, found.details["nodes"]) == ("cycle", "1, 2")
    assert only(check_workflow(api(n1=("A", {"x": ["1", 0]})))).code == "cycle"


def test_a_link_that_was_left_over_when_an_input_of_a_subgraph_was_taken_away() -> None:
    """As in a blueprint that ComfyUI publishes: the link counts by its slot, at which there is another input by now."""
    inner = subgraph(
        "s", node(1, "Sampler", inputs=[("seed", "INT", 1)]), node(2, "Switch", inputs=[("bypass", "BOOLEAN", 2)]),
        links=[link(1, -10, 0, 1, 0, "INT"), link(2, -10, 0, 2, 0, "BOOLEAN")],
        inputs=[{"name": "seed", "type": "INT", "linkIds": [1]}],
    )  # fmt: skip
    found = only(check_workflow(ui(node(1, "s"), **nested(inner))))
    assert (found.code, found.severity) == ("link_type_mismatch", Severity.WARNING)
    assert found.message == "Bypass of Switch (node 2) takes BOOLEAN, but what is linked to it gives INT."
