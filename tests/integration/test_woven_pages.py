"""The host's own web process, run woven: its pages and views, live events by both transports, also behind nginx; and
that all else it answers is what it answers by itself, byte by byte."""

from __future__ import annotations

import gzip
import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import requests
import socketio

from tests.live import Client
from tests.nginx import in_front_of
from tests.standin import StandIn
from tests.standin.processes import PATIENCE_S, WEB, WORKER
from tests.support import LOOK_S, wait_for
from tests.woven_pages import Records, WovenHost

TAG = b'<script type="module" src="/recovery/banner.js"></script>'
_PAGES = ("/", "/index.html", "/api/nothing", "/a/b")
_JSON = {"Content-Type": "application/json"}
_OTHERS: list[tuple[str, str, dict[str, str], str | None]] = [
    ("GET", "/api/projects", {"Accept-Encoding": "gzip"}, None),
    ("GET", "/api/settings", {}, None),
    ("GET", "/api/get_config", {}, None),
    ("GET", "/api/open_models_folder", {}, None),
    ("GET", "/api/projects/nowhere", {}, None),
    ("POST", "/api/update_config", _JSON, "{}"),
    ("POST", "/api/update_config", _JSON, "{"),
    ("POST", "/api/projects/nowhere/delete", {}, ""),
    ("DELETE", "/api/settings", {}, None),
    ("OPTIONS", "/", {}, None),
    ("GET", "/index.html", {"Range": "bytes=3-8"}, None),
]
_UNCHANGED = {"If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT"}


class Told:
    """What a web process answers: the status, the headers but for the time, and the body."""

    def __init__(self, host: StandIn) -> None:
        try:
            self._port = host.start(WEB).port
            self.got = [self._answer("GET", path) for path in _PAGES]
            self.heads = [self._answer("HEAD", path) for path in _PAGES]
            self.unchanged = self._answer("GET", "/index.html", _UNCHANGED)
            self.others = [self._answer(*asked) for asked in _OTHERS]
        finally:
            host.kill()

    def _answer(
        self, method: str, path: str, headers: Mapping[str, str] = MappingProxyType({}), body: str | None = None
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, [one for one in answer.getheaders() if one[0] != "Date"], answer.read()
        finally:
            connection.close()


def test_what_is_no_page_is_answered_byte_by_byte_as_without_and_off_everything_is(tmp_path: Path) -> None:
    host = WovenHost(tmp_path / "h")
    plain = Told(host.made("plain"))
    off = Told(host.made("woven", RECOVERY_ENABLED="false"))
    assert (off.got, off.heads, off.unchanged, off.others) == (plain.got, plain.heads, plain.unchanged, plain.others)
    assert not (tmp_path / "h" / "recovery.db").exists()
    ours = Told(host.made("woven"))
    for asked, before, now in zip(_OTHERS, plain.others, ours.others, strict=True):
        assert now == before, asked
    for before, now, told in zip(plain.got, ours.got, ours.heads, strict=True):
        assert (now[0], told[0]) == (before[0], before[0])
        assert (now[2].count(TAG), now[2].replace(TAG, b"")) == (1, before[2])
        assert dict(now[1])["Content-Length"] == str(len(now[2]))
        assert told[1:] == (now[1], b"")
    assert plain.unchanged[0] == 304
    assert ours.unchanged == ours.got[_PAGES.index("/index.html")]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> WovenHost:
    return WovenHost(tmp_path_factory.mktemp("woven-pages"))


@pytest.fixture(scope="module")
def web(host: WovenHost) -> Iterator[StandIn]:
    """The woven web process."""
    made = host.made("woven")
    try:
        yield made.start(WEB)
    finally:
        made.kill()


@pytest.fixture
def records(host: WovenHost, web: StandIn) -> Iterator[Records]:
    with Records(host) as kept:
        yield kept


@pytest.fixture(scope="module")
def proxied(web: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address behind nginx."""
    with in_front_of(web.port, tmp_path_factory.mktemp("nginx") / "n") as url:
        yield url


def test_a_request_of_a_woven_view_gets_its_advice(web: StandIn) -> None:
    (web.projects / "mine").mkdir(parents=True)
    assert web.post("/api/projects/mine/delete").json() == {"success": True}
    assert "asked to delete mine" in web.log(WEB)
    assert not (web.projects / "mine").exists()


def test_it_serves_the_page_the_api_and_the_script_of_the_bar(web: StandIn) -> None:
    assert TAG in web.get("/").content
    assert "<title>Recovery</title>" in web.get("/recovery/").text
    script = web.get("/recovery/banner.js")
    assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert web.get("/api/recovery/status").json()["recovery"]["problems"] == []
    assert web.get("/api/recovery/nothing").status_code == 404
    refused = requests.get(f"{web.url}/api/recovery/status", headers={"Host": "evil.example"}, timeout=30)
    assert refused.status_code == 403


def _gets_events(client: Client, records: Records, project: str) -> None:
    live = records.attempt(records.queued(project, "My Project"))
    records.lifecycle.succeed(live, None)
    wait_for(lambda: client.of("recovery_completed"))
    assert [data["state"] for data in client.of("recovery_update")] == ["pending", "in_progress", "success"]
    assert {data["project"] for data in client.of("recovery_update")} == {project}
    assert client.subscribe({"since": 0})["reset"] is False


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
def test_live_events_arrive_under_the_hosts_own_run(web: StandIn, records: Records, transports: list[str]) -> None:
    client = Client(web.url, transports, Origin=web.url)
    try:
        _gets_events(client, records, f"by-{'-'.join(transports)}")
    finally:
        client.leave()
    assert "Traceback" not in web.log(WEB)


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_pages_of_other_sites_get_no_events(web: StandIn, headers: dict[str, str]) -> None:
    answer = requests.get(f"{web.url}/socket.io/?EIO=4&transport=polling", headers=headers, timeout=30)
    assert answer.status_code == 403


def test_behind_nginx_events_arrive_by_polling(proxied: str, records: Records) -> None:
    """It passes no request to upgrade on, and drops the port from the name of the host."""
    client = Client(proxied, ["polling"], Origin=proxied)
    try:
        _gets_events(client, records, "proxied")
    finally:
        client.leave()
    with pytest.raises(socketio.exceptions.ConnectionError):
        Client(proxied, ["websocket"], Origin=proxied)


def test_behind_nginx_the_page_has_the_script_and_a_browser_that_keeps_it_is_told_that_it_is_the_same(
    proxied: str,
) -> None:
    asked = {"Accept-Encoding": "gzip"}
    with requests.get(f"{proxied}/index.html", headers=asked, stream=True, timeout=30) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert TAG in gzip.decompress(answer.raw.read())
        kept = answer.headers["ETag"]
    assert kept.startswith("W/")
    again = requests.get(f"{proxied}/index.html", headers={**asked, "If-None-Match": kept}, timeout=30)
    assert (again.status_code, again.content) == (304, b"")


def _problems(web: StandIn) -> list[tuple[str, str]]:
    problems: list[dict[str, Any]] = web.get("/api/recovery/status").json()["recovery"]["problems"]
    return [(problem["code"], problem["message"]) for problem in problems]


def test_it_is_told_that_no_worker_listens_or_that_it_is_not_woven(
    host: WovenHost, web: StandIn, records: Records
) -> None:
    records.queued("waits", "My Project")
    (code, message) = wait_for(lambda: _problems(web), PATIENCE_S, LOOK_S)[0]
    assert (code, message[:40]) == ("no_worker", "My Project is queued, and no worker is l")
    plain = host.made("plain")
    try:
        plain.start(WORKER)
        told = wait_for(lambda: [one for one in _problems(web) if one[0] == "worker_not_woven"], PATIENCE_S, LOOK_S)
        assert told[0][1].endswith(
            "start it as `launcher-recovery run -- celery -A server.celery_app --workdir=. worker --loglevel=INFO`."
        )
    finally:
        plain.kill()
    woven = host.made("woven")
    try:
        woven.start(WORKER)
        wait_for(lambda: not _problems(web), PATIENCE_S, LOOK_S)
    finally:
        woven.kill()


def test_doctor_tells_that_the_pages_are_there(host: WovenHost, web: StandIn) -> None:
    web.get("/")
    found = json.loads(web.run_python(_DOCTOR))
    (process,) = [process for process in found["processes"] if process["pid"] == web.pid(WEB)]
    assert sorted(process["live"]) == ["/recovery/", "server:delete_project", "tasks:create_comfyui_project"]
    assert process["off"] == {}


_DOCTOR = """
import json
from launcher_recovery.weave.report import examine
print(json.dumps(examine().to_json()))
"""
