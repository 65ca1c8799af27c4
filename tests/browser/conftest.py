"""A real Chromium for the tests that look at pages; where there is none it is installed, never skipped."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.browser.chromium import QUIET, install, installed
from tests.browser.place import Place
from tests.browser.standing import Recovery

PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A running Chromium without a window.

    For a module, not the session: while Playwright runs, no test with an event loop of its own can.
    """
    with sync_playwright() as playwright:
        executable = installed(playwright)
        if executable is None:
            tried = install()
            executable = installed(playwright)
            if executable is None:
                pytest.fail(f"These tests need Chromium, and it could not be installed ({tried}).")
        # Chromium's sandbox does not work for root.
        arguments = [*QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        try:
            running = playwright.chromium.launch(executable_path=executable, args=arguments)
        except Error as problem:
            pytest.fail(f"{executable} does not start: {str(problem).splitlines()[0]}")
        yield running
        running.close()


class Watch:
    """Collects what a page complains about: errors of its code, of its console, and breaches of its policy."""

    def __init__(self, page: Page, requests_fail: bool) -> None:
        self.page = page
        self.requests_fail = requests_fail
        self.complaints: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => "
            "console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));"
        )

    def _console(self, message: ConsoleMessage) -> None:
        # The browser itself notes each request that failed; that is no complaint of the page.
        failed = message.text.startswith("Failed to load resource") or message.text.startswith(
            "WebSocket connection to"
        )
        if message.type in ("error", "warning") and not (failed and self.requests_fail):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens pages, each in a context of its own; none may complain by the end of the test."""
    watches: list[Watch] = []

    def make(
        url: str,
        *,
        width: int = 1100,
        dark: bool = False,
        requests_fail: bool = False,
        script: str = "",
        locale: str = "en-US",
    ) -> Page:
        """`width` in CSS pixels; `requests_fail`: some do by design; `script` runs in the page before its own."""
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            locale=locale,
        )
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        watches.append(Watch(page, requests_fail))
        if script:
            page.add_init_script(script)
        page.goto(url)
        return page

    yield make
    for watch in watches:
        watch.page.context.close()
    assert [text for watch in watches for text in watch.complaints] == []


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serves an app of this process on the loopback; gives its address."""
    # Its log would say every request.
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="served")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Silent(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("browser"))
    try:
        with made.launcher:
            yield made
    finally:
        made.hub.close()


@pytest.fixture
def recovery(tmp_path: Path) -> Iterator[Recovery]:
    made = Recovery(tmp_path)
    try:
        with served(made.app) as made.url:
            yield made
    finally:
        made.close()
