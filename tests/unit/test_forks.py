"""A forked process, as Celery makes them, has connections, locks and an identity of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

SCRIPT = """
import gc, json, os, sys, threading, time
from pathlib import Path
from launcher_recovery import RecoveryData, SQLitePersistence, owners
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.persistence import ResilientPersistence

store = SQLitePersistence(sys.argv[1])
if sys.argv[2] == "resilient":
    store = ResilientPersistence(store)
memory = SQLitePersistence(":memory:")
memory.insert(RecoveryData("parent", "work"))
parent = owners.OWNER.owner_id
held = owners.OWNER
lifecycle = Lifecycle(store)
owners.keep_alive(store)
stop = threading.Event()
written = []

def write():
    while not stop.is_set():
        written.append(store.append_event("circuit_breaker_update", {}).seq)

writers = [threading.Thread(target=write) for _ in range(3)]
for writer in writers:
    writer.start()
children = []
for number in range(4):
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        assert held is owners.OWNER and held.owner_id != parent and held.pid == os.getpid()
        assert owners.is_alive(owners.OwnerRow(held, 0), 0)
        assert lifecycle.owner_id == lifecycle.draft("work", (), {}).owner == held.owner_id
        for count in range(50):
            assert store.insert(RecoveryData(f"{number}-{count}", "work")) is not None
        assert store.get(f"{number}-0") is not None
        assert memory.get("parent") is not None and memory.insert(RecoveryData("mine", "work")) is not None
        names = {thread.name for thread in threading.enumerate()}
        rows = [row.owner.owner_id for row in store.owners()]
        report = {"owner": held.owner_id, "beats": "recovery-heartbeat" in names, "rows": rows}
        os.write(writes, json.dumps(report).encode())
        gc.collect()
        os._exit(0)
    os.close(writes)
    children.append((pid, reads))
reports = []
for pid, reads in children:
    reports.append(json.loads(os.fdopen(reads).read()))
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for writer in writers:
    writer.join()
assert owners.OWNER.owner_id == parent and memory.get("mine") is None
store.check()
print(json.dumps({"parent": parent, "reports": reports, "written": len(written), "range": store.event_range(),
    "kept": len(store.find(limit=-1)), "dead": len(owners.dead_owners(store.owners(), time.time()))}))
store.close()
"""


@pytest.mark.parametrize("kind", ["plain", "resilient"])
def test_forked_children_and_their_parent_work_side_by_side(tmp_path: Path, kind: str) -> None:
    """Children forked while threads write, and the parent, all write on; each is an owner of its own that beats."""
    path = tmp_path / "recovery.db"
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path), kind]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, timeout=100, check=True)
    told = json.loads(done.stdout)
    ids = [report["owner"] for report in told["reports"]]
    assert len({told["parent"], *ids}) == 5
    for report in told["reports"]:
        assert report["beats"]
        assert {told["parent"], report["owner"]} <= set(report["rows"])
    assert told["kept"] == 200
    assert told["range"] == [1, 200 + told["written"]]
    assert told["dead"] == 4


MEMORY = """
import os, threading
from launcher_recovery import RecoveryData
from launcher_recovery.persistence import MemoryPersistence

store, lost = MemoryPersistence(), MemoryPersistence()
inside, go = threading.Event(), threading.Event()

def hold():
    with store._changed:
        inside.set()
        assert not go.wait(0.2)  # the fork waits until nobody is in the store
        store.insert(RecoveryData("before", "work"))

holder = threading.Thread(target=hold)
holder.start()
inside.wait()
del lost
pid = os.fork()
go.set()
if pid == 0:
    assert store.get("before") is not None and store.insert(RecoveryData("mine", "work")) is not None
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
holder.join()
assert store.insert(RecoveryData("after", "work")) is not None and store.get("mine") is None
"""


def test_store_in_memory_that_is_in_use(tmp_path: Path) -> None:
    """A fork waits for the thread that changes a store in memory; both sides go on with it, each for itself."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", MEMORY], timeout=60, check=True)


def test_subprocess_is_no_fork() -> None:
    """Starting a program closes no connection; that an identity stays is what its parent relies on."""
    from launcher_recovery import owners

    before = (owners.OWNER.owner_id, threading.active_count())
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert (owners.OWNER.owner_id, threading.active_count()) == before
    assert owners.OWNER.pid == os.getpid()


LOADING = """
import os, signal, threading
import begun
import launcher_recovery.persistence.forks

threading.Thread(target=__import__, args=("slow",)).start()
begun.begun.wait()
threading.Timer(0.2, begun.may_end.set).start()
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    from slow import value
    os._exit(value)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_child_can_import_what_another_thread_was_loading(tmp_path: Path) -> None:
    (tmp_path / "begun.py").write_text("import threading\nbegun, may_end = threading.Event(), threading.Event()\n")
    (tmp_path / "slow.py").write_text("import begun\nbegun.begun.set()\nbegun.may_end.wait()\nvalue = 7\n")
    (tmp_path / "loading.py").write_text(LOADING)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "loading.py")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
        text=True,
    )
    assert done.stdout == "7\n"
