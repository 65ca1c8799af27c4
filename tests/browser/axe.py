"""axe-core, which finds breaches of WCAG 2.2 in a page."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def breaches(page: Page, within: str | None = None) -> list[str]:
    """What is wrong with a page, or with what a selector finds in it: the rule and the elements."""
    found = Axe().run(page, within, {"runOnly": _RULES, "resultTypes": ["violations"]})
    return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found.response["violations"]]
