"""Whenever the process that writes is killed: nothing that was acknowledged is lost, nothing finished is done again."""

from __future__ import annotations

import contextlib
import functools
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import postgres

STEPS = 3
THREADS = 3

# Runs operations of three steps in three threads. First those that an earlier life left, then new ones. Prints a fact
# after the call that made it lasting has returned, and notes on the disk each time that a step's work is done.
WRITER = """
import os, signal, sys, threading
from launcher_recovery import PostgresPersistence, SQLitePersistence
from launcher_recovery.clock import Clock
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.records import RecoveryState
from launcher_recovery.owners import OWNER, dead_owners

where, steps, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
is_server = where.startswith("postgres")
store = PostgresPersistence(where) if is_server else SQLitePersistence(where)
Connections = type(store._connections)
kill_at = int(sys.argv[4])
if kill_at:
    execute, said = Connections.execute, 0

    def killing(self, sql, parameters=()):
        global said
        said += 1
        if said == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(self, sql, parameters)

    Connections.execute = killing
clock = Clock()
store.heartbeat(OWNER, clock.time())
lifecycle = Lifecycle(store, owner_id=OWNER.owner_id, clock=clock)
lifecycle.release_orphans(dead_owners(store.owners(), clock.time()))
left = store.find(states={RecoveryState.PENDING, RecoveryState.RECOVERING}, limit=-1)
lock = threading.Lock()

def say(*fact):
    os.write(1, (" ".join(map(str, fact)) + "\\n").encode())

def run(data):
    data = lifecycle.begin_attempt(data.operation_id, 10**6)
    say("attempt", data.operation_id, data.attempt)
    live = Operation(data, lifecycle, clock)
    for number in range(steps):
        name = f"step-{number}"

        def work():
            say("ran", data.operation_id, name)
            return {"by": OWNER.owner_id, "number": number}

        live.step(name, work)
        say("step", data.operation_id, name)
        live.progress(number, steps)
    if int(data.operation_id[:2], 16) % 4 == 0 and data.attempt < 3:
        ended = lifecycle.end_attempt(live, RecoveryState.RECOVERING, ConnectionError("gone"), category="network",
            explanation="It broke.", fix=None, fruitless=1, limit=10**6, delay=60)
        say("due", data.operation_id, repr(ended.next_attempt_at.timestamp()))
        run(ended)
        return
    lifecycle.succeed(live, "fine")
    say("success", data.operation_id)

def work():
    while True:
        with lock:
            data = left.pop() if left else None
        if data is None:
            data = lifecycle.open("work", (1,), {})
            say("open", data.operation_id)
        run(data)

for _ in range(threads):
    threading.Thread(target=work).start()
"""


class Place:
    """Where a store is, read by itself, without the package's own code."""

    def __init__(self, where: str) -> None:
        self.where = where

    def read(self) -> Callable[[str], list[Any]]:
        """What runs queries, after all that was under way there has come to its end."""
        raise NotImplementedError


class File(Place):
    def read(self) -> Callable[[str], list[Any]]:
        def query(sql: str) -> list[Any]:
            with contextlib.closing(sqlite3.connect(self.where)) as database:
                return database.execute(sql).fetchall()

        assert query("PRAGMA integrity_check") == [("ok",)]
        return query


class Server(Place):
    def read(self) -> Callable[[str], list[Any]]:
        # A process of the server goes on with its statement for a moment when its client is dead.
        others = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND pid <> pg_backend_pid()"
        name = parse_qs(urlsplit(self.where).query)["application_name"][0]
        while postgres.rows(self.where, others, name):
            time.sleep(0.001)
        return functools.partial(postgres.rows, self.where)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=postgres.needs_server)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A new database of each kind in turn."""
    if request.param == "sqlite":
        yield File(str(tmp_path / "recovery.db"))
        return
    with postgres.new_schema() as url:
        yield Server(f"{url}&application_name={url.rpartition('%3D')[2]}")


def life(where: str, seconds: float, statement: int = 0) -> list[list[str]]:
    """Facts that one process printed in whole before it was killed.

    That many seconds after its first fact, or, with one thread, right before it writes its nth `statement`.
    """
    threads = 1 if statement else THREADS
    command = [sys.executable, "-c", WRITER, *map(str, (where, STEPS, threads, statement))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines: list[str] = []
    first = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        if statement:
            assert process.wait(30) == -signal.SIGKILL
            reader.join(20)
            return facts_of(lines)
        assert first.wait(30)
        time.sleep(seconds)
        assert process.poll() is None, "the writer ended by itself"
    finally:
        process.kill()
        process.wait(20)
        reader.join(20)
        process.stdout.close()
    return facts_of(lines)


def facts_of(lines: list[str]) -> list[list[str]]:
    return [line.split() for line in lines if line.endswith("\n")]


class Facts:
    """Everything that was ever acknowledged."""

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self.succeeded: set[str] = set()
        self.steps: set[tuple[str, str]] = set()
        self.attempts: dict[str, int] = {}

    def take(self, facts: list[list[str]]) -> None:
        """Those of one more life; fails when a finished step was run again, or an attempt has a wrong number."""
        for fact, operation_id, *rest in facts:
            if fact == "open":
                self.opened.add(operation_id)
            elif fact == "attempt":
                number = int(rest[0])
                assert number == self.attempts.get(operation_id, 0) + 1
                assert operation_id not in self.succeeded
                self.attempts[operation_id] = number
            elif fact == "ran":
                assert (operation_id, rest[0]) not in self.steps, f"{rest[0]} of {operation_id} was run again"
            elif fact == "step":
                self.steps.add((operation_id, rest[0]))
            elif fact == "success":
                self.succeeded.add(operation_id)

    def check(self, query: Callable[[str], list[Any]], due: dict[str, float]) -> None:
        rows = query("SELECT operation_id, state, attempt, fence, next_attempt_at FROM recovery_data")
        kept = {row[0]: row[1:] for row in rows}
        assert self.opened <= kept.keys()
        for operation_id in self.succeeded:
            assert kept[operation_id][0] == "success"
        assert self.steps <= set(query("SELECT operation_id, name FROM recovery_steps"))
        numbers: dict[str, list[int]] = {}
        for operation_id, number in query("SELECT operation_id, number FROM recovery_attempts ORDER BY number"):
            numbers.setdefault(operation_id, []).append(number)
        for operation_id, (state, attempt, fence, next_at) in kept.items():
            assert numbers.get(operation_id, []) == list(range(1, attempt + 1))
            # One attempt may have been entered whose acknowledgement was cut off by the kill.
            assert fence == attempt
            assert attempt - self.attempts.get(operation_id, 0) in (0, 1)
            self.attempts[operation_id] = attempt
            if state == "recovering":
                assert next_at == due.get(operation_id, next_at)
        seqs = [seq for (seq,) in query("SELECT seq FROM recovery_outbox ORDER BY seq")]
        assert len(seqs) == len(set(seqs))


def torture(place: Place, lives: Iterable[Callable[[str], list[list[str]]]]) -> None:
    facts = Facts()
    for live in lives:
        told = live(place.where)
        facts.take(told)
        # The last due time that was told of each operation, if nothing was told of it afterwards.
        last = {fact[1]: fact for fact in told}
        due = {fact[1]: float(fact[2]) for fact in last.values() if fact[0] == "due"}
        facts.check(place.read(), due)
    assert facts.succeeded
    assert facts.steps


def at_random(seed: int, kills: int) -> Iterator[Callable[[str], list[list[str]]]]:
    rng = random.Random(seed)
    for _ in range(kills):
        yield functools.partial(life, seconds=rng.uniform(0, 0.3))


def at_statements(statements: Iterable[int]) -> Iterator[Callable[[str], list[list[str]]]]:
    for statement in statements:
        yield functools.partial(life, seconds=0, statement=statement)


@pytest.mark.parametrize("seed", [7])
def test_six_kills(place: Place, seed: int) -> None:
    torture(place, at_random(seed, 6))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
def test_hundred_kills(place: Place, seed: int) -> None:
    torture(place, at_random(seed, 100))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_at_every_write(place: Place) -> None:
    """Long enough for two operations: every boundary of every kind of write is met, and those of taking over."""
    torture(place, at_statements([90, *range(1, 90)]))
