"""How long an event takes from the process where it happens to a client of the server: p50 and p99 in milliseconds.

A worker process opens operations in a store, a server process tails that and tells its Socket.IO clients, and this
process is such a client, by WebSocket and by polling. Beside it the peer: a server that does nothing but emit the same
events itself, without a store and without a worker.

    python -m tests.bench.events [--events 2000] [--pace 0.01]
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import socketio
from engineio.payload import Payload
from flask import Flask
from flask_socketio import SocketIO
from werkzeug.serving import WSGIRequestHandler, make_server

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.web import init_app

ROOT = Path(__file__).parents[2]
GOAL_MS = 150.0
_PATIENCE_S = 300.0
_EVENT = "recovery_update"
# What Python's polling client reads at once; that of browsers has no limit.
Payload.max_decode_packets = 10_000


class _Silent(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        return


def _waits(count: int, pace: float) -> Iterator[None]:
    """`count` moments, at `pace` seconds from each other on average, and in step with nothing."""
    chance = random.Random(7)
    for _ in range(count):
        time.sleep(chance.uniform(0.2, 1.8) * pace)
        yield


def write(path: str, count: int, pace: float) -> None:
    """The worker: opens operations whose title is the moment at which it does (CLOCK_MONOTONIC is that of all)."""
    store = SQLitePersistence(path)
    lifecycle = Lifecycle(store, owner_id="worker")
    for _ in _waits(count, pace):
        lifecycle.open("launcher_download", (), {}, kind="download", title=str(time.monotonic_ns()))
    store.close()


def serve(path: str, count: int, pace: float) -> None:
    """The server of recovery; without a path the peer, which emits events of its own once somebody has connected."""
    app = Flask("host")
    server = SocketIO(app, async_mode="threading")
    if path:
        integrator = RecoveryIntegrator(RecoveryConfig(), persistence=SQLitePersistence(path))
        init_app(app, integrator, server)
        integrator.load()
        integrator.start()
    else:

        @server.on("subscribe_recovery")
        def begin(request: object) -> dict[str, bool]:
            threading.Thread(target=emit, daemon=True).start()
            return {"reset": False}

        def emit() -> None:
            for _ in _waits(count, pace):
                server.emit(_EVENT, {"title": str(time.monotonic_ns())})

    listening = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Silent)
    print(listening.server_port, flush=True)
    listening.serve_forever()


def _command(part: str, path: str, count: int, pace: float) -> list[str]:
    return [sys.executable, "-m", "tests.bench.events", part, path, "--events", str(count), "--pace", str(pace)]


@contextmanager
def _served(path: str, count: int, pace: float) -> Iterator[str]:
    command = _command("serve", path, count, pace)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def latencies(transport: str, count: int, pace: float, *, peer: bool) -> list[float]:
    """Milliseconds that each event took to a client of that transport."""
    took: list[float] = []
    all_there = threading.Event()

    def take(data: dict[str, str]) -> None:
        took.append((time.monotonic_ns() - int(data["title"])) / 1e6)
        if len(took) == count:
            all_there.set()

    with tempfile.TemporaryDirectory() as folder:
        path = "" if peer else str(Path(folder) / "recovery.db")
        with _served(path, count, pace) as url:
            client = socketio.Client(reconnection=False)
            client.on(_EVENT, take)
            client.connect(url, transports=[transport], wait_timeout=30)
            client.call("subscribe_recovery", {"since": 0}, timeout=30)
            if not peer:
                subprocess.run(_command("write", path, count, pace), cwd=ROOT, check=True, timeout=_PATIENCE_S)
            if not all_there.wait(_PATIENCE_S):
                raise SystemExit(f"{count - len(took)} of {count} events did not arrive by {transport}")
            client.disconnect()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", nargs="?", choices=["serve", "write"], help=argparse.SUPPRESS)
    parser.add_argument("path", nargs="?", default="", help=argparse.SUPPRESS)
    parser.add_argument("--events", type=int, default=2000, help="how many (default: 2000)")
    parser.add_argument("--pace", type=float, default=0.01, help="seconds between them on average (default: 0.01)")
    given = parser.parse_args()
    if given.part is not None:
        (serve if given.part == "serve" else write)(given.path, given.events, given.pace)
        return
    print(f"{given.events} events, one each {given.pace:g} s; milliseconds; the goal is a p99 below {GOAL_MS:g}")
    print(f"{'transport':<11}{'way':<26}{'p50':>8}{'p99':>8}{'most':>8}")
    for transport in ("websocket", "polling"):
        for peer in (False, True):
            took = latencies(transport, given.events, given.pace, peer=peer)
            cuts = statistics.quantiles(took, n=100)
            name = "Socket.IO alone (peer)" if peer else "worker, store, server"
            print(f"{transport:<11}{name:<26}{cuts[49]:>8.1f}{cuts[98]:>8.1f}{max(took):>8.1f}", flush=True)


if __name__ == "__main__":
    main()
