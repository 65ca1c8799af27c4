"""What a launcher's own check finds is completed; what it returns in another form is left alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import OperationCancelled
from launcher_recovery.defaults import workflow as extension
from launcher_recovery.hookspecs import hookimpl as hookimpl_of_extensions
from launcher_recovery.operation import Operation
from launcher_recovery.workflows import LoaderInput, NodeSource
from launcher_recovery.workflows.sources import Nobody
from sample_launcher import workflows
from sample_launcher.hookspecs import hookimpl
from tests.support import Host
from tests.unit.workflows.samples import node, put, ui


class Own:
    """The sample launcher's own check, or an answer given instead."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    @hookimpl(trylast=True)
    def launcher_validate_workflow(self, workflow: Any, models_folder: str, nodes_folder: str) -> Any:
        return self.answer or workflows.validate(workflow, Path(models_folder), Path(nodes_folder))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def host(answer: Any = None, **settings: Any) -> Host:
        made = Host(tmp_path, **settings)
        hosts.append(made)
        made.manager.register(Own(answer))
        made.attach()
        return made

    yield host
    for made in hosts:
        made.detach()


def told(result: Any, member: str = "problems") -> list[str]:
    return [problem["code"] for problem in result[member]]


def test_more_is_found_than_the_launcher_finds(make: Callable[..., Host], tmp_path: Path) -> None:
    put(tmp_path, "loras/a.pt")
    workflow = ui(node(1, "VAELoader", "a.pt"), node(2, "Unknown"), node(3, "LoraLoader", "b.pt", mode=4))
    assert told(workflows.validate(workflow, tmp_path, tmp_path)) == ["missing_node", "missing_model"]
    result = make().validate(workflow)
    assert told(result) == ["missing_node", "model_elsewhere"]
    assert told(result, "notices") == ["missing_model"]
    assert (result["valid"], result["models"], result["node_types"]) == (
        False, ["a.pt", "b.pt"], ["LoraLoader", "Unknown", "VAELoader"],
    )  # fmt: skip
    assert result["problems"][1]["message"].endswith("but in loras/a.pt.")
    assert [model["state"] for model in result["report"]["models"]] == ["elsewhere", "missing"]
    json.dumps(result)


def test_what_the_launcher_takes_for_missing_may_be_there(make: Callable[..., Host]) -> None:
    workflow = ui(node(1, "workflow>g"), extra={"groupNodes": {"g": {"nodes": [{"type": "KSampler"}]}}})
    result = make().validate(workflow)
    assert (result["valid"], result["problems"]) == (True, [])


def test_what_else_the_launcher_finds_stays(make: Callable[..., Host]) -> None:
    problems = [
        {"code": "too_old", "message": "It is too old."}, {"code": "missing_model", "model": "x.pt"}, "odd",
        {"code": "missing_node", "node_type": "KSampler"},
    ]  # fmt: skip
    result = make({"valid": False, "problems": problems, "more": 1}).validate(ui(node(1, "KSampler")))
    assert (result["valid"], result["problems"], result["more"]) == (False, problems[:3], 1)


@pytest.mark.parametrize("answer", [{"valid": True}, ["fine"], "fine", {"valid": True, "problems": "none"}])
def test_a_result_in_another_form_stays_as_it_is(make: Callable[..., Host], answer: Any) -> None:
    assert make(answer).validate(ui(node(1, "Unknown"))) == answer


def test_what_the_launcher_can_read_and_we_cannot_is_for_the_launcher_to_judge(make: Callable[..., Host]) -> None:
    result = make({"valid": True, "problems": []}).validate({"its": "own form"})
    assert (result["valid"], result["problems"], told(result, "notices")) == (True, [], ["not_a_workflow"])


def test_only_observed_nothing_is_added(make: Callable[..., Host]) -> None:
    assert "report" not in make(mode="observe").validate(ui(node(1, "KSampler")))


def test_extensions_and_tables_say_where_things_are(make: Callable[..., Host], tmp_path: Path) -> None:
    table = tmp_path / "map.json"
    table.write_text(json.dumps({"https://github.com/a/pack": [["Unknown"], {"title": "The Pack"}]}))
    models = tmp_path / "models.json"
    models.write_text(json.dumps({"models": [{"filename": "a.pt", "url": "https://h/a", "type": "VAE"}]}))
    host = make(workflow_tables=(str(table), str(models)))
    assert host.integrator.extensions.node_sources("Unknown") == [NodeSource("https://github.com/a/pack", "The Pack")]
    result = host.validate(ui(node(1, "Unknown"), node(2, "VAELoader", "a.pt")))
    assert [problem["parameters"]["url"] for problem in result["problems"]] == [
        "https://github.com/a/pack",
        "https://h/a",
    ]


def told_sources(host: Host, node_type: str = "Unknown") -> list[str]:
    return [source.url for source in host.integrator.extensions.node_sources(node_type)]


def test_tables_of_new_settings_count_at_once_and_changed_files_are_read_anew(
    make: Callable[..., Host], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_text(json.dumps({"https://h/1": [["Unknown"], {}]}))
    two.write_text(json.dumps({"https://h/22": [["Unknown"], {}]}))
    host = make()
    assert told_sources(host) == []
    for paths, urls in (([one], ["https://h/1"]), ([one, two], ["https://h/1", "https://h/22"]), ([], [])):
        host.integrator.update_config({"workflow_tables": tuple(map(str, paths))})
        assert told_sources(host) == urls
    host.integrator.update_config({"workflow_tables": (str(one),)})
    one.write_text(json.dumps({"https://h/333": [["Unknown"], {}]}))
    assert told_sources(host) == ["https://h/333"]
    one.write_text("{half")
    assert told_sources(host) == told_sources(host) == ["https://h/333"]
    (message,) = [text for text in caplog.messages if "is used on" in text]
    assert "one.json cannot be read as a table" in message
    one.write_text(json.dumps({"https://h/1": [["Unknown"], {}]}))
    assert told_sources(host) == ["https://h/1"]
    one.unlink()
    assert told_sources(host) == ["https://h/1"]
    host.integrator.update_config({"max_retries": 5})
    assert told_sources(host) == ["https://h/1"]


def test_settings_that_name_no_table_are_reported_and_in_force(make: Callable[..., Host], tmp_path: Path) -> None:
    host = make()
    host.integrator.update_config({"workflow_tables": (str(tmp_path / "none.json"),), "max_retries": 7})
    assert "failed in recovery_settings_changed" in host.integrator.extensions.problems[0]
    assert host.integrator.config.max_retries == 7
    assert told_sources(host) == []


class Loader:
    """Knows what its own loader reads, and something else of one that the package knows."""

    @hookimpl_of_extensions
    def recovery_loader_folders(self, node_type: str) -> list[LoaderInput]:
        if node_type == "OurLoader":
            return [LoaderInput("first", "loras", 1), LoaderInput("other", "vae")]
        return [LoaderInput("vae_name", "our_vae", 0), LoaderInput("no", "")] if node_type == "VAELoader" else []


def test_extensions_say_what_their_loaders_read(make: Callable[..., Host], tmp_path: Path) -> None:
    put(tmp_path, "loras/a.pt", "vae/b.pt", "our_vae/c.pt", "checkpoints/a.pt", "checkpoints/d.pt")
    workflow = ui(
        node(1, "OurLoader", "x", "a.pt"), node(2, "VAELoader", "c.pt"), node(3, "CheckpointLoaderSimple", "d.pt"),
        node(4, "VAELoader", "b.pt"),
    )  # fmt: skip
    host = make()
    host.integrator.extensions.register(Loader(), "loader")
    models = host.validate(workflow)["report"]["models"]
    assert [(model["folder"], model["state"]) for model in models] == [
        ("loras", "present"), ("our_vae", "present"), ("checkpoints", "present"), ("our_vae", "elsewhere"),
    ]  # fmt: skip
    assert [model["path"] for model in models][:2] == [str(tmp_path / "loras/a.pt"), str(tmp_path / "our_vae/c.pt")]
    inputs = {"first": "a.pt", "other": "b.pt"}
    models = host.validate({"1": {"class_type": "OurLoader", "inputs": inputs}})["report"]["models"]
    assert [(model["folder"], model["state"]) for model in models] == [("loras", "present"), ("vae", "present")]


def test_without_the_extension_its_loader_is_not_known(make: Callable[..., Host], tmp_path: Path) -> None:
    put(tmp_path, "loras/a.pt", "checkpoints/a.pt")
    (model,) = make().validate(ui(node(1, "OurLoader", "x", "a.pt")))["report"]["models"]
    assert model["folder"] is None


def test_a_table_that_cannot_be_read_is_reported_and_nothing_else_happens(
    make: Callable[..., Host], tmp_path: Path
) -> None:
    host = make(workflow_tables=(str(tmp_path / "none.json"),))
    (problem,) = host.integrator.extensions.problems
    assert "extension workflow_tables failed in recovery_startup" in problem
    assert "none.json cannot be read as a table" in problem
    assert told(host.validate(ui(node(1, "Unknown")))) == ["missing_node"]


# -- when the check itself fails ----------------------------------------------------------------------


class Stub:
    """An operation that is asked whether it may go on."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def check(self) -> None:
        if self.error is not None:
            raise self.error


def enriched(operation: Any, result: Any, lookups: Any = None, folder: Path = Path()) -> Any:
    arguments = {"workflow": ui(node(1, "Unknown")), "models_folder": str(folder), "nodes_folder": str(folder)}
    given: Operation = operation
    return extension._with_checks(given, arguments, result, lookups or Nobody())


def test_a_check_that_fails_harms_nothing(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    class Bad(Nobody):
        def node_sources(self, node_type: str) -> Any:
            raise RuntimeError("not today")

    result = {"valid": True, "problems": []}
    with caplog.at_level(logging.ERROR, "launcher_recovery"):
        assert enriched(Stub(), result, Bad(), tmp_path) is result
    assert "the workflow could not be checked further" in caplog.text


def test_a_cancel_ends_the_check(tmp_path: Path) -> None:
    with pytest.raises(OperationCancelled):
        enriched(Stub(OperationCancelled("cancelled")), {"valid": True, "problems": []}, folder=tmp_path)
