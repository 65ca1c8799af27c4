"""Which fixes are offered for an operation, in which order, and what their parameters take."""

from __future__ import annotations

from typing import Any

import pytest

from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.fixes import Case, Fix, FixRefusedError, Kind, Parameter, Plan, Say
from launcher_recovery.fixes.catalogue import BUILTIN
from launcher_recovery.fixes.planning_programs import command_for
from launcher_recovery.fixes.service import _fixes_of_warnings
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
            told = failed.fixes.advice(data.operation_id, language)[0]
            assert (told.fix, "{" in told.text, " ? " in told.text) == (name, False, False)
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


@pytest.mark.parametrize("what", ["tools", "git", "lfs", "venv"])
@pytest.mark.parametrize(("platform", "begins"), [("win32", "winget install "), ("darwin", ("xcode-select", "brew"))])
def test_what_is_missing_has_the_command_of_the_system(what: str, platform: str, begins: Any) -> None:
    assert command_for(what, platform).startswith(begins)


def test_the_command_on_linux_is_that_of_its_package_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    for program, command in {"dnf": "sudo dnf install git", "apt-get": "sudo apt-get install git"}.items():
        monkeypatch.setattr("shutil.which", lambda name, program=program: name if name == program else None)
        assert command_for("git", "linux") == command
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert command_for("git", "linux") == ""


@pytest.mark.parametrize(
    ("error", "folder"),
    [
        ("[Errno 30] Read-only file system: '/env/lib/site-packages/plain'", "/env/lib/site-packages"),
        ("[Errno 13] Permission denied: '/env/lib/x.py'", "/env/lib"),
        ("[Errno 13] Permission denied: 'x.py'", None),
        ("it broke", None),
    ],
)
def test_the_folder_that_cannot_be_written_to_is_the_one_that_the_message_names(
    failed: Failed, error: str, folder: str | None
) -> None:
    """Where it names none, that of the operation."""
    data = failed.node("fix_permissions", error=OSError(error))
    offer = failed.fixes.for_operation(data.operation_id)[0]
    assert f"write to {folder or failed.root / 'project' / 'custom_nodes'}." in offer.explanation


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


def advised(failed: Failed, operation_id: str, language: str = "en") -> dict[str, str]:
    """What a person is told to do by hand, by fix."""
    return {advice.fix: advice.text for advice in failed.fixes.advice(operation_id, language)}


def test_advice_is_about_the_fixes_that_fit_and_says_what_a_person_does_by_hand(failed: Failed) -> None:
    data = failed.download("add_token", url="https://huggingface.co/a/b/resolve/main/m.safetensors")
    found = failed.fixes.advice(data.operation_id)
    assert [(advice.fix, advice.title) for advice in found] == [
        ("add_token", "Add an access token"), ("accept_license", "Accept the licence"),
        ("update_url", "Give another address"),
    ]  # fmt: skip
    assert found[0].text.startswith("huggingface.co wants to know who asks. Make a token")
    assert "put it in here" not in found[0].text
    assert found[1].text.startswith("Open https://huggingface.co/a/b, log in")
    assert advised(failed, data.operation_id, "zh-CN")["add_token"].startswith("huggingface.co 需要知道是谁在请求")


def test_to_report_it_is_advice_only_where_the_verdict_says_so(failed: Failed) -> None:
    assert list(advised(failed, failed.download("check_clock").operation_id)) == ["check_clock", "use_ca_bundle"]
    assert list(advised(failed, failed.download("report_bug", "b.bin").operation_id)) == ["report_bug"]


def test_what_ended_well_with_warnings_has_the_advice_of_these(failed: Failed) -> None:
    data = failed.node(ended=False)
    live = Operation(data, failed.lifecycle, failed.clock)
    live.metadata["warnings"] = [
        {"code": "changed_package", "message": "numpy is older now.", "fix": "restore_environment"},
        {"code": "staging_path", "message": "A path."}, {"code": "x", "message": "y", "fix": "no_such"}, "z",
    ]  # fmt: skip
    live.save_metadata()
    failed.lifecycle.succeed(live, None)
    assert list(advised(failed, data.operation_id)) == ["restore_environment"]
    assert "launcher-recovery restore" in advised(failed, data.operation_id)["restore_environment"]
    live.data.metadata["warnings"] = "none"
    assert _fixes_of_warnings(live.data) == []


def test_the_advice_of_an_extension_is_in_its_own_words(failed: Failed, caplog: pytest.LogCaptureFixture) -> None:
    def plan(case: Case) -> Plan:
        return Plan()

    texts = {"en": {"title": "Ask", "text": "It asks.", "by_hand": "Ask the author."}}
    failed.suggested = [
        Fix("ask", plan=plan, texts=texts),
        Fix("tell", plan=plan, texts={"en": {"title": "Tell", "text": "It tells."}}),
        Fix("bad", facts=lambda case: {"a": 1 / 0}),
    ]
    found = advised(failed, failed.download("check_clock").operation_id)
    assert found["ask"] == "Ask the author."
    assert found["tell"] == "It tells."
    assert "bad" not in found
    assert "the fix bad has no advice" in caplog.text


def test_for_an_operation_that_is_not_there_there_is_no_advice(failed: Failed) -> None:
    with pytest.raises(RecoveryStateError, match="there is no operation nope"):
        failed.fixes.advice("nope")
