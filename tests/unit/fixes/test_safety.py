"""What keeps a fix from doing harm: one at a time, nothing that was not shown, and no half of one after a crash."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import launcher_recovery
from launcher_recovery.clock import to_datetime
from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.fixes import Call, Case, Fix, FixConflictError, FixRefusedError, Function, Hands, Plan, effects
from launcher_recovery.fixes.planning_access import setting
from launcher_recovery.operation import Operation
from launcher_recovery.records import RecoveryState
from tests.unit.fixes.failed import Failed

REPOSITORY = Path(launcher_recovery.__file__).parent.parent


def counting(done: list[str], *, fails: bool = False, undoable: bool = True) -> Fix:
    """A fix of an extension that sets something, then calls a function."""

    def do(hands: Hands, arguments: Mapping[str, Any]) -> None:
        done.append("done")
        if fails:
            raise OSError("the network is down, token=hunter2hunter2")

    def undo(hands: Hands, arguments: Mapping[str, Any]) -> None:
        done.append("undone")

    def plan(case: Case) -> Plan:
        return Plan((setting(case, effects.PREFER_BINARY, True), Call("count", {"n": 1})))

    functions = {"count": Function(do, undo if undoable else None)}
    texts = {"en": {"title": "Count", "text": "Counts.", "do.call": "Counts to {n}."}, "zh": {"title": "数数"}}
    return Fix("count", (), plan, texts=texts, functions=functions)


def test_a_fix_of_an_extension_is_offered_previewed_applied_and_undone(failed: Failed) -> None:
    done: list[str] = []
    failed.suggested = [counting(done)]
    data = failed.download("count")
    offer = failed.fixes.for_operation(data.operation_id, "zh")[0]
    assert (offer.id, offer.title, offer.explanation) == ("count", "数数", "Counts.")
    shown = failed.fixes.preview(data.operation_id, "count")
    assert shown.says[-1] == "Counts to 1."
    assert done == []
    applied = failed.apply(data, "count")
    assert done == ["done"]
    assert failed.undo(data, applied).state == "undone"
    assert failed.undo(data, applied).state == "undone"
    assert done == ["done", "undone"]
    assert [(entry.fix, entry.state) for entry in failed.fixes.history(data.operation_id)] == [("count", "undone")]


def test_what_fails_in_the_middle_is_undone_and_told_without_secrets(failed: Failed) -> None:
    done: list[str] = []
    failed.suggested = [counting(done, fails=True)]
    data = failed.download("count")
    with pytest.raises(OSError, match="the network is down"):
        failed.apply(data, "count")
    assert done == ["done", "undone"]
    assert effects.settings_of(failed.record(data.operation_id)) == {}
    (entry,) = failed.fixes.history(data.operation_id)
    assert entry.state == "failed"
    assert entry.says[-1] == "It failed: OSError: the network is down, token=***"
    with pytest.raises(FixRefusedError, match="cannot be undone"):
        failed.undo(data, entry)


def test_what_cannot_be_undone_and_failed_is_said_to_be_done_perhaps(failed: Failed) -> None:
    failed.suggested = [counting([], fails=True, undoable=False)]
    data = failed.download("count")
    with pytest.raises(OSError, match="the network is down"):
        failed.apply(data, "count")
    (entry,) = failed.fixes.history(data.operation_id)
    assert entry.says[-1] == "What cannot be undone may have been done already."


def test_only_one_of_two_applied_at_once_is_and_the_other_is_told(failed: Failed) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), list[str]()

    def do(hands: Hands, arguments: Mapping[str, Any]) -> None:
        done.append("done")
        begun.set()
        assert go_on.wait(20)

    failed.suggested = [Fix("slow", (), lambda case: Plan((Call("do"),)), functions={"do": Function(do)})]
    data = failed.download("slow")
    token = failed.fixes.preview(data.operation_id, "slow").token
    first = threading.Thread(target=failed.fixes.apply, args=(data.operation_id, "slow", {}, token))
    first.start()
    assert begun.wait(20)
    other_process = failed.new_fixes()
    try:
        for fixes in (failed.fixes, other_process):
            with pytest.raises(FixConflictError, match=r"^Another fix is being applied\."):
                fixes.apply(data.operation_id, "slow", {}, token)
        other_process.recover()  # what is under way is not cut off
    finally:
        go_on.set()
        first.join(20)
    assert done == ["done"]
    assert [entry.state for entry in failed.fixes.history(data.operation_id)] == ["applied"]


def test_the_same_preview_is_not_applied_twice(failed: Failed) -> None:
    data = failed.node("install_build_tools")
    token = failed.fixes.preview(data.operation_id, "prefer_binary").token
    failed.fixes.apply(data.operation_id, "prefer_binary", {}, token)
    with pytest.raises(FixRefusedError, match="That is so already"):
        failed.fixes.apply(data.operation_id, "prefer_binary", {}, token)


def test_what_was_shown_and_is_not_there_any_more_is_not_done(failed: Failed) -> None:
    model = failed.models / "model.safetensors"
    model.write_bytes(b"damaged")
    data = failed.download("redownload")
    token = failed.fixes.preview(data.operation_id, "quarantine_model").token
    model.write_bytes(b"whole by now")
    with pytest.raises(FixConflictError, match=r"^What was shown is not what is there any more\. Look again\.$"):
        failed.fixes.apply(data.operation_id, "quarantine_model", {}, token)
    assert model.read_bytes() == b"whole by now"
    assert failed.fixes.history(data.operation_id) == []


def test_other_parameters_than_those_shown_and_a_later_attempt_make_it_stale(failed: Failed) -> None:
    data = failed.download("update_url")
    token = failed.fixes.preview(data.operation_id, "update_url", {"url": "https://one.example/m"}).token
    with pytest.raises(FixConflictError, match="What was shown"):
        failed.fixes.apply(data.operation_id, "update_url", {"url": "https://two.example/m"}, token)
    failed.lifecycle.retry(data.operation_id)
    begun = failed.lifecycle.begin_attempt(data.operation_id, 1)
    failed.lifecycle.give_back(Operation(begun, failed.lifecycle, failed.clock))
    with pytest.raises(FixConflictError, match="What was shown"):
        failed.fixes.apply(data.operation_id, "update_url", {"url": "https://one.example/m"}, token)


def test_an_operation_that_runs_is_left_alone(failed: Failed) -> None:
    data = failed.download(ended=False)
    given = {"url": "https://one.example/m"}
    token = failed.fixes.preview(data.operation_id, "update_url", given).token
    with pytest.raises(FixConflictError, match=r"^It runs at the moment\.") as caught:
        failed.fixes.apply(data.operation_id, "update_url", given, token)
    assert caught.value.state == "in_progress"


def test_what_was_done_while_it_began_to_run_is_told_at_once_and_entered_later(
    failed: Failed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (failed.models / "model.safetensors").write_bytes(b"damaged")
    data = failed.download("redownload")
    failed.lifecycle.retry(data.operation_id)
    token = failed.fixes.preview(data.operation_id, "quarantine_model").token
    write = failed.fixes._journal.write

    def run_meanwhile(entry: dict[str, Any]) -> None:
        write(entry)
        if entry["state"] == "applied":
            failed.lifecycle.begin_attempt(data.operation_id, 1)

    monkeypatch.setattr(failed.fixes._journal, "write", run_meanwhile)
    failed.fixes.apply(data.operation_id, "quarantine_model", {}, token)
    assert not any(name.startswith("fix:") for name in failed.record(data.operation_id).metadata)
    assert [entry.state for entry in failed.fixes.history(data.operation_id)] == ["applied"]
    failed.lifecycle.cancel(data.operation_id)
    failed.fixes.recover()
    assert any(name.startswith("fix:") for name in failed.record(data.operation_id).metadata)
    assert list((failed.root / "data" / "fixes").glob("*.json")) == []


def test_a_fix_of_an_operation_that_is_over_completes_it_no_second_time(failed: Failed) -> None:
    data = failed.node("install_build_tools")
    before = [event.name for event in failed.events()]
    failed.apply(data, "prefer_binary")
    assert [event.name for event in failed.events()] == before
    assert failed.record(data.operation_id).state is RecoveryState.FAILED


def test_undoing_what_was_never_applied_and_in_nothing_are_refused(failed: Failed) -> None:
    with pytest.raises(FixRefusedError, match="There is no such fix that was applied"):
        failed.fixes.undo(failed.download().operation_id, "nothing")
    with pytest.raises(RecoveryStateError, match="there is no operation nobody"):
        failed.fixes.history("nobody")


def killed(failed: Failed, operation_id: str, fix: str, where: str) -> None:
    """Another process applies it, and is killed there."""
    command = [sys.executable, "-m", "tests.unit.fixes.cut_off", str(failed.root), operation_id, fix, where]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("where", ["begun", "done"])
def test_what_a_crash_cut_off_is_undone_at_the_next_start(failed: Failed, where: str) -> None:
    model = failed.models / "model.safetensors"
    model.write_bytes(b"damaged")
    data = failed.download("redownload")
    killed(failed, data.operation_id, "quarantine_model", where)
    assert model.exists() is (where == "begun")
    failed.new_fixes().recover()
    assert [path.name for path in failed.models.iterdir()] == ["model.safetensors"]
    (entry,) = failed.fixes.history(data.operation_id)
    assert (entry.state, entry.says[-1]) == ("failed", "It was cut off; what it had done is undone.")


def test_a_setting_that_a_crash_cut_off_is_taken_back(failed: Failed) -> None:
    data = failed.node("install_build_tools")
    killed(failed, data.operation_id, "prefer_binary", "done")
    assert effects.pip_options(failed.record(data.operation_id)) == ["--prefer-binary"]
    failed.new_fixes().recover()
    assert effects.pip_options(failed.record(data.operation_id)) == []


@pytest.mark.parametrize("where", ["begun", "deleting", "done"])
def test_a_deletion_that_a_crash_cut_off_is_either_taken_back_whole_or_finished_and_said(
    failed: Failed, where: str
) -> None:
    failed.cache = failed.root / "pip"
    for name in ("a.bin", "b.bin"):
        (failed.cache / "wheels").mkdir(parents=True, exist_ok=True)
        (failed.cache / "wheels" / name).write_bytes(b"x" * 5000)
    data = failed.node("purge_pip_cache")
    killed(failed, data.operation_id, "purge_pip_cache", where)
    failed.new_fixes().recover()
    left = sorted(path.name for path in failed.cache.rglob("*"))
    assert left == (["a.bin", "b.bin", "wheels"] if where == "begun" else [])
    (entry,) = failed.fixes.history(data.operation_id)
    assert (entry.state, entry.says[-1]) == ("failed", "What cannot be undone may have been done already.")


def test_an_undo_that_a_crash_cut_off_is_gone_on_with(failed: Failed) -> None:
    (failed.models / "model.safetensors").write_bytes(b"damaged")
    data = failed.download("redownload")
    applied = failed.apply(data, "quarantine_model")
    killed(failed, data.operation_id, applied.id, "undone")
    failed.new_fixes().recover()
    assert [path.name for path in failed.models.iterdir()] == ["model.safetensors"]
    assert [entry.state for entry in failed.fixes.history(data.operation_id)] == ["undone"]


def test_an_undo_that_cannot_be_gone_on_with_leaves_it_applied(failed: Failed) -> None:
    model = failed.models / "model.safetensors"
    model.write_bytes(b"damaged")
    data = failed.download("redownload")
    applied = failed.apply(data, "quarantine_model")
    model.write_bytes(b"whole")
    entry = failed.record(data.operation_id).metadata[f"fix:{applied.id}"]
    failed.fixes._journal.write({**entry, "state": "undoing"})
    failed.fixes.recover()
    assert model.read_bytes() == b"whole"
    assert [entry.state for entry in failed.fixes.history(data.operation_id)] == ["applied"]
    assert failed.fixes._journal.entries() == []


def test_an_entry_of_an_operation_that_is_forgotten_is_forgotten_and_a_damaged_one_harms_none(failed: Failed) -> None:
    folder = failed.root / "data" / "fixes"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text("{")
    entry = {"id": "2", "operation_id": "gone", "fix": "x", "state": "applying", "actions": [], "says": []}
    (folder / "2.json").write_text(json.dumps({**entry, "can_undo": True}))
    failed.fixes.recover()
    assert not (folder / "2.json").exists()
    assert failed.apply(failed.node("install_build_tools"), "prefer_binary").state == "applied"


@pytest.mark.parametrize("end", ["success", "forgotten", "failed"])
def test_secrets_for_one_operation_are_kept_as_long_as_it_may_need_them(failed: Failed, end: str) -> None:
    data = failed.download("check_proxy")
    kept = failed.fixes.tools.vault
    failed.apply(data, "use_proxy", proxy="http://proxy", user="ann", password="hunter2hunter2")
    failed.apply(data, "add_token", token="for-all-of-the-host")
    failed.lifecycle.retry(data.operation_id)
    live = Operation(failed.lifecycle.begin_attempt(data.operation_id, 1), failed.lifecycle, failed.clock)
    if end == "success":
        failed.lifecycle.succeed(live, None)
    elif end == "forgotten":
        failed.lifecycle.succeed(live, None)
        failed.clock.advance(10**6)
        failed.store.cleanup(to_datetime(failed.clock.time()))
        assert failed.store.get(data.operation_id) is None
    failed.fixes.recover()
    place = f"proxy:{data.operation_id}:http://proxy"
    assert kept.places() == (["host:files.example"] if end != "failed" else [place, "host:files.example"])
