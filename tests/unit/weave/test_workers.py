"""Imports that nobody works on: it is said that no worker listens, or that the one which does is not woven."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import owners
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.joinpoints import Host
from launcher_recovery.persistence.base import Owner
from launcher_recovery.records import RecoveryData
from launcher_recovery.weave.standing import LIVE, About, Standing
from launcher_recovery.weave.workers import Workers
from tests.woven import proc

HOST = Host("mine", (), ("wv_server.py",))
_START = "start one as `launcher-recovery run -- celery …`, as the launcher starts it otherwise"
NO_WORKER = ("no_worker", f"My Project is queued, and no worker is listening: {_START}.")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc here")


class Site:
    """A woven web process, and what is on its machine."""

    def __init__(self, tmp_path: Path, folder: Path) -> None:
        self.integrator = RecoveryIntegrator(RecoveryConfig(persistence_enabled=False))
        self.folder, self.proc = folder, tmp_path / "proc"
        self.proc.mkdir()
        self.now = 0.0
        self.workers = Workers(self.integrator, HOST, folder, self.proc, lambda: self.now)
        self.integrator.watch("workers", self.workers.problems)

    def queue(self, title: str = "My Project", **more: Any) -> RecoveryData:
        lifecycle = self.integrator.lifecycle
        draft = lifecycle.draft("work", (), {}, **{"kind": "create_project", "project": "p", "title": title, **more})
        draft.owner = None  # whoever takes it from the queue
        draft.metadata["queued"] = {"task_id": "t", "at": 1.8e9}
        return lifecycle.enter(draft)

    def enter(self, owner: Owner, role: str, *hosts: str) -> None:
        """Have a woven process among the owners."""
        about = About(role, ("celery", "worker"), tuple(Standing(host, "a:b", LIVE) for host in hosts), "1")
        entered = Owner(owner.owner_id, owner.host, owner.pid, owner.started, about.to_json())
        self.integrator.persistence.heartbeat(entered, self.integrator.clock.time())

    def seen(self) -> list[tuple[str, str]]:
        """The problems that the status has some seconds later."""
        self.now += 10
        return [(problem["code"], problem["message"]) for problem in self.integrator.status()["problems"]]


@pytest.fixture
def site(tmp_path: Path, folder: Path) -> Iterator[Site]:
    made = Site(tmp_path, folder)
    yield made
    made.integrator.stop()


def test_without_queued_imports_nothing_is_wrong(site: Site) -> None:
    site.integrator.lifecycle.open("work", (), {}, kind="create_project", title="not queued")
    site.queue("a node", kind="install_node")
    assert site.seen() == []


def test_a_queued_import_without_a_worker_is_told_until_it_is_taken(site: Site) -> None:
    data = site.queue()
    assert site.seen() == [NO_WORKER]
    site.queue("Second")
    site.queue("Third")
    assert site.seen()[0][1].startswith("My Project and 2 more are queued, and no worker is listening")
    for queued in site.integrator.persistence.find():
        if queued.operation_id != data.operation_id:
            site.integrator.cancel(queued.operation_id)
    assert site.seen() == [NO_WORKER]
    site.integrator.cancel(data.operation_id)
    assert site.seen() == []


@pytest.mark.parametrize(
    ("role", "host", "expected"),
    [("worker", "mine", []), ("worker", "other", [NO_WORKER]), ("launcher", "mine", [NO_WORKER])],
)
def test_a_woven_worker_of_the_host_that_lives_is_one(
    site: Site, role: str, host: str, expected: list[tuple[str, str]]
) -> None:
    site.queue()
    site.enter(owners.this_process(), role, host)
    assert site.seen() == expected


def test_one_that_has_ended_and_one_that_is_not_woven_are_none(site: Site) -> None:
    site.queue()
    me = owners.this_process()
    site.enter(Owner("dead", me.host, me.pid, "another start"), "worker", "mine")
    site.integrator.persistence.heartbeat(me, site.integrator.clock.time())
    assert site.seen() == [NO_WORKER]


@on_linux
def test_a_worker_that_runs_but_is_not_woven_is_told_with_its_command_line(site: Site) -> None:
    site.queue()
    secret = "--broker=redis://:s3cret-word@h/0"
    proc(site.proc, 10, site.folder, "/v/bin/python", "wv_server.py", "worker")
    proc(site.proc, 11, site.folder, "/v/bin/python", "/v/bin/celery", "-A", "a b", "status")
    assert site.seen() == [NO_WORKER]
    proc(site.proc, 12, site.folder, "/v/bin/python", "/v/bin/celery", "-A", "server.celery_app", secret, "worker")
    ((code, message),) = site.seen()
    assert code == "worker_not_woven"
    assert message.startswith(
        "My Project is queued, and a worker is listening that recovery is not woven into: start it as "
        "`launcher-recovery run -- celery -A server.celery_app "
    )
    assert "s3cret-word" not in message
    site.enter(owners.this_process(), "worker", "mine")
    assert site.seen() == []


def test_it_is_looked_at_again_only_after_some_seconds(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    find = site.integrator.persistence.find
    monkeypatch.setattr(site.integrator.persistence, "find", lambda **by: looks.append(1) or find(**by))
    for site.now in (0.0, 1.0, 2.9):
        assert site.workers.problems() == []
    assert len(looks) == 1
    site.queue()
    site.now = 3.0
    assert len(site.workers.problems()) == 1
    assert len(looks) == 2


def test_what_cannot_be_looked_at_hides_no_other_problem(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**by: Any) -> Any:
        raise StoreError("no disk")

    site.queue()
    site.integrator.report_problem("mine", "Something else.")
    monkeypatch.setattr(site.integrator.persistence, "find", fail)
    assert site.seen() == [("mine", "Something else.")]


def test_who_watches_again_under_the_same_name_does_so_instead(site: Site) -> None:
    site.queue()
    site.integrator.watch("workers", lambda: [{"code": "one", "message": "One."}])
    assert site.seen() == [("one", "One.")]
