"""Logging in and out with a real browser, which decides itself what it tells of where a form was sent from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask_socketio import SocketIO
from playwright.sync_api import Browser, Page, expect

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.web import init_app
from tests.browser.axe import breaches
from tests.browser.conftest import OpenPage, served

# The first one may have to install the browser.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

TOKEN = "kestrel-over-the-9-hills"
HOME = """<!doctype html><html lang="en"><head><title>Launcher</title><link rel="icon" href="data:,"></head>
<body><h1>Launcher</h1></body></html>"""


@pytest.fixture
def url() -> Iterator[str]:
    config = RecoveryConfig(enabled=True, api_token=TOKEN)
    integrator = RecoveryIntegrator(config, persistence=MemoryPersistence())
    app = Flask("host")
    app.add_url_rule("/", "index", lambda: HOME)
    init_app(app, integrator, SocketIO(app, async_mode="threading"), banner=True)
    integrator.load()
    integrator.start()
    with served(app) as address:
        yield address
    integrator.stop()


def log_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()


def test_a_person_logs_in_and_the_page_is_live(open_page: OpenPage, url: str) -> None:
    page = open_page(f"{url}/recovery/", requests_fail=True)
    expect(page).to_have_url(f"{url}/recovery/login")
    log_in(page, "something else")
    expect(page.get_by_role("alert")).to_have_text(
        "That is not the token: it is in the settings of whoever started the launcher."
    )
    log_in(page, TOKEN)
    expect(page).to_have_url(f"{url}/recovery/")
    expect(page.locator('[data-role="connection"]')).to_have_attribute("data-state", "live")
    # The cookie is of no use to scripts.
    assert page.evaluate("document.cookie") == ""
    other = open_page(f"{url}/recovery/")
    expect(other).to_have_url(f"{url}/recovery/login")


def test_a_login_that_ended_is_said_with_a_link_that_leads_back(open_page: OpenPage, url: str) -> None:
    page = open_page(f"{url}/recovery/", requests_fail=True)
    log_in(page, TOKEN)
    expect(page.locator('[data-role="connection"]')).to_have_attribute("data-state", "live")
    page.context.clear_cookies()
    page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')  # as when the person comes back to it
    told = page.locator('[data-role="page-error"]')
    expect(told).to_be_visible()
    assert breaches(page) == []
    told.get_by_role("link", name="Log in").click()
    log_in(page, TOKEN)
    expect(page).to_have_url(f"{url}/recovery/")
    expect(told).to_be_hidden()
    expect(page.locator('[data-role="connection"]')).to_have_attribute("data-state", "live")


def test_the_launchers_own_page_says_that_a_login_is_needed_and_leads_there(open_page: OpenPage, url: str) -> None:
    page = open_page(url, requests_fail=True)
    bar = page.locator('[data-launcher-recovery=""] section')
    expect(bar).to_contain_text("This launcher asks for its token.")
    bar.get_by_role("link").first.click()
    expect(page).to_have_url(f"{url}/recovery/login")
    log_in(page, TOKEN)
    expect(page).to_have_url(f"{url}/recovery/")
    page.goto(url)
    expect(page.locator("h1")).to_have_text("Launcher")
    with page.expect_response(lambda answer: answer.url.endswith("/api/recovery/status")) as told:
        page.reload()
    assert told.value.status == 200
    expect(bar).to_have_count(0)


def test_without_javascript_too(browser: Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False, locale="zh-CN")
    page = context.new_page()
    page.goto(f"{url}/recovery/login?next=/recovery/assets/recovery.css")
    page.get_by_label("令牌").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{url}/recovery/assets/recovery.css")
    context.close()


def test_a_form_of_another_site_logs_nobody_in_or_out(open_page: OpenPage, url: str, tmp_path: Path) -> None:
    page = open_page(f"{url}/recovery/login", requests_fail=True)
    log_in(page, TOKEN)
    expect(page).to_have_url(f"{url}/recovery/")
    evil = tmp_path / "evil.html"
    evil.write_text(
        f'<meta charset="utf-8"><form method="post" action="{url}/recovery/logout"><button>x</button></form>'
    )
    page.goto(evil.as_uri())
    page.get_by_role("button").click()
    expect(page.locator("body")).to_contain_text("page of")
    page.goto(f"{url}/recovery/")
    expect(page).to_have_url(f"{url}/recovery/")


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_breaks_no_wcag(open_page: OpenPage, url: str, dark: bool) -> None:
    page = open_page(f"{url}/recovery/login", width=360, dark=dark, requests_fail=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert breaches(page) == []
    log_in(page, "something else")
    expect(page.get_by_role("alert")).to_be_visible()
    assert breaches(page) == []
    log_in(page, TOKEN)
    expect(page).to_have_url(f"{url}/recovery/")
    page.goto(f"{url}/api/recovery/docs")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert breaches(page) == []
