"""With a token configured: who is let in by it, how a browser logs in and out, and what stays open."""

from __future__ import annotations

from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import Client, TestResponse

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.testing import VirtualClock
from launcher_recovery.web import init_app
from launcher_recovery.web.security.tokens import SESSION_S

TOKEN = "kestrel-over-the-9-hills"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HERE = {"Origin": "http://localhost"}
STATUS = "/api/recovery/status"


class Site:
    """A host with recovery and a token, and a browser of it."""

    def __init__(self, token: str | None = TOKEN) -> None:
        self.clock = VirtualClock()
        self.integrator = RecoveryIntegrator(
            RecoveryConfig(enabled=True, persistence_enabled=False, api_token=token),
            persistence=MemoryPersistence(),
            clock=self.clock,
        )
        self.app = Flask("host")
        self.app.add_url_rule("/", view_func=lambda: "the launcher")
        init_app(self.app, self.integrator, None)
        self.browser = self.app.test_client()

    def log_in(self, token: str = TOKEN, browser: Client | None = None, **options: Any) -> TestResponse:
        options.setdefault("headers", HERE)
        return (browser or self.browser).post(
            "/recovery/login", data={"token": token, **options.pop("data", {})}, **options
        )


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.integrator.stop()


def test_everything_needs_the_token_but_the_launcher_itself(site: Site) -> None:
    for path in ("/status", "/operations", "/health", "/operations/x", "/operations/x/advice"):
        answer = site.browser.get(f"/api/recovery{path}")
        assert answer.status_code == 401
        error = answer.get_json()["error"]
        assert (error["code"], error["params"]) == ("token_needed", {"login": "/recovery/login"})
        assert "RECOVERY_API_TOKEN" in error["message"]
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["Cache-Control"] == "no-store"
        assert site.browser.get(f"/api/recovery{path}", headers=BEARER).status_code in (200, 404)
    json = {"json": {}, "headers": {"X-Launcher-Recovery": "1"}}
    assert site.browser.post("/api/recovery/operations/x/pause", **json).status_code == 401
    json["headers"].update(BEARER)
    assert site.browser.post("/api/recovery/operations/x/pause", **json).status_code == 404
    assert site.browser.get("/").get_data() == b"the launcher"
    with site.browser.get("/recovery/banner.js") as script:
        assert script.status_code == 200


def test_a_browser_is_led_to_the_login_page_and_back(site: Site) -> None:
    answer = site.browser.get("/recovery/")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/recovery/login")
    page = site.browser.get("/recovery/login")
    assert page.status_code == 200
    assert page.headers["Cache-Control"] == "no-store"
    answer = site.log_in()
    assert (answer.status_code, answer.headers["Location"]) == (303, "/recovery/")
    with site.browser.get("/recovery/") as shown:
        assert shown.status_code == 200
    assert site.browser.get(STATUS).status_code == 200
    assert site.browser.get("/recovery/login").headers["Location"] == "/recovery/"
    left = site.browser.post("/recovery/logout", headers=HERE)
    assert (left.status_code, left.headers["Location"]) == (303, "/recovery/login")
    assert site.browser.get(STATUS).status_code == 401


def test_the_cookie_is_no_copy_of_the_token_and_is_kept_to_this_site(site: Site) -> None:
    (cookie,) = SimpleCookie(site.log_in().headers["Set-Cookie"]).values()
    assert TOKEN not in cookie.value
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"], cookie["max-age"]) == ("Strict", "/", str(SESSION_S))
    assert not cookie["secure"]
    for options in ({"base_url": "https://localhost"}, {"headers": {**HERE, "X-Forwarded-Proto": "https"}}):
        (cookie,) = SimpleCookie(site.log_in(**options).headers["Set-Cookie"]).values()
        assert cookie["secure"]


def test_a_session_ends_by_itself(site: Site) -> None:
    site.log_in()
    site.clock.advance(SESSION_S - 5)
    assert site.browser.get(STATUS).status_code == 200
    site.clock.advance(5)
    assert site.browser.get(STATUS).status_code == 401


def test_the_page_has_nothing_inline_and_says_where_the_form_was_sent_from(site: Site) -> None:
    page = site.browser.get("/recovery/login")
    text = page.get_data(as_text=True)
    assert "<script" not in text
    assert "style=" not in text
    assert "<style" not in text
    policy = page.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "form-action 'self'" in policy
    # With no-referrer a browser sends Origin: null.
    assert page.headers["Referrer-Policy"] == "same-origin"
    style = site.browser.get("/recovery/login.css")
    assert (style.status_code, style.mimetype) == (200, "text/css")
    style.close()


def test_it_speaks_the_language_of_the_browser(site: Site) -> None:
    for header, language in (("zh-TW,zh;q=0.9,en;q=0.8", "zh-CN"), ("fr,en", "en"), ("", "en"), ("de", "en")):
        text = site.browser.get("/recovery/login", headers={"Accept-Language": header}).get_data(as_text=True)
        assert f'<html lang="{language}">' in text
        assert ("登录" in text) is (language == "zh-CN")


def test_a_wrong_token_is_told_and_not_repeated(site: Site) -> None:
    answer = site.log_in("<b>wrong-token</b>")
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    text = answer.get_data(as_text=True)
    assert "That is not the token" in text
    assert "wrong-token" not in text


def test_wrong_tokens_slow_further_attempts_down_the_right_one_included(site: Site) -> None:
    assert [site.log_in("wrong").status_code for _ in range(7)] == [401] * 5 + [429] * 2
    answer = site.log_in()
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "1"
    assert "wait 1 seconds" in answer.get_data(as_text=True)
    assert site.log_in(environ_overrides={"REMOTE_ADDR": "10.0.0.7"}).status_code == 303
    site.clock.advance(1)
    assert site.log_in().status_code == 303


def test_right_tokens_are_not_slowed_down(site: Site) -> None:
    assert {site.log_in().status_code for _ in range(50)} == {303}


def test_a_form_is_accepted_only_from_this_site(site: Site) -> None:
    refused: list[tuple[dict[str, str], int]] = [
        ({}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ]
    for path in ("/recovery/login", "/recovery/logout"):
        for headers, status in refused:
            answer = site.browser.post(path, data={"token": TOKEN}, headers=headers)
            assert answer.status_code == status
            assert "Set-Cookie" not in answer.headers
        for headers in (HERE, {"Sec-Fetch-Site": "same-origin"}):
            assert site.browser.post(path, data={"token": TOKEN}, headers=headers).status_code == 303
    assert site.browser.get("/recovery/login", headers={"Host": "evil.example"}).status_code == 403
    assert site.browser.post("/recovery/login", json={"token": TOKEN}, headers=HERE).status_code == 415
    assert site.log_in("x" * 5000).status_code == 413


@pytest.mark.parametrize(
    ("wanted", "followed"),
    [
        ("/", "/"),
        ("/projects?x=1&y=<2>", "/projects?x=1&y=<2>"),
        ("//evil.example", "/recovery/"),
        ("/\\evil.example", "/recovery/"),
        ("http://evil.example", "/recovery/"),
        ("javascript:alert(1)", "/recovery/"),
        ("/a\r\nSet-Cookie: x=y", "/recovery/"),
        ("", "/recovery/"),
        ("/" + "x" * 600, "/recovery/"),
    ],
)
def test_it_leads_only_to_a_path_of_this_server(site: Site, wanted: str, followed: str) -> None:
    page = site.browser.get("/recovery/login", query_string={"next": wanted})
    escaped = followed.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f'name="next" value="{escaped}"' in page.get_data(as_text=True)
    answer = site.log_in(data={"next": wanted})
    assert answer.status_code == 303
    assert answer.headers["Location"].replace("%3C", "<").replace("%3E", ">") == followed
    assert site.browser.get("/recovery/login", query_string={"next": wanted}).status_code == 303


def test_below_a_prefix_everything_is_there(site: Site) -> None:
    prefix = {"base_url": "http://localhost/tool"}
    assert site.browser.get("/recovery/", **prefix).headers["Location"] == "/tool/recovery/login"
    assert site.browser.get(STATUS, **prefix).get_json()["error"]["params"] == {"login": "/tool/recovery/login"}
    answer = site.log_in(**prefix)
    assert answer.headers["Location"] == "/tool/recovery/"
    (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
    assert cookie["path"] == "/tool/"


def test_without_a_token_there_is_nothing_to_log_in_to() -> None:
    site = Site(None)
    for answer in (site.browser.get("/recovery/login"), site.log_in("anything")):
        assert (answer.status_code, answer.headers["Location"]) == (303, "/recovery/")
        assert "Set-Cookie" not in answer.headers
    answer = site.browser.post("/recovery/logout", headers=HERE)
    assert answer.status_code == 303
    assert "Set-Cookie" not in answer.headers
    assert site.browser.get(STATUS).status_code == 200
    site.integrator.stop()


def test_a_file_that_cannot_be_read_leaves_nothing_open() -> None:
    with pytest.raises(RecoveryConfigError, match="RECOVERY_API_TOKEN names the file /nowhere/token"):
        Site("file:/nowhere/token")


def test_too_many_requests_are_refused_until_it_is_time(site: Site) -> None:
    statuses = [site.browser.get(STATUS, headers=BEARER).status_code for _ in range(102)]
    assert statuses == [200] * 100 + [429] * 2
    answer = site.browser.get(STATUS, headers=BEARER)
    error = answer.get_json()["error"]
    assert (error["code"], error["params"], answer.headers["Retry-After"]) == (
        "too_many_requests",
        {"retry_after": 1},
        "1",
    )
    assert site.browser.get(STATUS, headers=BEARER, environ_overrides={"REMOTE_ADDR": "10.0.0.7"}).status_code == 200
    site.clock.advance(1)
    assert site.browser.get(STATUS, headers=BEARER).status_code == 200
