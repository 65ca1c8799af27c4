"""A process of a Celery worker's pool that ends with threads of ours is not killed in the middle of telling so."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ENDS = """
import os, signal, threading, time
from celery.concurrency.prefork import process_destructor
from launcher_recovery import pools

undo = pools.end_in_peace()
{undo}
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
{thread}
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # as billiard does, in this thread
os.kill(os.getpid(), signal.SIGTERM)
print("ends by itself", flush=True)
os._exit(0)
"""
_HERE = "process_destructor(os.getpid(), 0)"
_IN_A_THREAD = "other = threading.Thread(target=process_destructor, args=(1, 0)); other.start(); other.join()"


def end(*, thread: str = _HERE, undo: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", _ENDS.format(thread=thread, undo=undo)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
def test_a_process_that_is_about_to_end_is_not_killed_in_the_meantime() -> None:
    assert end() == (0, "ends by itself\n")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
@pytest.mark.parametrize("how", [{"thread": _IN_A_THREAD}, {"undo": "undo()"}], ids=["of a thread only", "undone"])
def test_any_other_process_ends_when_it_is_told_to(how: dict[str, str]) -> None:
    assert end(**how) == (-15, "")
