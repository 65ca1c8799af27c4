"""Functions that the tests of isolation run in other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from launcher_recovery import current_operation
from launcher_recovery.records import Transfer, utc_now


class Peculiar(Exception):
    def __init__(self, one: int, two: object) -> None:
        super().__init__(f"{one} and more")


def add(a: int, b: int) -> dict[str, Any]:
    print("this goes elsewhere")
    return {"sum": a + b, "pid": os.getpid()}


def steps(folder: Path) -> str:
    operation = current_operation()
    assert operation is not None
    operation.progress(operation.attempt, 2, "steps", "on the way")

    def once() -> str:
        with (folder / "runs").open("a") as file:
            file.write("x")
        return "made"

    made = operation.step("make", once)
    operation.step("open", object)  # which cannot leave this process
    operation.metadata["seen"] = made
    operation.save_metadata()
    if operation.attempt == 1:
        raise ConnectionError("gone")
    return made


def fails(kind: str) -> None:
    if kind == "missing":
        raise FileNotFoundError(2, "No such file", "x")
    if kind == "peculiar":
        raise Peculiar(1, object())
    if kind == "killed":
        os.kill(os.getpid(), 9)


def hangs(pids: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pids.with_suffix(".new").write_text(f"{os.getpid()} {child.pid}")
    pids.with_suffix(".new").rename(pids)
    time.sleep(600)


def unstorable() -> object:
    return object()


def makes_things(folder: Path) -> bool:
    operation = current_operation()
    assert operation is not None

    def make() -> object:
        with (folder / "runs").open("a") as file:
            file.write("x")
        return object()

    made = operation.step("make", make)
    is_same = operation.step("make", make) is made
    if operation.attempt == 1:
        raise ConnectionError("gone")
    return is_same


def transfers(hashes: str) -> list[Any]:
    operation = current_operation()
    assert operation is not None
    kept = operation.kept_transfer("/models/a")
    if kept is None:
        part = "/models/a.part"
        operation.keep_transfer(Transfer("/models/a", {"hashes": hashes}, part, None, 2**40, utc_now()))
        raise ConnectionError("gone")
    return [kept.destination, kept.journal, operation.keep_transfer(kept)]
