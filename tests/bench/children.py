"""Downloads by Python code, each in a process of its own: python -m tests.bench.children WHO URL FILE SHA256

The last line printed is {"seconds": …}: the time of the work alone, without the start of Python and the imports.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Download = Callable[[str, Path, str], None]


def ours() -> Download:
    """The one public call, with all that is kept of it; whatever it imports or opens later than now is its work."""
    # Peewee loads the driver of PostgreSQL where there is one, as there is for the tests; this store is SQLite.
    sys.modules["psycopg"] = None  # type: ignore[assignment]
    from launcher_recovery.transfer import download

    def once(url: str, file: Path, sha256: str) -> None:
        download(url, file, sha256=sha256)

    return once


def huggingface() -> Download:
    # Its timeouts, retries and size of chunks are the library's own; a checksum is not part of it.
    http_get = importlib.import_module("huggingface_hub.file_download").http_get

    def once(url: str, file: Path, sha256: str) -> None:
        with file.open("wb") as opened:
            http_get(url, opened)
        _expect(file, sha256)

    return once


def pypdl() -> Download:
    make = importlib.import_module("pypdl").Pypdl
    trusted = os.environ.get("SSL_CERT_FILE")
    more: dict[str, Any] = {"ssl": ssl.create_default_context(cafile=trusted)} if trusted else {}

    def once(url: str, file: Path, sha256: str) -> None:
        if len(make().start(url, str(file), segments=4, display=False, **more)) != 1:
            raise SystemExit("pypdl gave up")
        _expect(file, sha256)  # which is quicker than its own way, by 4 KiB

    return once


def splice() -> Download:
    """The lower bound: bytes go from the socket to the file without passing through the process, unverified."""
    import fcntl

    piece = 1 << 20

    def once(url: str, file: Path, sha256: str) -> None:
        parts = urlsplit(url)
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, piece)
        with socket.create_connection((parts.hostname, parts.port)) as connection, file.open("wb") as opened:
            request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(1)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(head.decode("latin-1").splitlines()[0])
            source, target = connection.fileno(), opened.fileno()
            while moved := os.splice(source, writer, piece):
                while moved:
                    moved -= os.splice(reader, target, moved)
        for end in (reader, writer):
            os.close(end)

    return once


def _expect(file: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise SystemExit("the SHA-256 is wrong")


WHO: dict[str, Callable[[], Download]] = {
    "ours": ours,
    "huggingface": huggingface,
    "pypdl": pypdl,
    "splice": splice,
}


def main() -> None:
    who, url, file, sha256 = sys.argv[1:5]
    download = WHO[who]()
    # For the row of restarts, which wants to know when the work begins; the clock is one for all processes.
    print(json.dumps({"begins": time.monotonic()}), flush=True)
    begun = time.perf_counter()
    download(url, Path(file), sha256)
    print(json.dumps({"seconds": time.perf_counter() - begun}), flush=True)


if __name__ == "__main__":
    main()
