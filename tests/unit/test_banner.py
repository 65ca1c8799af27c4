"""The script in the launcher's own pages: in which answers it is, and that all others stay as they are."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, jsonify, render_template, send_file
from werkzeug.test import TestResponse

from launcher_recovery.web.banner import MAX_PAGE, Banner
from launcher_recovery.web.security import HostNames

TAG = b'<script type="module" src="/recovery/banner.js"></script>'
PAGE = b"<!DOCTYPE html>\n<html><body><p>The launcher</p></body>\n</html>\n"
WITH_TAG = b"<!DOCTYPE html>\n<html><body><p>The launcher</p>" + TAG + b"</body>\n</html>\n"

Answer = Callable[..., TestResponse]


class Hosts:
    """The same app twice, as it is and with the script."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "dist" / "index.html"
        self.file.parent.mkdir()
        self.file.write_bytes(PAGE)
        self.plain, self.ours = self._make(folder), self._make(folder)
        self.banner = Banner(HostNames())
        self.ours.after_request(self.banner.put)

    def _make(self, folder: Path) -> Flask:
        dist = str(folder / "dist")
        app = Flask("host", root_path=str(folder), static_url_path="", static_folder=dist, template_folder=dist)
        app.errorhandler(404)(lambda error: render_template("index.html"))
        app.add_url_rule("/", view_func=lambda: render_template("index.html"), endpoint="index")
        app.add_url_rule("/api/projects", view_func=lambda: jsonify([{"html": PAGE.decode()}]), endpoint="projects")
        return app

    def add(self, make: Callable[[], Any], **options: Any) -> None:
        for app in (self.plain, self.ours):
            app.add_url_rule("/x", view_func=make, endpoint="x", **options)

    def both(self, path: str = "/x", method: str = "GET", **options: Any) -> tuple[TestResponse, TestResponse]:
        plain, ours = (
            app.test_client().open(path, method=method, buffered=True, **options) for app in (self.plain, self.ours)
        )
        return plain, ours


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path)


def _same(plain: TestResponse, ours: TestResponse) -> bool:
    return (plain.status, list(plain.headers), plain.data) == (ours.status, list(ours.headers), ours.data)


def _has_script(plain: TestResponse, ours: TestResponse) -> bool:
    assert ours.data.count(TAG) == 1
    assert ours.data.replace(TAG, b"") == plain.data
    assert ours.content_length == len(ours.data)
    return plain.status == ours.status


@pytest.mark.parametrize("path", ["/", "/index.html", "/api/nothing", "/a/b"])
def test_the_page_has_it_from_a_template_from_its_folder_and_for_what_is_not_known(hosts: Hosts, path: str) -> None:
    plain, ours = hosts.both(path)
    assert _has_script(plain, ours)
    assert ours.data.strip() == WITH_TAG.strip()


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (b"<HTML><BODY>x</BODY ></HTML>", b"<HTML><BODY>x" + TAG + b"</BODY ></HTML>"),
        (b"<!doctype html>x", b"<!doctype html>x" + TAG),
        (b"<html><body>'</body>'</body>", b"<html><body>'</body>'" + TAG + b"</body>"),
        (b"\xef\xbb\xbf\n<!-- x --><html lang=de>\xc3\xa4", b"\xef\xbb\xbf\n<!-- x --><html lang=de>\xc3\xa4" + TAG),
    ],
)
def test_it_stands_before_the_last_end_of_the_body_or_at_the_end(hosts: Hosts, page: bytes, expected: bytes) -> None:
    hosts.add(lambda: page)
    assert hosts.both()[1].data == expected


@pytest.mark.parametrize("path", ["/", "/index.html"])
def test_what_head_tells_is_what_get_tells(hosts: Hosts, path: str) -> None:
    _, got = hosts.both(path)
    _, told = hosts.both(path, "HEAD")
    assert told.data == b""
    assert [header for header in told.headers if header[0] != "Date"] == [
        header for header in got.headers if header[0] != "Date"
    ]
    assert told.content_length == len(got.data)


def _streamed() -> Response:
    return Response(iter([PAGE, PAGE]), mimetype="text/html")


def _of_unknown_length() -> Response:
    return Response(iter([PAGE]), mimetype="text/html", direct_passthrough=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: jsonify(html=PAGE.decode()),
        lambda: "",
        lambda: "<p>a part of a page</p>",
        lambda: Response(PAGE, mimetype="text/plain"),
        lambda: Response(PAGE, mimetype="application/xhtml+xml"),
        lambda: (PAGE, 404),
        lambda: (PAGE, 500),
        lambda: (PAGE, 206),
        lambda: (b"", 304),
        lambda: (gzip.compress(PAGE, mtime=0), 200, {"Content-Encoding": "gzip"}),
        lambda: (PAGE, 200, {"Cache-Control": "public, no-transform"}),
        lambda: (PAGE, 200, {"Content-MD5": "x"}),
        lambda: (PAGE, 200, {"Repr-Digest": "sha-256=:x:"}),
        lambda: Response("<html><body></body>".encode("utf-16"), content_type="text/html; charset=utf-16"),
        lambda: Response("<html><body></body>".encode("utf-16"), content_type="text/html"),
        lambda: Response(PAGE, content_type="text/html; charset=nonsense"),
        lambda: Response(PAGE.ljust(MAX_PAGE + 1), mimetype="text/html"),
        _streamed,
        _of_unknown_length,
    ],
)
def test_other_answers_stay_as_they_are(hosts: Hosts, make: Callable[[], Any]) -> None:
    hosts.add(make)
    assert _same(*hosts.both())


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/api/projects", {}),
        ("/", {"headers": {"Host": "evil.example"}}),
        ("/", {"method": "OPTIONS"}),
        ("/index.html", {"headers": {"Range": "bytes=0-9"}}),
        ("/index.html", {"headers": {"Range": "bytes=9000-"}}),
        ("/index.html", {"headers": {"If-Match": '"another"'}}),
    ],
)
def test_so_do_these(hosts: Hosts, path: str, options: dict[str, Any]) -> None:
    plain, ours = hosts.both(path, **options)
    for answer in (plain, ours):
        answer.headers.pop("Date", None)
    assert _same(plain, ours)


def test_other_methods_than_get_and_head_are_no_pages(hosts: Hosts) -> None:
    hosts.add(lambda: PAGE, methods=["POST"])
    assert _same(*hosts.both(method="POST"))


def test_a_page_in_another_charset_that_has_these_letters(hosts: Hosts) -> None:
    hosts.add(lambda: Response("<html>\xe4".encode("latin-1"), content_type="text/html; charset=iso-8859-1"))
    assert hosts.both()[1].data == b"<html>\xe4" + TAG


def test_what_the_launcher_itself_does_afterwards_is_done_to_the_page_with_the_script(tmp_path: Path) -> None:
    """It has come before, and so is asked after us."""
    hosts = Hosts(tmp_path)

    def compress(response: Response) -> Response:
        response.set_data(gzip.compress(response.get_data()))
        response.headers["Content-Encoding"] = "gzip"
        return response

    app = Flask("host")
    app.add_url_rule("/", view_func=lambda: PAGE, endpoint="page")
    app.after_request(compress)
    app.after_request(hosts.banner.put)
    assert gzip.decompress(app.test_client().get("/").data) == WITH_TAG


def test_below_a_path_the_script_is_too(hosts: Hosts) -> None:
    _, ours = hosts.both("/", environ_overrides={"SCRIPT_NAME": "/launcher"})
    assert b'<script type="module" src="/launcher/recovery/banner.js"></script></body>' in ours.data


# -- validators ---------------------------------------------------------------------------------------


def test_a_browser_that_keeps_the_page_from_before_gets_the_one_with_the_script(hosts: Hosts) -> None:
    before, _ = hosts.both("/index.html")
    kept = {"If-None-Match": before.headers["ETag"], "If-Modified-Since": before.headers["Last-Modified"]}
    for headers in (kept, {"If-Modified-Since": kept["If-Modified-Since"]}):
        plain, ours = hosts.both("/index.html", headers=headers)
        assert plain.status_code == 304
        assert (ours.status_code, ours.data) == (200, WITH_TAG)
        assert "Last-Modified" not in ours.headers
        assert "Accept-Ranges" not in ours.headers


def test_a_browser_that_keeps_ours_is_told_that_it_is_the_same_until_it_changes_or_we_are_gone(hosts: Hosts) -> None:
    _, first = hosts.both("/index.html")
    kept = {"If-None-Match": first.headers["ETag"]}
    plain, again = hosts.both("/index.html", headers=kept)
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert (plain.status_code, plain.data) == (200, PAGE)
    hosts.file.write_bytes(PAGE + b"<!-- new -->")
    _, changed = hosts.both("/index.html", headers=kept)
    assert (changed.status_code, changed.data) == (200, WITH_TAG + b"<!-- new -->")


def test_a_part_of_ours_is_not_asked_for_as_a_part_of_the_launchers(hosts: Hosts) -> None:
    _, first = hosts.both("/index.html")
    _, ours = hosts.both("/index.html", headers={"Range": "bytes=10-", "If-Range": first.headers["ETag"]})
    assert (ours.status_code, ours.data) == (200, WITH_TAG)


def test_a_weak_validator_stays_weak(hosts: Hosts) -> None:
    def make() -> Response:
        response = Response(PAGE, mimetype="text/html")
        response.set_etag("e", weak=True)
        return response

    hosts.add(make)
    assert hosts.both()[1].headers["ETag"] == 'W/"e-recovery"'


# -- errors -------------------------------------------------------------------------------------------


class _Unreadable:
    def __iter__(self) -> Any:
        raise OSError("no disk")


def test_a_page_that_cannot_be_read_is_left_to_the_server_and_told_once(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    response = Response(_Unreadable(), mimetype="text/html", direct_passthrough=True)
    response.content_length = 5
    with hosts.ours.test_request_context("/"):
        for _ in range(2):
            assert hosts.banner.put(response) is response
    assert response.direct_passthrough
    assert caplog.messages == ["a page of the launcher was left as it is: OSError: no disk"]


def test_the_files_of_a_page_are_closed(hosts: Hosts, recwarn: pytest.WarningsRecorder) -> None:
    """The answer is made of the bytes; what they came from is no longer needed."""
    opened: list[Any] = []

    def make() -> Response:
        file = hosts.file.open("rb")
        opened.append(file)
        response = send_file(file, mimetype="text/html")
        response.content_length = len(PAGE)
        return response

    hosts.add(make)
    plain, ours = hosts.both()
    assert _has_script(plain, ours)
    plain.close()
    ours.close()
    assert [file.closed for file in opened] == [True, True]
