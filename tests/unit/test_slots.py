"""How many of the launcher's operations run at a time, where, and what those that wait are told."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.config import Limits
from launcher_recovery.operation import current_operation
from launcher_recovery.records import priority_of
from launcher_recovery.slots import Slots
from sample_launcher.hookspecs import hookimpl
from tests.support import Host, wait_for


def test_the_narrowest_goes_first() -> None:
    """An operation needs room at its place and among its kind; a kind or place without limit needs none."""
    slots = Slots(lambda: {"download": Limits(8, 4), "create_project": Limits(2, None), "check": Limits(None, None)})
    host, all_hosts = slots.of("download", "hub")
    assert [(host.limit, host.scope), (all_hosts.limit, all_hosts.scope)] == [(4, "hub"), (8, "download")]
    assert slots.of("download", "mirror")[1] is all_hosts
    assert slots.of("download", "mirror")[0] is not host
    assert [bulkhead.limit for bulkhead in slots.of("download", None)] == [8]
    assert [bulkhead.limit for bulkhead in slots.of("create_project", "p")] == [2]
    assert slots.of("check", "p") == slots.of("unknown", "p") == ()


def test_whatever_runs_pip_counts_for_its_environment() -> None:
    """ComfyUI, the packages of an import and nodes go into the same environments."""
    slots = Slots(lambda: {"install_node": Limits(4, 1)})
    node = slots.of("install_node", "/venv/bin/python")
    assert (
        slots.of("install_comfyui", "/venv/bin/python") == slots.of("install_requirements", "/venv/bin/python") == node
    )


def test_new_limits_count_for_what_is_there() -> None:
    """A changed setting is that of the bulkhead in use; one that nobody uses is forgotten."""
    limits = {"install_node": Limits(3, 1)}
    slots = Slots(lambda: limits)
    environment, all_of_them = slots.of("install_node", "/venv")
    limits["install_node"] = Limits(2, 5)
    assert slots.of("install_node", "/venv") == (environment, all_of_them)
    assert (environment.limit, all_of_them.limit) == (5, 2)
    del environment, all_of_them
    assert len(slots._bulkheads) == 0


@pytest.mark.parametrize(
    ("kind", "limits", "why", "until"),
    [
        ("download", Limits(None, 4), "4 other downloads from hub are", "one of them"),
        ("download", Limits(1, None), "Another download is", "that"),
        ("install_node", Limits(None, 1), "Another node install into the same Python environment is", "that"),
        ("create_project", Limits(4, None), "4 other project imports are", "one of them"),
    ],
)
def test_who_waits_is_told_why(kind: str, limits: Limits, why: str, until: str) -> None:
    """The sentence says how many of what are in front, and that nobody has to do anything."""
    (bulkhead,) = Slots(lambda: {kind: limits}).of(kind, "hub")
    assert bulkhead.reason == f"{why} under way. This one begins by itself as soon as {until} is done."


class Busy:
    """Handlers that stay until they are let go, and count who is inside."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.ran: list[str] = []
        self._lock = threading.Lock()

    def _stay(self, what: str) -> str:
        with self._lock:
            self.ran.append(what)
            self.inside[what] += 1
            self.most[what] = max(self.most[what], self.inside[what])
        assert self.go.wait(30)
        with self._lock:
            self.inside[what] -= 1
        return what

    @hookimpl(tryfirst=True)
    def launcher_download(self, url: str) -> str:
        return self._stay(url)

    @hookimpl(tryfirst=True)
    def launcher_install_node(self, python: str | None) -> str:
        return self._stay(python or "ours")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def host(item: object, **settings: Any) -> Host:
        made = Host(tmp_path, **settings)
        hosts.append(made)
        made.manager.register(item)
        made.attach()
        # Its clock would jump a second at each look of those that wait.
        made.integrator.clock.wait = lambda wake, seconds: wake.wait(0.01)  # type: ignore[method-assign]
        return made

    yield host
    for made in hosts:
        made.detach()


def together(calls: list[Callable[[], Any]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def test_downloads_share_out_hosts(make: Callable[..., Host]) -> None:
    """Of ten downloads from one host four run, one from another host beside them; all get through in the end."""
    busy = Busy()
    host = make(busy)
    hub, mirror = "http://hub/m.pt", "http://mirror/m.pt"
    calls = [lambda number=number: host.download(f"{number}.pt", hub) for number in range(10)]
    threads = together(calls)  # type: ignore[arg-type]
    wait_for(lambda: busy.inside[hub] == 4 and sum(one.waiting_for == "slot" for one in host.operations()) == 6)
    threads += together([lambda: host.download("other.pt", mirror)])
    wait_for(lambda: busy.inside[mirror] == 1)
    waiting = {one.explanation for one in host.operations() if one.waiting_for == "slot"}
    assert waiting == {
        "4 other downloads from hub are under way. This one begins by itself as soon as one of them is done."
    }
    busy.go.set()
    for thread in threads:
        thread.join(30)
    assert busy.most == {hub: 4, mirror: 1}
    assert [one.state.value for one in host.operations()] == ["success"] * 11


def test_one_install_at_a_time_into_an_environment(make: Callable[..., Host]) -> None:
    """Pip never runs twice at once in one environment; installs into others go on beside it."""
    busy = Busy()
    host = make(busy)
    pythons = ["/one/bin/python", "/one/bin/python", "/two/bin/python", None, sys.executable]
    calls = [lambda number=number: host.install(str(number), python=pythons[number]) for number in range(5)]
    threads = together(calls)  # type: ignore[arg-type]
    wait_for(
        lambda: sum(busy.inside.values()) == 3 and sum(one.waiting_for == "slot" for one in host.operations()) == 2
    )
    busy.go.set()
    for thread in threads:
        thread.join(30)
    assert [one.state.value for one in host.operations()] == ["success"] * 5
    assert busy.most["/one/bin/python"] == 1
    assert busy.most["ours"] + busy.most[sys.executable] <= 2


def test_the_one_that_a_person_finds_important_is_next(make: Callable[..., Host]) -> None:
    """Of those that wait the one of the highest priority goes first, also when it is set while they wait already."""
    busy = Busy()
    host = make(busy, concurrency={"download": Limits(1, None)})
    threads: list[threading.Thread] = []

    def begin(name: str) -> str:
        threads.extend(together([lambda: host.download(f"{name}.pt", f"http://hub/{name}")]))
        wait_for(lambda: waits(name) or busy.ran == [f"http://hub/{name}"])
        return next(one.operation_id for one in host.operations() if one.title == f"{name}.pt")

    def waits(name: str) -> bool:
        return any(one.title == f"{name}.pt" and one.waiting_for == "slot" for one in host.operations())

    ids = {name: begin(name) for name in ("running", "a", "b", "c", "d")}
    integrator = host.integrator
    # A place that somebody is about to get is not taken by who comes a moment later: they queue up before it is free.
    for name, priority in (("running", 9), ("d", 2), ("b", 1), ("c", 5), ("c", -1)):
        assert integrator.set_priority(ids[name], priority).metadata["priority"] == priority
    wanted = {"running": 9, "a": 0, "b": 1, "c": -1, "d": 2}
    [bulkhead] = integrator.slots.of("download", None)
    wait_for(lambda: [one.priority for one in bulkhead._queue] == [2, 1, 0, -1])
    busy.go.set()
    for thread in threads:
        thread.join(30)
    assert [url.rpartition("/")[2] for url in busy.ran] == sorted(wanted, key=lambda name: -wanted[name])


def test_parts_of_what_is_important_are_important(make: Callable[..., Host]) -> None:
    """The priority of an import is that of its downloads, of those that are there and of those that come."""
    came, go = threading.Event(), threading.Event()
    seen: list[int] = []

    class Import:
        @hookimpl(tryfirst=True)
        def launcher_create_project(self, project_id: str) -> dict[str, Any]:
            host.download("one.pt")
            host.download("two.pt")
            return {"made": project_id}

        @hookimpl(tryfirst=True)
        def launcher_download(self, destination: str) -> str:
            operation = current_operation()
            assert operation is not None
            came.set()
            assert go.wait(30)
            operation.check()
            seen.append(priority_of(operation.data))
            return destination

    host = make(Import())
    (thread,) = together([lambda: host.create("a")])
    assert came.wait(30)
    (project,) = host.operations("create_project")
    host.integrator.set_priority(project.operation_id, 3)
    go.set()
    thread.join(30)
    assert seen == [3, 3]
    assert [priority_of(one) for one in host.operations()] == [3, 3, 3]


def test_what_is_inside_another_needs_no_place_of_that_one(make: Callable[..., Host]) -> None:
    """With one slot for everything an import gets through: its downloads have slots of their own, and a download inside
    a download goes on that one's slot."""

    class Nested:
        @hookimpl(tryfirst=True)
        def launcher_create_project(self, project_id: str) -> dict[str, Any]:
            return {"made": host.validate(project_id=project_id), "got": host.download(f"{project_id}.zip")}

        @hookimpl(tryfirst=True)
        def launcher_validate_workflow(self, project_id: str) -> dict[str, Any]:
            return {"checked": project_id}

        @hookimpl(tryfirst=True)
        def launcher_download(self, destination: str) -> str:
            if destination.endswith(".zip"):
                host.download(Path(destination).with_suffix(".part").name)
            return destination

    one = Limits(1, 1)
    kinds = ("create_project", "validate_workflow", "download", "install_node")
    host = make(Nested(), concurrency=dict.fromkeys(kinds, one))
    threads = together([lambda: host.create("a"), lambda: host.create("b")])
    for thread in threads:
        thread.join(30)
    assert Counter(one.state.value for one in host.operations()) == {"success": 8}
