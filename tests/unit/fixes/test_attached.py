"""What fixes set reaches the next attempt, whoever calls it: a retry, the operation around it, the launcher itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from launcher_recovery.errors import CommandError
from launcher_recovery.fixes import vault
from launcher_recovery.records import RecoveryState
from sample_launcher.hookspecs import hookimpl
from sample_launcher.hub import Hub
from tests.support import Host, wait_for

DEAD = "http://127.0.0.1:9/m.pt"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path, max_retries=1)
    yield made
    made.detach()


class Project:
    """Creates a project of one part, and goes on with what it is given for it."""

    def __init__(self, part: Callable[[], Any]) -> None:
        self.part = part

    @hookimpl(trylast=True)
    def launcher_create_project(self) -> Any:
        return {"part": self.part()}


def fix(host: Host, operation_id: str, name: str, **given: Any) -> None:
    fixes = host.integrator.fixes
    fixes.apply(operation_id, name, given, fixes.preview(operation_id, name, given).token)


def failed(host: Host, kind: str) -> str:
    """The id of the one that failed."""
    (found,) = host.operations(kind)
    assert found.state in (RecoveryState.FAILED, RecoveryState.EXHAUSTED), found.state
    return found.operation_id


def test_a_new_address_counts_when_the_project_calls_again_with_the_old_one(host: Host, hub: Hub) -> None:
    url = hub.add_model("m.pt", 1000)
    host.attach()
    host.manager.register(Project(lambda: host.download(url=DEAD)))
    with pytest.raises(requests.ConnectionError):
        host.create()
    fix(host, failed(host, "download"), "update_url", url=url)
    assert host.create() == {"part": str(host.folder / "m.pt")}
    assert (host.folder / "m.pt").read_bytes() == hub.content("m.pt")


def test_a_signed_address_serves_a_retry_from_the_record(host: Host, hub: Hub) -> None:
    url = hub.add_model("m.pt", 1000)
    host.attach()
    with pytest.raises(requests.ConnectionError):
        host.download(url=f"{DEAD}?X-Amz-Signature=0123456789abcdef")
    operation_id = failed(host, "download")
    fix(host, operation_id, "update_url", url=f"{url}?X-Amz-Signature=fedcba9876543210")
    host.integrator.retry(operation_id)
    wait_for(lambda: host.operations("download")[0].state is RecoveryState.SUCCESS, 20)
    assert (host.folder / "m.pt").read_bytes() == hub.content("m.pt")
    assert "fedcba9876543210" not in repr(host.operations())


def test_an_import_goes_on_without_a_node_and_does_not_try_it_again_later(host: Host) -> None:
    problems = ["another part failed"]

    def parts() -> str:
        host.install()
        if problems:
            raise ValueError(problems.pop())
        return "ready"

    host.attach()
    host.manager.register(Project(parts))
    with pytest.raises(CommandError, match="git ls-remote"):
        host.create()
    fix(host, failed(host, "install_node"), "skip_node")
    with pytest.raises(ValueError, match="another part failed"):
        host.create()
    assert host.create() == {"part": "ready"}
    (node,) = host.operations("install_node")
    assert (node.state, node.metadata["skipped"]) == (RecoveryState.SUCCESS, True)
    assert not (host.folder / "node").exists()


class Proxy(BaseHTTPRequestHandler):
    """Answers for every server, and remembers what it was asked."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Proxy-Authorization")))
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"model")

    def log_message(self, format: str, *arguments: Any) -> None: ...


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Its address, and what it is asked."""
    asked: list[tuple[str, str | None]] = []
    server = HTTPServer(("127.0.0.1", 0), type("One", (Proxy,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_goes_through_the_proxy_that_it_was_given_with_its_login(
    host: Host, proxy: tuple[str, list[tuple[str, str | None]]]
) -> None:
    address, asked = proxy
    host.attach()
    with pytest.raises(requests.RequestException):
        host.download(url="http://files.invalid/m.pt")
    fix(host, failed(host, "download"), "use_proxy", proxy=address, user="ann", password="secret-of-ann")
    assert host.download(url="http://files.invalid/m.pt") == str(host.folder / "m.pt")
    assert (host.folder / "m.pt").read_bytes() == b"model"
    assert asked[-1] == ("http://files.invalid/m.pt", "Basic YW5uOnNlY3JldC1vZi1hbm4=")
    assert "secret-of-ann" not in repr(host.operations())


def test_secrets_of_a_host_are_looked_for_in_its_own_folder_while_it_is_attached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, persistence_path=str(tmp_path / "its" / "recovery.db"))
    host.attach()
    assert vault.in_use({}).path == tmp_path / "its" / "secrets.json"
    assert host.integrator.fixes.tools.folder == tmp_path / "its"
    host.detach()
    environ = {"RECOVERY_PERSISTENCE_PATH": str(tmp_path / "other" / "recovery.db")}
    assert vault.in_use(environ).path == tmp_path / "other" / "secrets.json"
