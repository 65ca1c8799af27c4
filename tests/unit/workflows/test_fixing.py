"""Fixes are applied to a copy, which is the same everywhere else."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from launcher_recovery.workflows import Problem, apply_fixes, check_workflow
from tests.unit.workflows.samples import codes, node, put, ui

ODD = """{"z": 1.0, "nodes": [{"type": "VAELoader", "id": 3, "zeta": [1e3, 0.1, -0.0, "\\u00e9\\ud800"], "alpha": {},
 "widgets_values": ["x\\\\a.pt", NaN, true, null, 12345678901234567890]}], "links": [], "a": {"z": 1, "b": [[], {}]}}"""


def test_only_what_is_mended_changes(tmp_path: Path) -> None:
    """Keys keep their order, and everything else its text."""
    put(tmp_path, "vae/x/a.pt")
    before = json.loads(ODD)
    given = copy.deepcopy(before)
    report = check_workflow(given, models=tmp_path, windows=False)
    fixed = apply_fixes(report)
    assert json.dumps(given) == json.dumps(before)
    expected = json.dumps(before).replace('"x\\\\a.pt"', '"x/a.pt"').replace("NaN", "null")
    assert json.dumps(fixed.workflow) == expected
    assert [found.code for found in fixed.applied] == ["not_a_number", "model_path_style"]
    assert fixed.skipped == ()


def test_the_copy_shares_nothing() -> None:
    given = ui(node(1, "KSampler", [1], {"a": [2]}))
    fixed = apply_fixes(check_workflow(given)).workflow
    assert fixed == given
    fixed["nodes"][0]["widgets_values"][1]["a"].append(3)
    assert given["nodes"][0]["widgets_values"] == [[1], {"a": [2]}]


def test_what_is_applied_can_be_chosen(tmp_path: Path) -> None:
    put(tmp_path, "vae/x/a.pt")
    report = check_workflow(ODD, models=tmp_path, windows=False)

    def is_about_numbers(problem: Problem) -> bool:
        return problem.code == "not_a_number"

    fixed = apply_fixes(report, is_about_numbers).workflow
    assert fixed["nodes"][0]["widgets_values"][:2] == ["x\\a.pt", None]


def test_what_has_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path, "vae/x/a.pt")
    report = check_workflow(ODD, models=tmp_path, windows=False)
    for change in ({"nodes": []}, {"nodes": [{"widgets_values": ["other", 0]}]}, {"nodes": 5}, []):
        fixed = apply_fixes(report, workflow=change)
        assert fixed.workflow == change
        assert [found.code for found in fixed.skipped] == ["not_a_number", "model_path_style"]


def test_taking_away_does_not_shift_what_else_is_changed() -> None:
    nodes = [node(1, "A", float("nan"), outputs=[("o", "*", [4, 5, 6])])]
    report = check_workflow(ui(*nodes, links=[[n, 1, 0, 9, 0, "*"] for n in (4, 5, 6)]))
    fixed = apply_fixes(report).workflow
    assert (fixed["links"], fixed["nodes"][0]["outputs"][0]["links"]) == ([], [])
    assert fixed["nodes"][0]["widgets_values"] == [None]
    assert codes(check_workflow(fixed)) == []


def test_what_could_not_be_read_cannot_be_mended() -> None:
    with pytest.raises(ValueError, match="there is no workflow to mend"):
        apply_fixes(check_workflow("{"))
