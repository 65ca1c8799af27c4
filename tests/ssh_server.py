"""A real ssh server on this computer, on a free port, with keys of its own: for those who clone over ssh."""

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

from tests.support import wait_for


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    if found is None:
        pytest.skip(f"there is no {name}")
    return found


def make_key(path: Path) -> Path:
    """A key pair without a passphrase; the private one."""
    subprocess.run([_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


class SshServer:
    """What runs: `url` is for the repository at an absolute path.

    Args:
        folder: of its keys and settings.
        port: where it listens.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.key = folder / "key"
        self.known_hosts = folder / "known_hosts"

    def url(self, repository: Path) -> str:
        """The address of a repository."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{repository}"

    def knows(self, host_key: Path) -> None:
        """Have the client know the server by this key."""
        public = host_key.with_suffix(".pub").read_text()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}")

    def command(self, key: Path | None = None) -> str:
        """The ssh of a user with this key; default: the one that the server takes."""
        return (
            f"{_program('ssh')} -F {os.devnull} -i {key or self.key} -o IdentitiesOnly=yes"
            f" -o UserKnownHostsFile={self.known_hosts} -o GlobalKnownHostsFile={os.devnull}"
        )


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """A server that lets one key in, ended at the end; skips the test where none can run."""
    program = _program("sshd")
    _program("ssh")
    folder.mkdir()
    make_key(folder / "host")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = SshServer(folder, port)
    make_key(server.key)
    settings = {
        "ListenAddress": "127.0.0.1", "Port": port, "HostKey": folder / "host", "PidFile": folder / "pid",
        "AuthorizedKeysFile": folder / "key.pub", "StrictModes": "no", "UsePAM": "no", "PermitRootLogin": "yes",
        "PasswordAuthentication": "no", "KbdInteractiveAuthentication": "no",
    }  # fmt: skip
    config = folder / "config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    log = (folder / "log").open("wb")
    argv = [*_with_its_folder(), program, "-D", "-e", "-f", str(config)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log)
    try:
        wait_for(lambda: process.poll() is not None or _listens(port))
        if process.poll() is not None:
            pytest.skip(f"sshd does not run here: {(folder / 'log').read_text()}")
        server.knows(folder / "host")
        yield server
    finally:
        process.terminate()
        process.wait()
        log.close()


def _with_its_folder() -> list[str]:
    """What runs a program with the folder that sshd wants to be there when root starts it; it sees it alone."""
    if os.geteuid() != 0 or Path("/run/sshd").is_dir():
        return []
    return [
        _program("unshare"),
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$@"',
        "sh",
    ]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
