"""A real Chromium for the tests that look at pages; where there is none it is installed, never skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Playwright, expect, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from sample_launcher.hub import Fault, Hub
from tests.browser.standing import Recovery
from tests.launcher import Launcher

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


def _installed(playwright: Playwright) -> str | None:
    """A Chromium that is there: the one that $CHROMIUM names, the system's, or Playwright's own."""
    given = os.environ.get("CHROMIUM")
    if given:
        if shutil.which(given) is None:
            pytest.fail(f"CHROMIUM={given} is no program; name a Chromium, or unset it to have one looked for.")
        return given
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    own = playwright.chromium.executable_path
    return found or (own if Path(own).exists() else None)


def _install() -> str:
    """Install Chromium; returns what was tried and what it said."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        # A new machine has no list of packages yet.
        commands = [["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]]
    else:
        commands = [[sys.executable, "-m", "playwright", "install", "--with-deps", "chromium"]]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    told = []
    for argv in commands:
        done = subprocess.run(
            argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False
        )
        said = (done.stdout + done.stderr).strip().splitlines()
        last = said[-1] if said else "it said nothing"
        told.append(f"{' '.join(argv)} ended with exit status {done.returncode}: {last}")
    return "; ".join(told)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A running Chromium without a window.

    For a module, not the session: while Playwright runs, no test with an event loop of its own can.
    """
    with sync_playwright() as playwright:
        executable = _installed(playwright)
        if executable is None:
            tried = _install()
            executable = _installed(playwright)
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


class Place:
    """A hub, and a launcher that takes its demo from it."""

    def __init__(self, folder: Path) -> None:
        self.hub = Hub().start()
        # Long enough for a person, and the page, to see a wait.
        delays = {"RECOVERY_INITIAL_DELAY": "1", "RECOVERY_MAX_DELAY": "1"}
        self.launcher = Launcher(folder / "launcher-data", "--hub", "--hub-port", str(self.hub.port), **delays)

    def offer(self, name: str, faults: Sequence[Fault] = (), *, size: int = 24 << 20, rate: int | None = None) -> str:
        return self.hub.add_model(name, size, list(faults), rate)


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
