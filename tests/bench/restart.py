"""The row of restarts: a download is killed when most of it is there, and started again; when does a new byte come?

The server is one of its own, on 127.0.0.1, which notes when it has sent the first bytes of each answer's body.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.bench import measure
from tests.bench.contenders import OURS, Contender, Job

MIB = 1 << 20
GOAL_MS = 300.0
REST = 1 << 30
"""Bytes that are missing when it is killed; a start fetches some of them before it is killed in its turn."""

_STEP = 1 << 20
_ANEW = 64 << 20
_PATIENCE_S = 600.0


@dataclass(frozen=True)
class Beginning:
    """The first bytes of a body: when they were sent (monotonic seconds), and their place in the file."""

    at: float
    start: int


class Site:
    """Serves one file, whole or a range of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sent = 0
        self.begun: list[Beginning] = []
        self.changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answer", (_Answer,), {"site": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/model.safetensors"

    def note(self, start: int, count: int, is_first: bool) -> None:
        with self.changed:
            self.sent += count
            if is_first:
                self.begun.append(Beginning(time.monotonic(), start))
            self.changed.notify_all()

    def wait_for(self, holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Wait until something is so, as long as the process that brings it about is running."""
        until = time.monotonic() + _PATIENCE_S
        with self.changed:
            while not holds():
                if process.poll() is not None or time.monotonic() > until:
                    raise measure.CommandFailedError(f"ended too early (exit status {process.poll()})")
                self.changed.wait(0.05)

    def __enter__(self) -> Site:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Answer(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = self.site.path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), int(asked[2] or size - 1) + 1) if asked else (0, size)
        end = min(end, size)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.flush()
        with self.site.path.open("rb") as file:
            at = start
            while at < end:
                count = os.sendfile(self.connection.fileno(), file.fileno(), at, min(_STEP, end - at))
                self.site.note(at, count, at == start)
                at += count

    def setup(self) -> None:
        # What lies in the buffer of a socket counts as sent; there is not to be much of it.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 128 << 10)
        super().setup()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # who asked was killed
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def started(job: Job, contender: Contender) -> Iterator[subprocess.Popen[str]]:
    """The command, running; killed in the end, with all that it has started."""
    process = subprocess.Popen(
        contender.command(job),
        env=measure.environment(**job.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@dataclass(frozen=True)
class Start:
    """One start: seconds until the first byte, since it was started and since its work began, and where that lay."""

    since_start: float
    since_call: float
    at: int


def start_again(site: Site, job: Job, contender: Contender) -> Start:
    """Start it, and kill it with the first byte that it gets of the rest.

    Some ask for the whole file first, to learn its size, and hang up; who really takes it from there begins anew.
    """
    site.begun.clear()
    site.sent = 0
    begun = time.monotonic()
    with started(job, contender) as process:
        site.wait_for(lambda: site.sent > _ANEW or any(one.start for one in site.begun), process)
        first = next((one for one in site.begun if one.start), site.begun[0])
        process.kill()
        assert process.stdout is not None
        printed = process.stdout.read()
    called = re.match(r'{"begins": ([\d.]+)}', printed)
    return Start(first.at - begun, first.at - (float(called[1]) if called else begun), first.start)


def leave_partial(site: Site, job: Job, contender: Contender, size: int) -> None:
    """What is there of a download that was killed when `size` bytes had been sent."""
    if contender is not OURS:  # they go by the length of the file alone, and all of it is zeros
        with job.destination.open("wb") as file:
            file.truncate(size)
        return
    site.sent = 0
    with started(job, contender) as process:
        site.wait_for(lambda: site.sent >= size, process)
        process.kill()


def zeros(path: Path, length: int) -> str:
    """A file of zeros that takes no place; returns its SHA-256."""
    with path.open("wb") as file:
        file.truncate(length)
    digest, block = hashlib.sha256(), bytes(4 * MIB)
    for _ in range(length // len(block)):
        digest.update(block)
    digest.update(bytes(length % len(block)))
    return digest.hexdigest()


def compare(given: argparse.Namespace, folder: Path, contenders: Sequence[Contender], absent: Sequence[str]) -> None:
    """Print the row."""
    size = given.restart_size
    source = folder / "zeros"
    sha256 = zeros(source, size + REST)
    print(
        f"\nrestart: killed with {size / MIB:.0f} MiB there, until the first byte of the rest, median of {given.runs}"
    )
    print(f"{'':32}{'ms':>8}{'inside':>8}{'goes on at MiB':>16}")
    with Site(source) as site:
        for contender in contenders:
            target = folder / f"restart-{contender.name}"
            target.mkdir()
            job = Job(site.url, target / "model.safetensors", sha256, folder, goes_on=True)
            try:
                leave_partial(site, job, contender, size)
                measure.settle()
                starts = [start_again(site, job, contender) for _ in range(given.runs)]
                verdict = finish(job, contender, sha256)
            except measure.CommandFailedError as error:
                print(f"{contender.label}: failed, {error}")
                continue
            finally:
                for left in target.iterdir():
                    left.unlink()
            took, inside = (
                statistics.median(getattr(start, name) for start in starts) * 1000
                for name in ("since_start", "since_call")
            )
            goal = f"  goal: at most {GOAL_MS:.0f}" if contender is OURS else ""
            at = statistics.median(start.at for start in starts) / MIB
            print(f"{contender.label:32}{took:8.0f}{inside:8.0f}{at:16.1f}{goal}; {verdict}", flush=True)
    for line in absent:
        print(line)


def finish(job: Job, contender: Contender, sha256: str) -> str:
    """Let it go on to its end; says whether the file is right."""
    used = measure.run(contender.command(job), measure.environment(**job.environ))
    with job.destination.open("rb", buffering=0) as file:
        digest = hashlib.sha256()
        while block := file.read(4 * MIB):
            digest.update(block)
    right = "right" if digest.hexdigest() == sha256 else "WRONG"
    return f"then whole in {used.seconds:.1f} s, and {right}"
