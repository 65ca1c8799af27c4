"""The hub as an object: start it, put models on offer, read the counts, end it."""

from __future__ import annotations

import functools
import os
import socket
import socketserver
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from . import content, resource, site
from .faults import Drop, Status
from .resource import Resource
from .serving import Connection
from .shelf import Model, Shelf

HOST = "127.0.0.1"
DEMO_MODEL = "demo-model.safetensors"
DEMO_SIZE = 256 << 20
DEMO_RATE = 24_000_000
DEMO_FAULTS = (Drop(after=70 << 20), Status(status=503, retry_after=3), Drop(after=80 << 20))
_NOTHING: dict[str, Any] = {"bytes_sent": 0, "requests": []}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, connection: type[Connection]) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((HOST, port), connection)

    def server_bind(self) -> None:
        # HTTPServer would look the host's name up, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


class Hub:
    """A faulty model hub on 127.0.0.1.

    Arguments: `port`, 0 (default) for any free one; `data_dir` for its git repositories and package index,
    None (default) for a temporary folder. Use it as a context manager, or call `start` and `close`.

    Raises OSError when the port is in use.
    """

    def __init__(self, port: int = 0, data_dir: str | os.PathLike[str] | None = None) -> None:
        self.shelf = Shelf()
        self.ended = threading.Event()
        """Set when the hub was asked to end."""
        self._guardian = os.getppid()
        self._adopted = False
        self._last_request = time.monotonic()
        self._site_lock = threading.Lock()
        self._site: Path | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._thread: threading.Thread | None = None
        self._server = _Server(port, type("HubConnection", (Connection,), {"hub": self}))
        self.port: int = self._server.server_port
        self.url = f"http://{HOST}:{self.port}"
        if data_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="hub-")
            data_dir = self._temporary.name
        self._folder = Path(data_dir)

    def start(self) -> Hub:
        """Serve from a thread of its own; returns the hub."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="hub", daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """End serving, hang up on every client, and remove the temporary folder."""
        self.ended.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        self._server.hang_up()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Hub:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_model(self, name: str, size: Any, faults: Sequence[Any] | None = None, rate: int | None = None) -> str:
        """Put a model on offer and return its URL.

        `size` is in bytes; `faults` are fault records or their JSON form, taken in order, one a GET;
        `rate` is in bytes a second, None for no limit. Raises ValueError when a value is no good.
        """
        self.shelf.put(Model(name, size, rate), faults)
        return self.model_url(name)

    def add_demo_model(self) -> str:
        """Put the demo model on offer, with the faults that the demo shows."""
        return self.add_model(DEMO_MODEL, DEMO_SIZE, DEMO_FAULTS, DEMO_RATE)

    def arm(self, path: str, faults: Sequence[Any] | None) -> None:
        """Arm faults for any path, such as /git/demo-node.git/info/refs. Raises ValueError."""
        self.shelf.arm(path, faults)

    def model_url(self, name: str) -> str:
        """Where a model is downloaded from."""
        return f"{self.url}/models/{name}"

    @property
    def node_url(self) -> str:
        """Where the demo node is cloned from."""
        return f"{self.url}/git/{site.NODE_REPOSITORY}"

    @property
    def comfyui_url(self) -> str:
        """Where the demo's ComfyUI is cloned from."""
        return f"{self.url}/git/{site.COMFYUI_REPOSITORY}"

    @property
    def index_url(self) -> str:
        """The Python package index that has what the demo's node and ComfyUI need."""
        return f"{self.url}/simple/"

    def _known(self, name: str) -> Model:
        model = self.shelf.model(f"/models/{name}")
        if model is None:
            raise KeyError(f"There is no model {name!r} on offer.")
        return model

    def sha256(self, name: str) -> str:
        """SHA-256 of a model as it is now. Raises KeyError when there is no such model."""
        return self.shelf.sha256(self._known(name))

    def content(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of a model as it is now, right ones whatever faults are armed. Raises KeyError."""
        model = self._known(name)
        length = max(0, model.size - start) if length is None else min(length, max(0, model.size - start))
        version = self.shelf.version(model.path)
        return b"".join(content.read(name, version, model.size, start, length))

    def shelf_stats(self, name: str) -> dict[str, Any] | None:
        """Counts of a model by its name, or of any path; None when there is no such thing."""
        path = name if name.startswith("/") else f"/models/{name}"
        return self.shelf.stats(path) or self.shelf.stats("/" + name.lstrip("/"))

    def stats(self, name: str) -> dict[str, Any]:
        """{"bytes_sent": int, "requests": [{"method", "range", "status", "sent", "fault"}...]}.

        `name` is a model's name or a path; all zero when it was never asked for.
        """
        return self.shelf_stats(name) or {**_NOTHING, "requests": []}

    def all_stats(self) -> dict[str, dict[str, Any]]:
        """The counts of everything: {"models": by name, "paths": of anything else, by path}."""
        return self.shelf.all_stats()

    def reset(self) -> None:
        """Clear the counts and arm every fault again."""
        self.shelf.reset()

    def build_site(self) -> Path:
        """Make the git repositories and the package index, unless that is done. Raises OSError."""
        with self._site_lock:
            if self._site is None:
                self._site = site.build(self._folder, self.url)
            return self._site

    def resource(self, path: str) -> Callable[[int], Resource] | None:
        """What gives the file at a URL path in a version, or None when there is no such file."""
        model = self.shelf.model(path)
        if model is not None:
            return functools.partial(resource.of_model, model)
        if path.startswith(("/git/", "/simple/")):
            file = site.find(self.build_site(), path)
            return functools.partial(resource.of_file, file) if file else None
        return None

    def touched(self) -> None:
        """Remember that somebody is using the hub."""
        self._last_request = time.monotonic()

    def idle(self) -> float:
        """Seconds since somebody used the hub."""
        return time.monotonic() - self._last_request

    def alone(self) -> bool:
        """Whether the process that looked after the hub is gone."""
        if not self._adopted:
            return os.getppid() != self._guardian
        try:
            os.kill(self._guardian, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def adopt(self, pid: int) -> bool:
        """Let process `pid` look after a hub whose former process is gone; whether it does now."""
        if not self.alone():
            return False
        self._guardian, self._adopted = pid, True
        return True

    def ask_to_end(self) -> None:
        """Have the process that waits for `ended` end the hub."""
        self.ended.set()
