"""What tests of node installs need: repositories, wheels, environments, and a server that fails as it is told."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import ssl
import subprocess
import threading
import venv
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pip
import pytest

from launcher_recovery.clock import Clock
from launcher_recovery.defaults import git
from launcher_recovery.kinds import OperationKind
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.nodes import interpreter
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.memory import MemoryPersistence

NODE: OperationKind = git.recovery_operations()[0]


class Attempts:
    """One operation over several attempts; each `next` is what a restarted process would have."""

    def __init__(self) -> None:
        self.lifecycle = Lifecycle(MemoryPersistence(), owner_id="me")
        self.id = self.lifecycle.open("launcher_install_node", (), {}, title="node").operation_id
        self.live: Operation | None = None

    def next(self) -> Operation:
        self.lifecycle.store.release_orphans({"me"}, self.lifecycle.store.find()[0].created_at)
        self.live = Operation(self.lifecycle.begin_attempt(self.id, 9), self.lifecycle, Clock())
        self.lifecycle.attach(self.live)
        return self.live

    def steps(self) -> list[str]:
        return [step.name for step in self.lifecycle.store.steps(self.id)]

    @property
    def metadata(self) -> dict[str, Any]:
        """As it is kept."""
        data = self.lifecycle.store.get(self.id)
        assert data is not None
        return data.metadata


def install(
    operation: Operation, url: str, destination: Path, ref: str | None = None, python: str | Path | None = None
) -> Any:
    """One attempt of an install."""
    assert NODE.handler is not None
    arguments = {
        "url": url, "destination": str(destination), "ref": ref, "python": python and str(python), "project_id": None,
    }  # fmt: skip
    return NODE.handler(operation, arguments, lambda url: ())


def staging(destination: Path) -> Path:
    """Where a node is made before it is in its place."""
    return destination.with_name(f".{destination.name}.part.disabled")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# -- repositories -------------------------------------------------------------------------------------

_IDENTITY = {f"GIT_{role}_{what}": "a@b.invalid" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
# After each commit and push another process would look whether there is something to tidy up.
_UNTIDY = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "maintenance.auto", "GIT_CONFIG_KEY_1": "receive.autogc",
    "GIT_CONFIG_VALUE_0": "false", "GIT_CONFIG_VALUE_1": "false"}  # fmt: skip


def _git_environment() -> dict[str, str]:
    """That of a git which knows nothing of the machine, nor of what a test sets for the code that it tests."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**own, **_IDENTITY, **_UNTIDY, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def run_git(folder: Path, *words: str) -> str:
    """Run git in a folder; what it prints."""
    done = subprocess.run(
        ["git", *words], cwd=folder, check=True, capture_output=True, text=True, env=_git_environment()
    )
    return done.stdout.strip()


class Source:
    """A repository that is worked in: an empty one, or a copy of `like`."""

    def __init__(self, folder: Path, like: Source | None = None) -> None:
        self.folder = folder
        if like is not None:
            shutil.copytree(like.folder, folder, symlinks=True)
            return
        folder.mkdir(parents=True)
        run_git(folder, "init", "--quiet", "--initial-branch=main", "--template=")  # without samples of hooks

    def commit(self, content: Mapping[str, str | bytes], message: str = "x") -> str:
        """Commit these files, beside those that are there; the commit's name."""
        for name, text in content.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode() if isinstance(text, str) else text)
        run_git(self.folder, "add", "--all", "--force")
        run_git(self.folder, "commit", "--quiet", "--allow-empty", f"--message={message}")
        return self.head

    def git(self, *words: str) -> str:
        """Run git in it."""
        return run_git(self.folder, *words)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        """Its address on this disk."""
        return self.folder.as_uri()

    def add_submodule(self, url: str, path: str) -> str:
        """Commit a submodule."""
        run_git(self.folder, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, path)
        return self.commit({})


def noise(size: int, seed: str = "") -> bytes:
    """Bytes that do not get smaller by compression."""
    return hashlib.shake_128(seed.encode()).digest(size)


# -- packages -----------------------------------------------------------------------------------------


def wheel(name: str, version: str, requires: tuple[str, ...] = (), size: int = 0) -> tuple[str, bytes]:
    """File name and content of a wheel with one module of the package's name; `size` bytes are added to it."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    members: dict[str, bytes] = {
        f"{module}/__init__.py": f"version = {version!r}\n".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if size:
        members[f"{module}/data.bin"] = noise(size, name)
    record = ""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, data in members.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(data)}\n"
            archive.writestr(path, data)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return f"{module}-{version}-py3-none-any.whl", made.getvalue()


def make_environment(folder: Path, *wheels: tuple[str, bytes]) -> Path:
    """A virtual environment with the pip of the tests' own and these wheels; its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = packages_of(folder)
    own = Path(pip.__file__).parents[1]
    for path in (own / "pip", *own.glob(f"pip-{pip.__version__}.dist-info")):
        (packages / path.name).symlink_to(path)
    for _, data in wheels:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(packages)
    return folder / "bin" / "python"


def packages_of(environment: Path) -> Path:
    return next(environment.glob("lib/python3*/site-packages"))


def versions(environment: Path) -> dict[str, str]:
    """What is installed, but for pip."""
    found = [
        path.name.removesuffix(".dist-info").rsplit("-", 1) for path in packages_of(environment).glob("*.dist-info")
    ]
    return {name.replace("_", "-"): version for name, version in found if name != "pip"}


# -- the server ---------------------------------------------------------------------------------------


@dataclass
class Fault:
    """What happens to one answer: an HTTP status, a cut after so many bytes of the body, or silence."""

    status: int | None = None
    cut_after: int | None = None
    hangs: bool = False


@dataclass
class Asked:
    """A request: its method and path with the query, how many bytes of an answer were sent, and who asked."""

    method: str
    path: str
    sent: int = 0
    login: str | None = None


class Far:
    """An HTTP server for git (`/git/NAME`) and packages (`/simple/`); fails as `faults` say, each of them once.

    Args:
        folder: where its bare repositories are.
        is_dumb: it serves the files of repositories and nothing else.
        speaks_v2: it takes the newer protocol of git, in which any commit can be asked for.
        context: what it needs for TLS; None: it speaks HTTP.
        token: the password without which it gives nothing; None: it asks for none.
        redirects: where it sends everybody; None: nowhere.
    """

    def __init__(
        self,
        folder: Path,
        *,
        is_dumb: bool = False,
        speaks_v2: bool = True,
        context: ssl.SSLContext | None = None,
        token: str | None = None,
        redirects: str | None = None,
    ) -> None:
        self.folder = folder
        self.is_dumb = is_dumb
        self.speaks_v2 = speaks_v2
        self.token = token
        self.redirects = redirects
        self.faults: list[tuple[str, Fault]] = []
        self.asked: list[Asked] = []
        self.wheels: dict[str, bytes] = {}
        self.hashes: dict[str, str] = {}
        self.released = threading.Event()
        far = self

        class Handler(_Handler):
            pass

        Handler.far = far
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http{'' if context is None else 's'}://127.0.0.1:{self._server.server_port}"

    @property
    def host(self) -> str:
        """With the port."""
        return urlsplit(self.url).netloc

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, source: Source, name: str = "node.git") -> str:
        """Serve what a repository has now; its address."""
        bare = self.folder / name
        if not bare.exists():
            run_git(self.folder, "clone", "--quiet", "--mirror", "--template=", str(source.folder), str(bare))
        else:
            run_git(source.folder, "push", "--quiet", "--mirror", str(bare))
        if self.is_dumb:
            run_git(bare, "repack", "-a", "-d", "--quiet")
            run_git(bare, "update-server-info")
        return f"{self.url}/git/{name}"

    def offer(self, *wheels: tuple[str, bytes]) -> None:
        """Have these packages."""
        self.wheels.update(wheels)

    def requirements(self, *lines: str) -> str:
        """The text of a requirements.txt for packages of this server."""
        return "".join(f"{line}\n" for line in (f"--index-url {self.url}/simple", *lines))

    def fail(self, path: str, *faults: Fault) -> None:
        """Fail the next requests whose path has `path` in it, one after the other."""
        self.faults += [(path, fault) for fault in faults]

    def count(self, path: str) -> int:
        """How many requests have `path` in theirs."""
        return sum(path in one.path for one in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    far: Far
    _asked: Asked

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        far = self.far
        self._asked = Asked(self.command, self.path, login=self.headers.get("Authorization"))
        far.asked.append(self._asked)
        if far.redirects is not None:
            self._send(302, {"Location": f"{far.redirects}{self.path}"}, b"", None)
            return
        if far.token is not None and not self._is_known(far.token):
            # Some servers repeat what they were asked with.
            said = f"who asks? not {self._asked.login}".encode()
            self._send(401, {"WWW-Authenticate": 'Basic realm="x"', "Content-Type": "text/plain"}, said, None)
            return
        fault = Fault()
        for number, (path, one) in enumerate(far.faults):
            if path in self.path:
                fault = one
                del far.faults[number]
                break
        if fault.status is not None:
            self._send(fault.status, {}, b"not now", None)
            return
        if fault.hangs:
            far.released.wait(60)
            self.close_connection = True
            return
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/git/"):
            status, headers, content = self._git(path.removeprefix("/git"), body)
        else:
            status, headers, content = self._package(path)
        self._send(status, headers, content, fault.cut_after)

    def _is_known(self, token: str) -> bool:
        scheme, _, login = (self._asked.login or "").partition(" ")
        return scheme == "Basic" and base64.b64decode(login).partition(b":")[2] == token.encode()

    def _send(self, status: int, headers: Mapping[str, str], content: bytes, cut_after: int | None) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if cut_after is None else content[:cut_after])
            self._asked.sent = len(content if cut_after is None else content[:cut_after])
            self.wfile.flush()
        except OSError:
            self.close_connection = True
        if cut_after is not None:
            self.close_connection = True

    def _package(self, path: str) -> tuple[int, dict[str, str], bytes]:
        far = self.far
        name = path.rpartition("/")[2]
        if path.startswith("/files/") and name in far.wheels:
            return 200, {"Content-Type": "application/octet-stream", "Cache-Control": "max-age=3600"}, far.wheels[name]
        package = path.removeprefix("/simple/").strip("/")
        found = [one for one in far.wheels if one.split("-")[0].replace("_", "-").lower() == package]
        if not path.startswith("/simple/") or not found:
            return 404, {"Content-Type": "text/plain"}, b"not here"
        links = []
        for one in found:
            digest = far.hashes.get(one, hashlib.sha256(far.wheels[one]).hexdigest())
            links.append(f'<a href="/files/{one}#sha256={digest}">{one}</a>')
        return 200, {"Content-Type": "text/html"}, f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()

    def _git(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        far = self.far
        if far.is_dumb:
            file = far.folder / path.lstrip("/")
            if self.command != "GET" or not file.is_file():
                return 404, {"Content-Type": "text/plain"}, b"not here"
            return 200, {"Content-Type": "application/octet-stream"}, file.read_bytes()
        environment = {
            **_git_environment(),
            "GIT_PROJECT_ROOT": str(far.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": urlsplit(self.path).query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        if far.speaks_v2 and "Git-Protocol" in self.headers:
            environment["GIT_PROTOCOL"] = self.headers["Git-Protocol"]
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=environment)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        return int(headers.pop("Status", "200").split()[0]), headers, content


@contextmanager
def far_away(folder: Path, **how: Any) -> Iterator[Far]:
    """A server, closed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    far = Far(folder, **how)
    try:
        yield far
    finally:
        far.close()


def alone_with_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip tries once, has a cache of its own, and knows nothing of this machine, nor of the world."""
    monkeypatch.setattr(interpreter, "PIP_RETRIES", 0)
    for name in os.environ:
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))
