"""What a check found wrong with a workflow is mended on request: seen before, undone after, and the workflow given."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.fixes import FixConflictError, FixRefusedError
from launcher_recovery.fixes.actions import from_json, to_json
from launcher_recovery.fixes.effects import amended
from launcher_recovery.persistence import SQLitePersistence
from sample_launcher import workflows
from sample_launcher.hookspecs import hookimpl
from tests.support import Host
from tests.unit.fixes.failed import Failed
from tests.unit.workflows.samples import node, put, ui


class Own:
    """The sample launcher's own check."""

    @hookimpl(trylast=True)
    def launcher_validate_workflow(self, workflow: Any, models_folder: str, nodes_folder: str) -> Any:
        return workflows.validate(workflow, Path(models_folder), Path(nodes_folder))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "models", SQLitePersistence(tmp_path / "data" / "recovery.db"))
    made.manager.register(Own())
    made.attach()
    yield made
    made.detach()


WORKFLOW = ui(
    node(1, "VAELoader", "sub\\A.safetensors"),  # written otherwise
    node(2, "VAELoader", "old/b.safetensors"),  # moved
    node(3, "LoraLoader", "c.safetensors"),  # elsewhere
    node(4, "VAEDecode", inputs=[("samples", "LATENT", 5)]),  # names a link that is not there
    node(5, "VAELoader", "model.safetensors"),  # may be another of that name
    node(6, "VAELoader", "none.safetensors"),
)


def checked(host: Host, workflow: Any = WORKFLOW) -> tuple[str, dict[str, Any]]:
    """The id of the check, and what it found."""
    put(
        host.folder, "vae/sub/a.safetensors", "vae/new/b.safetensors", "checkpoints/c.safetensors",
        "vae/other/model.safetensors",
    )  # fmt: skip
    result = host.validate(workflow)
    return result["report"]["operation_id"], result


def values(workflow: Any) -> list[Any]:
    return [node["widgets_values"][0] for node in workflow["nodes"] if node["widgets_values"]]


def apply(host: Host, operation_id: str, fix: str, **given: Any) -> Any:
    fixes = host.integrator.fixes
    return fixes.apply(operation_id, fix, given, fixes.preview(operation_id, fix, given).token)


MENDED = [
    "sub/a.safetensors", "new/b.safetensors", "c.safetensors", "model.safetensors", "none.safetensors",
]  # fmt: skip


def test_what_is_safe_is_mended_and_the_workflow_given(host: Host) -> None:
    operation_id, result = checked(host)
    assert result["report"]["fixable"] == 3
    fixed = host.integrator.fix_workflow(operation_id)
    assert values(fixed) == MENDED
    assert fixed["nodes"][3]["inputs"][0]["link"] is None
    assert host.integrator.fix_workflow(operation_id) == host.integrator.fixed_workflow(operation_id) == fixed
    assert values(WORKFLOW)[0] == "sub\\A.safetensors"
    (applied,) = host.integrator.fixes.history(operation_id)
    assert (applied.fix, applied.state, applied.can_undo) == ("mend_workflow", "applied", True)
    assert applied.says == (
        "sub\\A.safetensors becomes sub/a.safetensors.",
        "old/b.safetensors becomes new/b.safetensors.",
        "Changes 3 places of the workflow.",
    )
    left = [problem["code"] for problem in host.validate(fixed)["problems"]]
    assert left == ["model_elsewhere", "model_moved", "missing_model"]
    host.integrator.fixes.undo(operation_id, applied.id)
    assert host.integrator.fixed_workflow(operation_id) == WORKFLOW


def test_it_is_offered_for_the_check_that_ended_well_until_it_is_done(host: Host) -> None:
    operation_id, _ = checked(host)
    fixes = host.integrator.fixes
    assert [offer.id for offer in fixes.for_operation(operation_id)] == ["mend_workflow", "use_found_model"]
    (parameter,) = fixes.for_operation(operation_id, "zh")[1].parameters
    assert (parameter.choices, parameter.required) == (
        ("sub\\A.safetensors", "old/b.safetensors", "c.safetensors", "model.safetensors"), False,
    )  # fmt: skip
    host.integrator.fix_workflow(operation_id)
    assert [offer.id for offer in fixes.for_operation(operation_id)] == ["use_found_model"]
    with pytest.raises(FixRefusedError, match="no fix mend_workflow"):
        fixes.preview(operation_id, "mend_workflow")


def test_models_that_were_found_are_used_as_a_person_says(host: Host) -> None:
    operation_id, _ = checked(host)
    host.integrator.fix_workflow(operation_id)
    apply(host, operation_id, "use_found_model", model="model.safetensors")
    fixed = host.integrator.fixed_workflow(operation_id)
    assert values(fixed)[3:] == ["other/model.safetensors", "none.safetensors"]
    assert values(fixed)[:3] == MENDED[:3]
    assert not (host.folder / "loras").exists()
    with pytest.raises(FixRefusedError, match="so already"):
        host.integrator.fixes.preview(operation_id, "use_found_model", {"model": "model.safetensors"})
    with pytest.raises(FixRefusedError, match="must be one of"):
        host.integrator.fixes.preview(operation_id, "use_found_model", {"model": "none.safetensors"})


def test_a_file_that_no_name_leads_to_is_linked_to_where_it_belongs(host: Host) -> None:
    operation_id, _ = checked(host)
    target, source = host.folder / "loras/c.safetensors", host.folder / "checkpoints/c.safetensors"
    shown = host.integrator.fixes.preview(operation_id, "use_found_model", {"model": "c.safetensors"})
    assert shown.says == (
        "Check the workflow again afterwards.", f"Has {source} at {target} as well, without a second copy.",
    )  # fmt: skip
    assert shown.can_undo
    assert not target.exists()
    applied = apply(host, operation_id, "use_found_model")
    assert target.samefile(source)
    assert values(host.integrator.fixed_workflow(operation_id))[3] == "other/model.safetensors"
    after = host.validate(host.integrator.fixed_workflow(operation_id))
    assert [problem["code"] for problem in after["problems"]] == ["missing_model"]
    with pytest.raises(FixRefusedError, match="so already"):
        host.integrator.fixes.preview(operation_id, "use_found_model")
    host.integrator.fixes.undo(operation_id, applied.id)
    assert not target.parent.exists()
    assert source.exists()
    assert host.integrator.fixed_workflow(operation_id) == WORKFLOW


def refuse(*names: str) -> Any:
    """A function of the system that is not there."""

    def call(*arguments: Any) -> None:
        raise OSError(1, "Operation not permitted")

    return call


def test_on_another_disk_it_is_a_symbolic_link(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    operation_id, _ = checked(host)
    monkeypatch.setattr(os, "link", refuse())
    applied = apply(host, operation_id, "use_found_model", model="c.safetensors")
    target = host.folder / "loras/c.safetensors"
    assert target.is_symlink()
    (host.folder / "loras/more.pt").write_bytes(b"")
    host.integrator.fixes.undo(operation_id, applied.id)
    assert [path.name for path in target.parent.iterdir()] == ["more.pt"]


def test_where_no_link_can_be_made_it_says_so_and_nothing_is_left(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    operation_id, _ = checked(host)
    monkeypatch.setattr(os, "link", refuse())
    monkeypatch.setattr(os, "symlink", refuse())
    with pytest.raises(FixRefusedError, match=r"c.safetensors cannot be linked: Operation not permitted\."):
        apply(host, operation_id, "use_found_model")
    assert not (host.folder / "loras").exists()
    assert host.integrator.fixed_workflow(operation_id) == WORKFLOW
    (failed,) = host.integrator.fixes.history(operation_id)
    assert failed.state == "failed"


def test_what_took_the_place_meanwhile_is_left_alone(host: Host) -> None:
    operation_id, _ = checked(host)
    target, source = host.folder / "loras/c.safetensors", host.folder / "checkpoints/c.safetensors"
    shown = host.integrator.fixes.preview(operation_id, "use_found_model", {"model": "c.safetensors"})
    put(host.folder, "loras/c.safetensors", content=b"another")
    with pytest.raises(FixRefusedError, match="something else at"):
        host.integrator.fixes.apply(operation_id, "use_found_model", {"model": "c.safetensors"}, shown.token)
    action = from_json(shown.actions[0])
    with pytest.raises(FixConflictError, match="not as it was shown"):
        action.do(None)  # type: ignore[arg-type]
    target.unlink()
    applied = apply(host, operation_id, "use_found_model", model="c.safetensors")
    source.unlink()
    with pytest.raises(FixConflictError, match="not as it was shown"):
        host.integrator.fixes.undo(operation_id, applied.id)
    assert target.read_bytes() == b"model"
    assert to_json(action) == shown.actions[0]


def test_a_file_that_is_gone_is_not_linked(host: Host) -> None:
    operation_id, _ = checked(host)
    (host.folder / "checkpoints/c.safetensors").unlink()
    with pytest.raises(FixRefusedError, match="There is nothing at"):
        host.integrator.fixes.preview(operation_id, "use_found_model")


class Another:
    """The launcher's own check, with an answer of its own."""

    def __init__(self, *problems: Any) -> None:
        self.problems = list(problems)

    @hookimpl
    def launcher_validate_workflow(self) -> Any:
        return {"valid": False, "problems": self.problems}


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        ("../out.pt", "does not belong to this one"),
        ("/etc/out.pt", "does not belong to this one"),
        ("loras/a\0b.pt", "does not belong to this one"),
        (None, "not known where"),
    ],
)
def test_nothing_is_linked_to_outside_of_the_folder_of_models(host: Host, destination: Any, words: str) -> None:
    """Whatever a launcher's own check has put into its result."""
    parameters = {"model": "x", "path": str(put(host.folder, "x.pt") / "x.pt"), "destination": destination}
    host.manager.register(Another({"code": "model_elsewhere", "parameters": parameters, "changes": []}))
    operation_id, _ = checked(host, ui(node(1, "KSampler")))
    with pytest.raises(FixRefusedError, match=words):
        host.integrator.fixes.preview(operation_id, "use_found_model")


@pytest.mark.parametrize(
    "problem",
    [
        {"code": "model_moved"}, {"code": "model_moved", "parameters": {}, "changes": "none"},
        {"code": "model_moved", "parameters": [], "changes": []}, "model_moved",
        {"code": "model_moved", "parameters": {}, "changes": [5], "fixable": True},
        {"code": "model_moved", "parameters": {}, "changes": [{"pointer": []}], "fixable": True},
    ],
)  # fmt: skip
def test_problems_that_a_launcher_tells_in_its_own_way_are_left_alone(host: Host, problem: Any) -> None:
    host.manager.register(Another(problem))
    operation_id, result = checked(host, ui(node(1, "KSampler")))
    assert result["problems"] == [problem]
    assert host.integrator.fixes.for_operation(operation_id) == []
    assert host.integrator.fix_workflow(operation_id) == ui(node(1, "KSampler"))


@pytest.mark.parametrize("as_text", [json.dumps, lambda content: json.dumps(content, indent=2)])
def test_text_stays_text_with_its_layout(host: Host, as_text: Any) -> None:
    operation_id, _ = checked(host, as_text(WORKFLOW))
    fixed = host.integrator.fix_workflow(operation_id)
    assert values(json.loads(fixed)) == MENDED
    assert fixed.count("\n") == as_text(WORKFLOW).count("\n")
    again = host.integrator.fixed_workflow(operation_id, as_text(WORKFLOW).encode())
    assert json.loads(again) == json.loads(fixed)
    assert isinstance(again, bytes)


def test_another_workflow_is_changed_only_where_it_looks_the_same(host: Host) -> None:
    operation_id, _ = checked(host)
    host.integrator.fix_workflow(operation_id)
    other = ui(node(1, "VAELoader", "mine.pt"), node(2, "VAELoader", "old/b.safetensors"))
    assert values(host.integrator.fixed_workflow(operation_id, other)) == ["mine.pt", "new/b.safetensors"]
    assert host.integrator.fixed_workflow(operation_id, "{half") == "{half"


def test_a_number_that_json_does_not_have_is_mended_as_well(host: Host) -> None:
    operation_id, result = checked(host, '{"nodes": [{"id": 1, "type": "KSampler", "widgets_values": [NaN, -1e999]}]}')
    assert json.loads(json.dumps(result, allow_nan=False))["report"]["fixable"] == 2
    assert json.loads(host.integrator.fix_workflow(operation_id))["nodes"][0]["widgets_values"] == [None, None]


def test_a_workflow_with_a_secret_has_to_be_given_again(host: Host) -> None:
    workflow = {**WORKFLOW, "extra": {"api_key": "0123456789abcdef0123456789abcdef"}}
    operation_id, _ = checked(host, workflow)
    with pytest.raises(RecoveryStateError, match="could not be kept whole"):
        host.integrator.fix_workflow(operation_id)
    fixed = host.integrator.fix_workflow(operation_id, workflow)
    assert values(fixed) == MENDED
    assert fixed["extra"] == workflow["extra"]


def test_what_checked_no_workflow_has_none(host: Host) -> None:
    with pytest.raises(RecoveryStateError, match="there is no operation nothing"):
        host.integrator.fix_workflow("nothing")
    data = host.integrator.lifecycle.open("launcher_download", (), {"url": "http://h/a"}, title="a")
    with pytest.raises(RecoveryStateError, match="a has no workflow"):
        host.integrator.fixed_workflow(data.operation_id)


def test_a_workflow_in_which_nothing_can_be_mended_comes_back_as_it_was(host: Host) -> None:
    workflow = ui(node(6, "VAELoader", "none.safetensors"))
    operation_id, result = checked(host, workflow)
    assert result["report"]["fixable"] == 0
    assert host.integrator.fix_workflow(operation_id) == workflow
    assert host.integrator.fixes.history(operation_id) == []
    assert host.integrator.fixes.for_operation(operation_id) == []


def test_another_attempt_of_the_check_gets_the_mended_workflow(host: Host) -> None:
    """Such as that of a check that failed after it had found something."""
    operation_id, _ = checked(host)
    host.integrator.fix_workflow(operation_id)
    data = host.integrator.lifecycle.current(operation_id)
    assert data is not None
    assert values(amended(data, data.kwargs)["workflow"]) == MENDED


@pytest.mark.parametrize("fix", ["mend_workflow", "use_found_model"])
def test_a_verdict_may_name_them_where_nothing_was_found(failed: Failed, fix: str) -> None:
    data = failed.operation("validate_workflow", {"workflow": WORKFLOW}, fix)
    with pytest.raises(FixRefusedError, match="Nothing was found"):
        failed.fixes.preview(data.operation_id, fix)
