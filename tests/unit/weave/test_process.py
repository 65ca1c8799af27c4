"""This process: woven once, when recovery is on; what it tells of itself, and what doctor makes of that."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pluggy
import pytest

from launcher_recovery import integration, owners
from launcher_recovery.cli import main
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import RecoveryConfigError, StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.joinpoints import Host, JoinPoint
from launcher_recovery.observing import NAMESPACE
from launcher_recovery.persistence import MemoryPersistence, SQLitePersistence, forks
from launcher_recovery.persistence.base import Owner
from launcher_recovery.weave import hosts as hosts_module
from launcher_recovery.weave import process, report, standings, unweave, weave
from launcher_recovery.weave.presence import Presence, role_of
from launcher_recovery.weave.processes import running, unwoven
from launcher_recovery.weave.standing import About, Standing, about_of
from tests.woven import FETCH, load, proc

Write = Callable[..., None]
POINT = JoinPoint("wv_utils", "fetch", "download", advice=lambda call: f"woven {call.proceed()}", tolerant=True)
HOST = Host("mine", (POINT,), ("wv_server.py",))
TOLD = About("worker", ("celery", "worker"), (Standing("mine", "a:b", "live"),), "1.0")


# -- whether it is on -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "default", "expected"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"RECOVERY_ENABLED": "false"}, True, False),
        ({"RECOVERY_ENABLED": " OFF "}, True, False),
        ({"RECOVERY_ENABLED": ""}, True, False),
        ({"RECOVERY_ENABLED": "true"}, False, True),
        ({"RECOVERY_ENABLED": "1"}, False, True),
    ],
)
def test_it_is_on_when_a_setting_says_so_or_the_person_asked_for_it(
    environ: dict[str, str], default: bool, expected: bool
) -> None:
    assert process.is_on(default=default, environ=environ) is expected


@pytest.mark.parametrize(("said", "expected"), [("enabled = false", False), ("enabled = true", True), ("", True)])
def test_the_file_of_settings_counts(tmp_path: Path, said: str, expected: bool) -> None:
    file = tmp_path / "recovery.toml"
    file.write_text(f"[recovery]\n{said}\n")
    assert process.is_on(default=True, environ={"RECOVERY_CONFIG": str(file)}) is expected
    with pytest.raises(RecoveryConfigError, match="RECOVERY_ENABLED='perhaps' is not usable"):
        process.is_on(default=True, environ={"RECOVERY_ENABLED": "perhaps"})


def test_off_nothing_is_woven(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(wv_utils=FETCH)
    finders = list(sys.meta_path)
    monkeypatch.setenv("RECOVERY_ENABLED", "false")
    assert weave([HOST], default=True) is False
    assert load("wv_utils").fetch("u") == "got u"
    assert sys.meta_path == finders
    assert standings() == ()


def test_a_setting_that_cannot_be_used_leaves_the_process_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RECOVERY_ENABLED", "perhaps")
    assert weave([HOST]) is False
    assert "this process is not woven: RECOVERY_ENABLED='perhaps' is not usable" in caplog.text


# -- what it tells ----------------------------------------------------------------------------------


def test_a_woven_process_is_entered_with_its_join_points_and_doctor_shows_it(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once its launcher is there; the integrator of its calls is loaded and started."""
    monkeypatch.setattr(sys, "argv", ["server.py", "--token", "s3cret-value", "x"])
    monkeypatch.setattr(hosts_module, "BUILTIN", (HOST,))
    monkeypatch.setattr(report, "running", lambda hosts, proc: [])
    write(wv_utils=FETCH)
    odd = JoinPoint("wv_utils", "gone", "download", tolerant=True)
    for _ in range(2):
        assert weave([HOST, Host("odd", (odd,))], default=True) is True
    assert integration.attached_integrator() is None
    assert load("wv_utils").fetch("u") == "woven got u"
    made = integration.attached_integrator()
    assert made is not None
    assert made.config.enabled
    assert "download" in made.kinds
    process._before_fork()
    (row,) = made.persistence.owners()
    told = about_of(row.owner.about)
    assert told is not None
    assert (told.role, told.argv) == ("launcher", ("server.py", "--token", "***", "x"))
    assert told.hosts == ("mine", "odd")
    assert [found.state for found in told.standings] == ["live", "off"]

    assert main(["doctor", "--json"]) == 1
    captured = capsys.readouterr()
    shown = json.loads(captured.out)
    problem = f"In process {os.getpid()}, wv_utils:gone of odd runs without recovery: it has no function gone."
    assert captured.err == f"launcher-recovery doctor: {problem}\n"
    assert shown["problems"] == [problem]
    assert shown["hosts"] == ["mine"]
    (entry,) = shown["processes"]
    assert (entry["pid"], entry["is_woven"]) == (os.getpid(), True)
    assert (entry["live"], entry["off"]) == (["wv_utils:fetch"], {"wv_utils:gone": "it has no function gone"})
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert f"process {os.getpid()}: launcher of mine, odd, woven: server.py --token *** x" in lines
    assert "  live: wv_utils:fetch" in lines
    assert "  off: wv_utils:gone: it has no function gone" in lines
    unweave()
    assert load("wv_utils").fetch("u") == "got u"


def _raises() -> Any:
    raise RuntimeError("no such thing")


class _Unknown:
    """Implements hooks that do not exist."""

    def __init__(self, namespace: str) -> None:
        mark = pluggy.HookimplMarker(namespace)
        name = "launcher_fly" if namespace == NAMESPACE else "recovery_fly"
        setattr(self, name, mark(lambda: None))


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (_raises, "RuntimeError: no such thing"),
        (lambda: _Unknown(NAMESPACE), "launcher_fly"),
        (lambda: _Unknown("launcher_recovery"), "implements recovery_fly, which is not a hook"),
    ],
)
def test_a_host_whose_plugin_cannot_be_used_does_without_recovery_and_doctor_names_it(
    plugin: Any, reason: str, write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "running", lambda hosts, proc: [])
    write(wv_utils=FETCH, wv_other=FETCH)
    broken = replace(HOST, name="broken", plugin=plugin)
    other = Host("other", (replace(POINT, module="wv_other"),))
    assert weave([broken, other], default=True)
    first, second = load("wv_utils"), load("wv_other")
    assert [first.fetch("u"), second.fetch("u")] == ["got u", "woven got u"]
    assert first.fetch("u") == "got u"
    made = integration.attached_integrator()
    assert made is not None
    assert made.launcher is not None
    (problem,) = [one["message"] for one in made.known_problems() if one["code"] == "host"]
    assert problem.startswith("broken runs without recovery: its plugin cannot be used: ")
    assert reason in problem
    process._before_fork()
    assert main(["doctor", "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)["problems"]
    assert "wv_utils:fetch of broken runs without recovery: its plugin cannot be used" in told
    assert reason in told


def test_what_could_not_be_attached_is_tried_anew_with_the_next_call(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the functions of the launcher would be run by something that is only half there."""
    write(wv_utils=FETCH)
    with monkeypatch.context() as patch:
        patch.setattr(RecoveryIntegrator, "start", lambda self, rerun=None: _raises())
        weave([HOST], default=True)
        fetch = load("wv_utils").fetch
        assert fetch("u") == "got u"
        process._before_fork()
        assert integration.attached_integrator() is None
    assert fetch("u") == "woven got u"


def test_an_integrator_that_was_attached_already_is_used_as_it_is(write: Write) -> None:
    made = RecoveryIntegrator(RecoveryConfig(persistence_enabled=False))
    made.load()
    integration.set_recovery_integrator(made)
    presence = Presence(lambda: (), enabled=True)
    assert presence.integrator() is presence.integrator() is made
    assert made._resumer is None
    assert not made.config.enabled


def test_a_setting_that_says_off_is_not_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERY_ENABLED", "0")
    assert not Presence(lambda: (), enabled=True).integrator().config.enabled


def test_what_cannot_be_told_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*args: Any) -> None:
        raise StoreError("no disk")

    monkeypatch.setattr(owners, "introduce", fail)
    presence = Presence(lambda: (), enabled=True)
    presence.tell()
    presence.settle()
    assert caplog.messages == ["this process could not be entered among those that are woven: no disk"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_for_what_is_told_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before stores are put away, which that still needs."""
    presence = Presence(lambda: (), enabled=True)
    presence.integrator()
    begun, may_end, order = threading.Event(), threading.Event(), list[str]()

    def enter(made: RecoveryIntegrator) -> None:
        begun.set()
        may_end.wait(30)
        made.persistence.owners()
        order.append("told")

    monkeypatch.setattr(presence, "_enter", enter)
    presence.tell()
    begun.wait(30)
    monkeypatch.setattr(forks, "_waited_for", [may_end.set, *forks._waited_for])
    child = os.fork()
    if child == 0:
        os._exit(0 if order == ["told"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_told_stands_in_every_heartbeat_and_in_that_of_a_child(tmp_path: Path) -> None:
    store = SQLitePersistence(str(tmp_path / "recovery.db"))
    try:
        store.heartbeat(Owner("old", "h", 1, "s"), 5.0)
        owners.introduce(store, TOLD.to_json())
        rows = {row.owner.owner_id: row for row in store.owners()}
        assert rows["old"].owner.about is None
        assert about_of(rows[owners.OWNER.owner_id].owner.about) == TOLD
        before = vars(owners.OWNER).copy()
        first = owners._beating[store]
        owners._become_another()
        first._stop.set()
        assert owners.OWNER.owner_id != before["owner_id"]
        assert owners.OWNER.about == TOLD.to_json()
        assert {row.owner.about for row in store.owners()} == {None, TOLD.to_json()}
    finally:
        owners.let_go(store)
        store.close()


def test_a_store_in_memory_keeps_it_too() -> None:
    store = MemoryPersistence()
    store.heartbeat(Owner("a", "h", 1, "s", about="{}"), 5.0)
    assert [row.owner.about for row in store.owners()] == ["{}"]


@pytest.mark.parametrize("text", [None, "", "{}", "[]", "x", '{"standings": [{}]}', '{"standings": 5}', "null"])
def test_what_is_told_in_another_way_is_nothing(text: str | None) -> None:
    assert about_of(text) is None


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (["/v/bin/celery", "-A", "server.celery_app", "worker"], "worker"),
        (["/v/site-packages/celery/__main__.py", "worker"], "worker"),
        (["celery", "status"], "launcher"),
        (["server.py", "worker"], "launcher"),
        ([], "launcher"),
    ],
)
def test_the_role(argv: list[str], role: str) -> None:
    assert role_of(argv) == role


# -- doctor -----------------------------------------------------------------------------------------


def test_doctor_on_a_new_machine_is_content_and_makes_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECOVERY_ENCRYPTION_KEY", "a-secret-key")
    assert main(["doctor"]) == 0
    file = tmp_path / "recovery.db"
    # Other tests may run launchers meanwhile, in folders of their own.
    told = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("elsewhere: ")]
    assert told == [
        "recovery: off, unless it is started with launcher-recovery run",
        f"setting: persistence_path = {file} (RECOVERY_PERSISTENCE_PATH)",
        "setting: encryption_key = *** (RECOVERY_ENCRYPTION_KEY)",
        f"store: {file}: not there yet",
        "launchers known: ComfyUI Launcher",
        "processes: none runs",
    ]
    assert not file.exists()


def test_doctor_says_which_setting_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECOVERY_MODE", "sometimes")
    assert main(["doctor"]) == 1
    assert "a setting cannot be used: RECOVERY_MODE='sometimes'" in capsys.readouterr().err


def test_doctor_without_a_store_on_the_disk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RECOVERY_PERSISTENCE_PATH")
    monkeypatch.setenv("RECOVERY_PERSISTENCE_ENABLED", "false")
    monkeypatch.setenv("RECOVERY_ENABLED", "true")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "store: memory: well\n" in out
    assert out.startswith("recovery: on\n")


def test_doctor_says_why_the_store_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recovery.db").mkdir()
    assert main(["doctor", "--json"]) == 1
    captured = capsys.readouterr()
    shown = json.loads(captured.out)
    assert shown["store"]["problem"] == shown["problems"][0]
    assert "recovery.db" in captured.err


def test_doctor_says_what_a_store_says_that_is_there_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the password that may be in it."""
    closed: list[str] = []

    class Failing(MemoryPersistence):
        def check(self) -> None:
            raise StoreError("postgresql://me:secret-word@host/db is not there")

        def close(self) -> None:
            closed.append("closed")

    (tmp_path / "recovery.db").touch()
    monkeypatch.setattr(report, "open_store", lambda config, clock, say: Failing())
    found = report.examine(tmp_path / "proc")
    assert found.problems == ["postgresql://host/db is not there"]
    assert closed == ["closed"]


def test_doctor_tells_living_processes_from_dead_ones_and_woven_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLitePersistence(str(tmp_path / "recovery.db"))
    me = owners.this_process()
    late = report.time.time()
    store.heartbeat(replace(me, owner_id="me"), late - 5)
    store.heartbeat(replace(me, owner_id="dead", started="before", about=TOLD.to_json()), late)
    store.heartbeat(Owner("far", "elsewhere", 7, "s", about=TOLD.to_json()), late)
    store.heartbeat(Owner("gone", "elsewhere", 8, "s", about=TOLD.to_json()), late - 1000)
    store.close()
    monkeypatch.setattr(report.time, "time", lambda: late)
    found = {process.pid: process for process in report.examine().processes}
    assert set(found) == {me.pid, 7}
    assert (found[me.pid].is_woven, found[me.pid].role, found[me.pid].seen_s) == (False, "recovery", 5.0)
    assert (found[7].is_woven, found[7].role, found[7].machine) == (True, "worker", "elsewhere")


def test_doctor_goes_on_when_the_hosts_of_extensions_are_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(report, "known_hosts", fail)
    found = report.examine()
    assert found.problems == ["The launchers that can be woven into are not known: broken"]
    assert found.store


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc here")
def test_processes_of_a_known_launcher_are_found_and_told_when_they_are_not_woven(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "proc"
    monkeypatch.setattr(hosts_module, "BUILTIN", (HOST,))
    proc(place, 10, folder, "/v/bin/python", "wv_server.py", "--key=hf_abcdefghijklmnopqrstuvwxyz")
    proc(place, 11, folder.parent, "python3", "-u", f"{folder}/wv_server.py")
    proc(place, 12, folder, "/v/bin/python", "/v/bin/celery", "-A", "app", "worker")
    proc(place, 13, folder, "/v/bin/python", "/v/bin/celery", "-A", "app", "worker", parent=12)
    proc(place, 14, folder, "/v/bin/python", "/v/bin/celery", "status")
    proc(place, 15, tmp_path, "python", "other.py")
    proc(place, 16, folder, "vim", "wv_server.py")
    proc(place, os.getpid(), folder, "python", "wv_server.py")
    (place / "17").mkdir()
    (place / "self").mkdir()
    found = running([HOST], place)
    assert [(item.host, item.pid, item.parent) for item in found] == [
        *(("mine", 10, 1), ("mine", 11, 1), ("mine", 12, 1), ("mine", 13, 12)),
    ]
    assert [item.pid for item in unwoven(found, {12})] == [10, 11]
    assert running([Host("any", ())], place) == []
    elsewhere = report.examine(place)
    assert (elsewhere.processes, elsewhere.problems) == ([], [])
    assert elsewhere.elsewhere[0] == (
        f"Process 10 of mine in {folder} (/v/bin/python wv_server.py --key=***) runs without recovery, or keeps its "
        "state in another place"
    )
    monkeypatch.chdir(folder)
    told = report.examine(place)
    assert told.elsewhere == []
    assert [(item.pid, item.role, item.is_woven) for item in told.processes] == [
        *((10, "launcher", False), (11, "launcher", False), (12, "worker", False)),
    ]
    assert told.problems[0] == (
        "Process 10 of mine (/v/bin/python wv_server.py --key=***) runs without recovery, or keeps its state in "
        "another place: start it with launcher-recovery run -- in front, and with the same settings"
    )


def test_where_there_is_no_proc_nothing_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert running([HOST], tmp_path) == []
