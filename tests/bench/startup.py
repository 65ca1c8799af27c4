"""How long a start takes until it is known what has to go on: a million operations recorded, a thousand of them live.

python tests/bench/startup.py [FOLDER]     the folder gets about 1 GB and is cleaned up; default: a temporary one

Each start is a fresh process, with the file in the cache of the system. A peer of the same kind is DBOS (see
tests/bench/durable.py), whose recovery looks its workflows up likewise; SQLite's own bare look-up is the lower bound.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from launcher_recovery import RecoveryData, RecoveryState, SQLitePersistence
from launcher_recovery.clock import to_datetime
from launcher_recovery.persistence.base import Owner
from launcher_recovery.persistence.encryption import Seal
from launcher_recovery.persistence.models import to_columns
from launcher_recovery.persistence.statements import COLUMNS

RECORDED, LIVE, STARTS = 1_000_000, 1_000, 7
LAST_YEAR = time.time() - 365 * 86400


def rows(number_of: int) -> list[tuple[object, ...]]:
    """Records as a launcher leaves them: the newest are live, spread over the states, of a process that is gone."""
    made = []
    for number in range(number_of - 20_000, number_of):
        is_live = number >= RECORDED - LIVE
        state = RecoveryState.IN_PROGRESS if number % 3 else RecoveryState.RECOVERING
        data = RecoveryData(
            f"{number:032x}",
            "launcher_recovery.plugin.launcher_download",
            kwargs={"url": f"https://huggingface.co/m/{number}.safetensors", "destination": f"/models/{number}"},
            state=state if is_live else RecoveryState.SUCCESS if number % 10 else RecoveryState.FAILED,
            attempt=1 + number % 3,
            fence=1 + number % 3,
            created_at=to_datetime(LAST_YEAR + number * 30),
            updated_at=to_datetime(LAST_YEAR + number * 30 + 25),
            kind="download",
            key=f"/models/{number}",
            title=f"{number}.safetensors",
            project=f"project-{number // 50}",
            owner="gone" if is_live else None,
        )
        columns = to_columns(vars(data), Seal(None))
        made.append(tuple(columns[name] for name in COLUMNS))
    return made


def build(path: Path) -> None:
    store = SQLitePersistence(path)
    store.heartbeat(Owner("gone", "another-host", 1, "boot/1"), LAST_YEAR)
    store.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA synchronous = OFF")
        places = ", ".join("?" * len(COLUMNS))
        for upto in range(20_000, RECORDED + 1, 20_000):
            made = rows(upto)
            database.executemany(f"INSERT INTO recovery_data ({', '.join(COLUMNS)}) VALUES ({places})", made)
            attempts = [(row[0], number + 1, LAST_YEAR) for row in made for number in range(int(row[3]))]
            sql = "INSERT INTO recovery_attempts (operation_id, number, started_at) VALUES (?, ?, ?)"
            database.executemany(sql, attempts)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


# What a start does, from the constructor to the list of what goes on; and until all of it is free to be run.
START = """
import json, sys, time
from launcher_recovery import SQLitePersistence
from launcher_recovery.clock import Clock
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.records import UNFINISHED
from launcher_recovery.owners import OWNER
from launcher_recovery.resume import Resumer

times = {}
begun = time.perf_counter()

def note(name):
    times.setdefault(name, (time.perf_counter() - begun) * 1000)

store = SQLitePersistence(sys.argv[1])
note("opened")
store.heartbeat(OWNER, time.time())
note("entered")
listed = store.find(states=UNFINISHED, limit=-1)
note("listed")
begun += time.perf_counter() - begun - times["entered"] / 1000  # which a start does not do
seen = []

class Noting(Resumer):
    def dispatch(self, data):
        note("first goes on")
        seen.append(data.operation_id)

Noting(Lifecycle(store, owner_id=OWNER.owner_id, clock=Clock()), {}).sweep()
note("all go on")
assert len(listed) == len(set(seen))
times["known"] = len(set(seen))
print(json.dumps(times))
store.close()
"""


def start(path: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", START, str(path)], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def bare(path: Path) -> float:
    """Milliseconds in which SQLite itself finds and reads the live ones."""
    begun = time.perf_counter()
    database = sqlite3.connect(path)
    found = database.execute(
        "SELECT * FROM recovery_data WHERE state IN ('pending', 'in_progress', 'recovering', 'paused')"
    ).fetchall()
    took = (time.perf_counter() - begun) * 1000
    database.close()
    assert len(found) == LIVE
    return took


def orphaned(path: Path) -> None:
    """Make the live ones those of a dead process again."""
    with sqlite3.connect(path) as database:
        live = "state IN ('pending', 'in_progress', 'recovering', 'paused')"
        database.execute(f"UPDATE recovery_data SET state = 'in_progress', owner = 'gone' WHERE {live}")
        database.execute("DELETE FROM recovery_owners")
        database.execute("DELETE FROM recovery_outbox")
        database.execute("UPDATE recovery_attempts SET ended_at = NULL, outcome = NULL WHERE outcome = 'interrupted'")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def main() -> None:
    parent = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        path = Path(folder) / "recovery.db"
        begun = time.perf_counter()
        build(path)
        print(
            f"{RECORDED:,} operations, {LIVE:,} of them live: {path.stat().st_size / 2**20:.0f} MiB,"
            f" built in {time.perf_counter() - begun:.0f} s"
        )
        print(f"bare SQLite, reading the live ones: {min(bare(path) for _ in range(STARTS)):.1f} ms")
        for title, prepare in (("after a crash", orphaned), ("again, nothing changed", None)):
            found = []
            for _ in range(STARTS):
                if prepare is not None:
                    prepare(path)
                found.append(start(path))
            assert all(one["known"] == LIVE for one in found)
            print(f"{title}, milliseconds since the constructor (median of {STARTS} starts; worst):")
            for name in ("opened", "entered", "listed", "first goes on", "all go on"):
                values = sorted(one[name] for one in found)
                print(f"  {name:14} {values[len(values) // 2]:8.1f} {values[-1]:8.1f}")


if __name__ == "__main__":
    main()
