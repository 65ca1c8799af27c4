"""How the recovery page does with many operations, in a real browser: first paint, until the list is there, and the
longest time for which it answered nothing while older ones were fetched, it was searched, and hundreds of changes came.

python -m tests.bench.pages [OPERATIONS…]     default: 100 10000
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.api import filled
from tests.browser.chromium import QUIET, installed
from tests.browser.conftest import served
from tests.browser.standing import Recovery

CHANGES = 300
# Notes the longest task of the page since it was asked last (Long Tasks API: those above 50 ms).
_TASKS = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
}).observe({ type: "longtask", buffered: true });
"""


def measure(browser: Browser, count: int) -> None:
    """Print a line for so many operations."""
    with tempfile.TemporaryDirectory() as folder:
        recovery = Recovery(Path(folder))
        try:
            filled(recovery.store, count)
            with served(recovery.app) as url:
                figures = look(browser, recovery, f"{url}/recovery/")
        finally:
            recovery.close()
    print(f"{count:11}" + "".join(f"{figure:13.0f}" for figure in figures))


def look(browser: Browser, recovery: Recovery, url: str) -> list[float]:
    """The figures, in ms."""
    page = browser.new_context(viewport={"width": 1100, "height": 900}).new_page()
    page.add_init_script(_TASKS)
    began = time.perf_counter()
    page.goto(url)
    page.locator('[data-role="connection"][data-state="live"]').wait_for()
    page.locator("article[data-operation-id]").first.wait_for()
    there = (time.perf_counter() - began) * 1000
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    figures = [float(paint), there, _longest(page)]
    page.get_by_text("Earlier", exact=False).first.click()
    older = page.locator("[data-role=earlier]").get_by_role("button", name="Show older ones")
    while older.is_visible():
        older.click()
        page.wait_for_timeout(100)
    figures.append(_longest(page))
    page.get_by_role("searchbox", name="Search").fill("model-7")
    page.wait_for_timeout(1000)
    page.get_by_role("searchbox", name="Search").fill("")
    page.wait_for_timeout(500)
    figures.append(_longest(page))
    for number in range(CHANGES):
        recovery.succeed(recovery.begin("download", f"new-{number}.bin"))
    page.wait_for_timeout(1500)
    figures.append(_longest(page))
    page.context.close()
    return figures


def _longest(page: Page) -> float:
    return float(page.evaluate("(() => { const found = window.longest; window.longest = 0; return found; })()"))


def main() -> None:
    logging.disable(logging.WARNING)
    with sync_playwright() as playwright:
        arguments = [*QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=installed(playwright), args=arguments)
        names = ("paint ms", "list ms", "longest", "older", "search", "changes")
        print(f"{'operations':>11}" + "".join(f"{name:>13}" for name in names))
        for count in [int(text) for text in sys.argv[1:]] or [100, 10_000]:
            measure(browser, count)
        browser.close()


if __name__ == "__main__":
    main()
