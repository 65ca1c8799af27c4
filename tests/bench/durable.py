"""How fast a durable operation (intent, then success, both safe from a power cut) is, beside DBOS on SQLite.

python -m tests.bench.durable [FOLDER]     the folder decides which disk is measured; default: the current one

When RECOVERY_TEST_POSTGRES_URL names a PostgreSQL database it is measured too, in a schema that is dropped again.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests import server

THREADS = 32
PROCESSES, THREADS_EACH, SECONDS = 2, 4, 3.0


def percentile(values: list[float], part: float) -> float:
    """In milliseconds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] * 1000


def timed(work: Callable[[], object], threads: int, each: int) -> tuple[float, float, list[Exception]]:
    """Operations a second, the 99th percentile in ms, and errors of `each` operations in each of the threads."""
    took: list[float] = []
    errors: list[Exception] = []

    def run() -> None:
        for _ in range(each):
            begun = time.perf_counter()
            try:
                work()
            except Exception as error:
                errors.append(error)
            took.append(time.perf_counter() - begun)

    running = [threading.Thread(target=run) for _ in range(threads)]
    begun = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return (len(took) - len(errors)) / (time.perf_counter() - begun), percentile(took, 0.99), errors


def ours(where: str) -> Callable[[], object]:
    """One operation: entered with its first attempt (the intent), ended well."""
    from launcher_recovery import PostgresPersistence, SQLitePersistence
    from launcher_recovery.lifecycle import Lifecycle

    store = PostgresPersistence(where) if where.startswith("postgres") else SQLitePersistence(where)
    lifecycle = Lifecycle(store, owner_id="bench")

    def once() -> None:
        live = lifecycle.start(lifecycle.draft("work", (1,), {}, limit=3))[1]
        assert live is not None
        lifecycle.succeed(live, 1)
        lifecycle.detach(live)

    return once


def theirs(path: str) -> Callable[[], object]:
    """One DBOS workflow."""
    from dbos import DBOS

    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{path}", "log_level": "CRITICAL"})

    @DBOS.workflow()
    def workflow(value: int) -> int:
        return value

    DBOS.launch()
    return lambda: workflow(1)


def fsync_ms(folder: Path) -> float:
    with (folder / "fsync").open("wb") as file:
        begun = time.perf_counter()
        for _ in range(100):
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
        return (time.perf_counter() - begun) * 10


def child(where: str) -> None:
    """Commits of each thread, then the percentile and the number of errors, after a line on standard input."""
    once = ours(where)
    once()
    print("ready", flush=True)
    sys.stdin.readline()
    counts, took, errors = [0] * THREADS_EACH, [], []
    ends = time.monotonic() + SECONDS

    def run(number: int) -> None:
        while time.monotonic() < ends:
            begun = time.perf_counter()
            try:
                once()
            except Exception as error:
                errors.append(error)
            took.append(time.perf_counter() - begun)
            counts[number] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS_EACH)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(*counts, percentile(took, 0.99), len(errors), flush=True)


def processes(label: str, where: str) -> None:
    command = [sys.executable, "-m", "tests.bench.durable", "--child", where]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    lines = []
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        lines.append(process.communicate(timeout=120)[0].split())
    counts = [int(count) for line in lines for count in line[:THREADS_EACH]]
    p99, errors = max(float(line[-2]) for line in lines), sum(int(line[-1]) for line in lines)
    print(
        f"{label:18} {PROCESSES} processes x {THREADS_EACH} threads  {sum(counts) / SECONDS:9.0f} op/s"
        f"  p99 {p99:7.1f} ms  errors {errors}  slowest/fastest thread {min(counts) / max(counts):.2f}"
    )


def main() -> None:
    logging.disable(logging.CRITICAL)
    parent = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent)))
        print(f"fdatasync of 4 KiB: {fsync_ms(folder):.2f} ms")
        contenders = {"launcher-recovery": (ours, str(folder / "ours.db"))}
        if importlib.util.find_spec("dbos") is None:
            print("DBOS is not measured: the package dbos is missing (pip install dbos)")
        else:
            contenders["DBOS on SQLite"] = (theirs, str(folder / "theirs.db"))
        if server.URL:
            contenders["on PostgreSQL"] = (ours, stack.enter_context(server.new_schema()))
        rates: dict[tuple[str, int], float] = {}
        for label, (make, where) in contenders.items():
            once = make(where)
            once()
            for threads, each in ((1, 300), (THREADS, 10 if make is theirs else 100)):
                rate, p99, errors = timed(once, threads, each)
                rates[label, threads] = rate
                print(f"{label:18} {threads:2} threads  {rate:9.0f} op/s  p99 {p99:7.1f} ms  errors {len(errors)}")
        for threads in (1, THREADS):
            if "DBOS on SQLite" in contenders:
                ratio = rates["launcher-recovery", threads] / rates["DBOS on SQLite", threads]
                print(f"ratio at {threads:2} threads: {ratio:.1f}")
        for label, (make, where) in contenders.items():
            if make is ours:
                processes(label, where)
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        main()
