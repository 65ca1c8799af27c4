"""Eight processes start at once over what a dead one left: each operation is run by one of them, and by one only."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from launcher_recovery import RecoveryData, RecoveryState, SQLitePersistence
from launcher_recovery.persistence.base import Owner
from launcher_recovery.persistence.encryption import Seal
from launcher_recovery.persistence.models import to_columns
from launcher_recovery.persistence.statements import COLUMNS

PROCESSES = 8

# Takes over, then claims and ends whatever it can, as the resumer of a launcher does; prints what it has run. The
# starts are at the same moment: each waits for a line.
CLAIMER = """
import sys
from launcher_recovery import RecoveryStateError, SQLitePersistence
from launcher_recovery.clock import Clock
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.owners import OWNER
from launcher_recovery.resume import Resumer

clock = Clock()
store = SQLitePersistence(sys.argv[1])
lifecycle = Lifecycle(store, owner_id=OWNER.owner_id, clock=clock)
ran = []

class Inline(Resumer):
    def dispatch(self, data):
        try:
            claimed = lifecycle.begin_attempt(data.operation_id, 10)
        except RecoveryStateError:
            return  # another one was faster
        live = Operation(claimed, lifecycle, clock)
        ran.append(data.operation_id)
        lifecycle.succeed(live, OWNER.owner_id)

store.heartbeat(OWNER, clock.time())
print("ready", flush=True)
sys.stdin.readline()
Inline(lifecycle, {}, clock).sweep()
store.close()
print(OWNER.owner_id, *ran, flush=True)
"""


def fill(path: Path, count: int) -> set[str]:
    """What a process left that died in the middle of the first attempt of each."""
    store = SQLitePersistence(path)
    store.heartbeat(Owner("gone", "another-host", 1, "boot/1"), 0.0)
    store.close()
    rows = []
    for number in range(count):
        state = RecoveryState.RECOVERING if number % 5 == 0 else RecoveryState.IN_PROGRESS
        data = RecoveryData(f"{number}", "f", state=state, owner="gone", attempt=1, fence=1, kind="download")
        columns = to_columns(vars(data), Seal())
        rows.append(tuple(columns[name] for name in COLUMNS))
    with sqlite3.connect(path) as database:
        places = ", ".join("?" * len(COLUMNS))
        database.executemany(f"INSERT INTO recovery_data ({', '.join(COLUMNS)}) VALUES ({places})", rows)
        attempts = [(row[COLUMNS.index("operation_id")],) for row in rows]
        database.executemany(
            "INSERT INTO recovery_attempts (operation_id, number, started_at) VALUES (?, 1, 0)", attempts
        )
    database.close()
    return {row[0] for row in attempts}


def claim(path: Path) -> list[list[str]]:
    """The owner and what it ran, of each process."""
    command = [sys.executable, "-c", CLAIMER, str(path)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        found = [process.communicate(timeout=600)[0].split() for process in started]
        assert [process.returncode for process in started] == [0] * PROCESSES
    finally:
        for process in started:
            process.kill()
            process.communicate()
    return found


def torture(path: Path, count: int) -> None:
    left = fill(path, count)
    found = claim(path)
    runs = Counter(operation_id for _, *ran in found for operation_id in ran)
    assert set(runs) == left
    assert set(runs.values()) == {1}
    by = {operation_id: owner for owner, *ran in found for operation_id in ran}
    # Read by itself, without the package's own code.
    with sqlite3.connect(path) as database:
        kept = database.execute("SELECT operation_id, state, attempt, fence, result FROM recovery_data").fetchall()
        attempts = database.execute(
            "SELECT operation_id, number, outcome FROM recovery_attempts ORDER BY operation_id, number"
        ).fetchall()
        seqs = [seq for (seq,) in database.execute("SELECT seq FROM recovery_outbox")]
    database.close()
    assert {row[0]: row[1:] for row in kept} == {
        operation_id: ("success", 2, 2, f'"{by[operation_id]}"') for operation_id in left
    }
    assert attempts == [
        (operation_id, number, outcome)
        for operation_id in sorted(left)
        for number, outcome in ((1, "interrupted"), (2, "success"))
    ]
    assert len(seqs) == len(set(seqs))


def test_eight_processes_claim_500(tmp_path: Path) -> None:
    torture(tmp_path / "recovery.db", 500)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_processes_claim_10000(tmp_path: Path) -> None:
    torture(tmp_path / "recovery.db", 10_000)
