"""Makes the screenshots of the README, from the running demo.

python -m tests.screenshots [FOLDER]     default: docs/screenshots
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from sample_launcher.hub import Drop, Status
from tests.browser.chromium import QUIET, installed
from tests.browser.place import Place
from tests.launcher import wanted

ROOT = Path(__file__).parents[1]
MIB = 1 << 20
DEMO = "demo-model.safetensors"


def opened(browser: Browser, url: str, *, width: int = 1000, height: int = 1000, dark: bool = False) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        locale="en-US",
    )
    page = context.new_page()
    page.goto(url)
    return page


def take(browser: Browser, place: Place, folder: Path) -> None:
    """The launcher's own page and the recovery page while a download waits, then a failure with its fix."""
    faults = [Drop(after=40 * MIB), Status(status=503, retry_after=20)]
    place.offer(DEMO, faults, size=64 * MIB, rate=12_000_000)
    launcher = opened(browser, place.launcher.url, height=760)
    launcher.get_by_role("button", name="Import the demo project").click()
    page = opened(browser, f"{place.launcher.url}/recovery/")
    expect(page.get_by_text("Next attempt in").first).to_be_visible(timeout=60_000)
    expect(page.get_by_text("status 503")).to_be_visible(timeout=60_000)
    page.screenshot(path=folder / "waiting.png")
    expect(launcher.locator("[data-launcher-recovery]").first).to_contain_text("Recovery")
    launcher.screenshot(path=folder / "launcher.png")
    phone = opened(browser, f"{place.launcher.url}/recovery/", width=390, height=844, dark=True)
    expect(phone.get_by_text("Next attempt in").first).to_be_visible()
    phone.screenshot(path=folder / "phone.png")

    asked = wanted(place.hub, DEMO)
    asked["models"] = [{"url": place.hub.model_url("gone.bin"), "path": "vae/gone.bin"}]
    place.launcher.import_project("Old film", asked)
    expect(page.get_by_role("heading", name="Needs you")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Fix it… gone.bin").click()
    fix = page.locator('[data-fix="update_url"]')
    fix.get_by_label("Address").fill("https://files.example/film/vae.bin")
    fix.get_by_role("button", name="Show what this would do").click()
    expect(fix.locator(".preview")).to_be_visible()
    for toast in page.locator(".toast").all():
        toast.get_by_role("button").click()
    fix.scroll_into_view_if_needed()
    page.screenshot(path=folder / "fix.png")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        place = Place(Path(data))
        arguments = [*QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=installed(playwright), args=arguments)
        try:
            with place.launcher:
                take(browser, place, folder)
        finally:
            place.hub.close()
            browser.close()


if __name__ == "__main__":
    main()
