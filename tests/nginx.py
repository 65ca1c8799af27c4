"""A real nginx in front of a launcher, as in images of the ComfyWorkflows launcher; installed where it is missing."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench import nginx
from tests.support import wait_for

# It passes no Upgrade header on, and speaks HTTP/1.0 to the launcher; the port is no part of the Host that it tells.
_CONFIG = """
{user}
daemon off;
pid "{folder}/pid";
error_log "{folder}/error.log";
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type application/octet-stream;
    gzip on;
    client_body_temp_path "{folder}/client";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{launcher};
            proxy_http_version 1.0;
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


def _install() -> str:
    """Install it; returns what was tried and what it said."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "that needs apt-get and root"
    told = []
    # A new machine has no list of packages yet.
    for argv in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "nginx-light"]):
        done = subprocess.run(
            argv,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        said = (done.stdout + done.stderr).strip().splitlines()
        told.append(
            f"{' '.join(argv)} ended with exit status {done.returncode}: {said[-1] if said else 'it is silent'}"
        )
    return "; ".join(told)


def program() -> str:
    """The path of nginx; where there is none it is installed, never skipped."""
    found = nginx.program()
    if found is None:
        tried = _install()
        found = nginx.program()
        if found is None:
            pytest.fail(f"These tests need nginx, and it could not be installed ({tried}). {nginx.MISSING}")
    return found


@contextmanager
def in_front_of(launcher: int, folder: Path) -> Iterator[str]:
    """Have nginx on 127.0.0.1, before a launcher on a port of the same; its address. `folder` is for what it needs."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    config = folder / "nginx.conf"
    # Its workers would be "nobody", who cannot write to a temporary folder.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    config.write_text(_CONFIG.format(user=user, folder=folder, port=port, launcher=launcher))
    with (folder / "said").open("wb") as said:
        command = [program(), "-p", str(folder), "-c", str(config)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def listens() -> bool:
        assert process.poll() is None, (folder / "said").read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            return False
        return True

    try:
        wait_for(listens, pause_s=0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
