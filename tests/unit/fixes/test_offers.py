"""Which fixes are offered for an operation, in which order, and what their parameters take."""

from __future__ import annotations

from typing import Any

import pytest

from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.fixes import Case, Fix, FixRefusedError, Kind, Parameter, Plan, Say
from launcher_recovery.fixes.catalogue import BUILTIN
from launcher_recovery.fixes.planning_programs import command_for
from launcher_recovery.operation import Operation
from tests.unit.fixes.failed import Failed


def ids(failed: Failed, operation_id: str) -> list[str]:
    return [offer.id for offer in failed.fixes.for_operation(operation_id)]


def test_the_fix_of_the_verdict_is_first_then_those_of_extensions_then_related_ones(failed: Failed) -> None:
    failed.suggested = [Fix("ask_the_author"), Fix("not_for_this", fits=lambda case: False)]
    data = failed.download("add_token")
    assert ids(failed, data.operation_id) == [
        "add_token", "ask_the_author", "accept_license", "update_url", "report_bug",
    ]  # fmt: skip
    failed.sources = ["https://mirror.example/model.safetensors"]
    assert "choose_mirror" in ids(failed, data.operation_id)


def test_for_a_node_leaving_it_out_is_offered_and_restoring_only_where_somebody_can(failed: Failed) -> None:
    data = failed.node("pin_dependency")
    assert ids(failed, data.operation_id) == ["pin_dependency", "prefer_binary", "skip_node", "report_bug"]

    class Environments:
        def changes(self, data: Any) -> dict[str, str]:
            return {}

        def restore(self, data: Any) -> None: ...

    failed.fixes.use(Environments())
    assert "restore_environment" in ids(failed, data.operation_id)


def test_every_fix_can_be_offered_in_every_language_when_its_verdict_names_it(failed: Failed) -> None:
    data = failed.download()
    for name in BUILTIN:
        data = failed.download(name, f"{name}.bin")
        for language in ("en", "zh"):
            first = failed.fixes.for_operation(data.operation_id, language)[0]
            assert first.id == name
            assert first.title
            assert "{" not in first.explanation
            assert " ? " not in first.explanation


def test_a_licence_has_the_link_of_its_repository(failed: Failed) -> None:
    url = "https://huggingface.co/stabilityai/sdxl/resolve/main/model.safetensors"
    offer = failed.fixes.for_operation(failed.download("accept_license", url=url).operation_id)[0]
    assert "https://huggingface.co/stabilityai/sdxl," in offer.explanation
    assert not offer.can_apply


@pytest.mark.parametrize("what", ["tools", "git", "lfs"])
@pytest.mark.parametrize(("platform", "begins"), [("win32", "winget install "), ("darwin", ("xcode-select", "brew"))])
def test_what_is_missing_has_the_command_of_the_system(what: str, platform: str, begins: Any) -> None:
    assert command_for(what, platform).startswith(begins)


def test_the_command_on_linux_is_that_of_its_package_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    for program, command in {"dnf": "sudo dnf install git", "apt-get": "sudo apt-get install git"}.items():
        monkeypatch.setattr("shutil.which", lambda name, program=program: name if name == program else None)
        assert command_for("git", "linux") == command
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert command_for("git", "linux") == ""


def test_a_fix_by_hand_is_not_applied(failed: Failed) -> None:
    data = failed.download("check_clock")
    with pytest.raises(FixRefusedError, match=r"^A person has to do this one\.$"):
        failed.fixes.preview(data.operation_id, "check_clock")


def test_a_fix_that_does_not_fit_and_an_operation_that_is_not_there_are_refused(failed: Failed) -> None:
    data = failed.download()
    with pytest.raises(FixRefusedError, match=r"^There is no fix skip_node for this one\.$"):
        failed.fixes.preview(data.operation_id, "skip_node")
    with pytest.raises(RecoveryStateError, match="there is no operation nobody"):
        failed.fixes.for_operation("nobody")


PARAMETERS = {
    "text": Parameter("p"),
    "flag": Parameter("p", Kind.BOOL),
    "path": Parameter("p", Kind.PATH),
    "host": Parameter("p", Kind.HOST),
    "choice": Parameter("p", Kind.CHOICE, choices=lambda case: ["a", "b"]),
    "odd": Parameter("p", check=lambda value, case: Say("wrong.already") if value == "odd" else None),
}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("text", None, "p is needed."),
        ("text", "  ", "p is needed."),
        ("text", 5, "p must be one line of text."),
        ("text", "a\nb", "p must be one line of text."),
        ("text", "a" * 5000, "p must be one line of text."),
        ("flag", "yes", "p must be yes or no."),
        ("path", "models/a", "p must be a whole path, from the root of the disk."),
        ("host", "https://a.example/", "p must be the name of a server, such as huggingface.co."),
        ("host", "user@a.example", "p must be the name of a server, such as huggingface.co."),
        ("choice", "c", "p must be one of: a, b."),
        ("odd", "odd", "That is so already."),
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused_in_one_sentence(
    failed: Failed, name: str, value: Any, words: str
) -> None:
    failed.suggested = [Fix("mine", (PARAMETERS[name],), lambda case: Plan())]
    with pytest.raises(FixRefusedError) as caught:
        failed.fixes.preview(failed.download().operation_id, "mine", {} if value is None else {"p": value})
    assert str(caught.value) == words
    assert caught.value.parameter == "p"


@pytest.mark.parametrize(
    ("name", "value"),
    [("text", "a b"), ("flag", False), ("path", "/a"), ("host", "a.example:8443"), ("choice", "b"), ("odd", "even")],
)
def test_a_parameter_that_can_be_used_reaches_the_plan(failed: Failed, name: str, value: Any) -> None:
    seen: list[Case] = []

    def plan(case: Case) -> Plan:
        seen.append(case)
        return Plan()

    failed.suggested = [Fix("mine", (PARAMETERS[name],), plan)]
    failed.fixes.preview(failed.download().operation_id, "mine", {"p": value})
    assert seen[0].given == {"p": value}


def test_a_parameter_that_a_fix_does_not_have_is_refused(failed: Failed) -> None:
    failed.suggested = [Fix("mine", (), lambda case: Plan())]
    with pytest.raises(FixRefusedError, match=r"^This fix has no parameter verify\.$"):
        failed.fixes.preview(failed.download().operation_id, "mine", {"verify": False})


def test_for_what_ended_well_there_is_nothing_to_be_done(failed: Failed) -> None:
    data = failed.download(ended=False)
    assert ids(failed, data.operation_id) == ["report_bug"]
    failed.lifecycle.succeed(Operation(data, failed.lifecycle, failed.clock), None)
    assert ids(failed, data.operation_id) == []


def test_a_fix_of_an_extension_that_raises_is_left_out_and_reported(
    failed: Failed, caplog: pytest.LogCaptureFixture
) -> None:
    failed.suggested = [Fix("bad", fits=lambda case: bool(1 / 0)), Fix("worse", facts=lambda case: {"a": 1 / 0})]
    failed.suggested.append(Fix("good"))
    offered = ids(failed, failed.download("check_clock").operation_id)
    assert offered == ["check_clock", "good", "use_ca_bundle", "report_bug"]
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told == ["the fix bad cannot be offered", "the fix worse cannot be offered"]
