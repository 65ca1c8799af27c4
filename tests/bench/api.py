"""How fast the API answers with many operations, beside a bare Flask view that gives the same bytes.

python -m tests.bench.api [OPERATIONS…]     default: 10000 100000
"""

from __future__ import annotations

import logging
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from flask import Flask, Response
from werkzeug.serving import make_server

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.records import FINAL, AttemptRecord, RecoveryData, RecoveryState
from launcher_recovery.web import init_app

REQUESTS = 200
_STATES = (
    "success",
    "success",
    "success",
    "success",
    "failed",
    "cancelled",
    "success",
    "success",
    "exhausted",
    "success",
)


def filled(store: SQLitePersistence, count: int) -> None:
    """Enter so many operations as launchers leave them, with an attempt each: in batches, which is quick."""
    from launcher_recovery.clock import to_datetime
    from launcher_recovery.persistence.base import Kept

    began = time.time() - count
    for first in range(0, count, 1000):
        batch = []
        for number in range(first, min(first + 1000, count)):
            state = RecoveryState(_STATES[number % len(_STATES)])
            at = to_datetime(began + number)
            name = f"model-{number}.safetensors"
            data = RecoveryData(
                operation_id=f"{number:032x}",
                function_name="launcher_download",
                kwargs={"url": f"https://example.org/{name}", "destination": f"/models/checkpoints/{name}"},
                state=state,
                attempt=1 + number % 3,
                metadata={"size": 6_938_041_050},
                created_at=at,
                updated_at=at,
                kind="download",
                key=f"download:/models/checkpoints/{name}",
                project=f"project-{number % 50}",
                title=name,
                category=None if state is RecoveryState.SUCCESS else "network",
                explanation=None if state is RecoveryState.SUCCESS else "The connection to example.org broke off.",
                fix=None if state is RecoveryState.SUCCESS else "check_connection",
                completed_at=at if state in FINAL else None,
            )
            batch.append(Kept(data, (AttemptRecord(data.attempt, at, at, state.value),), ()))
        store.take_over(batch, (), 0)


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The address at which an app is served."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def timed(session: requests.Session, url: str) -> tuple[float, float, bytes]:
    """The median and the 99th percentile in ms, and the answer."""
    took: list[float] = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        answer = session.get(url, timeout=60)
        took.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer.text
    took.sort()
    return took[len(took) // 2], took[int(len(took) * 0.99)], answer.content


def measure(count: int, folder: Path) -> None:
    """Print a table for so many operations."""
    store = SQLitePersistence(folder / "recovery.db")
    filled(store, count)
    integrator = RecoveryIntegrator(RecoveryConfig(enabled=True), persistence=store)
    integrator.load()
    app, bare = Flask("launcher"), Flask("bare")
    gate = init_app(app, integrator, None)
    gate.rates.take = lambda *given: 0  # type: ignore[method-assign]  # it is the API that is measured
    content = {"bytes": b""}
    bare.get("/")(lambda: Response(content["bytes"], mimetype="application/json"))
    session = requests.Session()
    session.trust_env = False
    print(f"{count} operations, {(folder / 'recovery.db').stat().st_size / 1e6:.0f} MB")
    print(f"{'GET':44}{'p50 ms':>8}{'p99 ms':>8}{'bytes':>9}{'bare p50':>10}{'ratio':>7}")
    with served(app) as url, served(bare) as plain:
        base = f"{url}/api/recovery"
        cursor = ""
        for _ in range(min(20, count // 200)):
            cursor = f"&before={cursor}" if cursor else ""
            cursor = session.get(f"{base}/operations?limit=200{cursor}", timeout=60).json()["next"]
        paths = {
            "status": "/status",
            "operations (50)": "/operations",
            "operations (200)": "/operations?limit=200",
            "operations, page 21 of 200": f"/operations?limit=200&before={cursor}",
            "operations, failed": "/operations?state=failed,exhausted",
            "operations, one project": "/operations?project=project-7",
            "operations, text that many have": "/operations?text=MODEL-7",
            "operations, text that none has": "/operations?text=nothing",
            "one operation": f"/operations/{count // 2:032x}",
            "events": "/events",
            "performance": "/performance",
            "health": "/health",
            "metrics": "/metrics",
        }
        for name, path in paths.items():
            median, worst, content["bytes"] = timed(session, f"{base}{path}")
            plain_median, _, _ = timed(session, f"{plain}/")
            size = len(content["bytes"])
            print(f"{name:44}{median:8.1f}{worst:8.1f}{size:9}{plain_median:10.1f}{median / plain_median:7.1f}")
    store.close()


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for count in [int(text) for text in sys.argv[1:]] or [10_000, 100_000]:
        with tempfile.TemporaryDirectory() as folder:
            measure(count, Path(folder))


if __name__ == "__main__":
    main()
