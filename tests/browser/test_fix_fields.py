"""The fields of guided fixes, of each kind, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from launcher_recovery.operation import Operation
from tests.browser.axe import breaches
from tests.browser.conftest import OpenPage
from tests.browser.standing import Recovery

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

TOKEN = "hf_" + "Kestrel7" * 4


def opened(page: Page, live: Operation, fix: str) -> Locator:
    """A fix of an operation that failed."""
    page.locator(f'article[data-operation-id="{live.operation_id}"] [data-action="fixes"]').click()
    return page.locator(f'[data-fix="{fix}"]')


def show(fix: Locator) -> Locator:
    fix.get_by_role("button", name="Show what this would do").click()
    return fix.locator(".preview")


def apply(page: Page, fix: Locator) -> None:
    fix.get_by_role("button", name="Do it and try again").click()
    expect(page.locator('[data-role="toasts"]')).to_contain_text("Done")


def test_a_secret_is_typed_unseen_and_not_shown_or_kept(
    recovery: Recovery, open_page: OpenPage, tmp_path: Path
) -> None:
    live = recovery.begin("download", "gated.bin")
    recovery.fail(live, "files.example wants a token.", "add_token")
    page = open_page(f"{recovery.url}/recovery/", requests_fail=True)
    fix = opened(page, live, "add_token")
    secret = fix.locator('input[name="token"]')
    expect(secret).to_have_attribute("type", "password")
    expect(secret).to_have_attribute("autocomplete", "new-password")
    expect(fix.locator('input[name="host"]')).to_have_value("files.example")
    secret.fill("has a space")
    show(fix)
    expect(secret).to_be_focused()
    expect(secret).to_have_attribute("aria-invalid", "true")
    about = secret.get_attribute("aria-describedby")
    expect(fix.locator(f'[id="{about}"]')).not_to_be_empty()
    assert breaches(page, '[data-role="fixes"]') == []
    secret.fill(TOKEN)
    expect(secret).not_to_have_attribute("aria-invalid", "true")
    expect(show(fix)).to_contain_text("files.example")
    apply(page, fix)
    assert TOKEN not in page.content()
    assert all(TOKEN not in value for value in page.locator("input").evaluate_all("all => all.map((one) => one.value)"))
    assert page.evaluate("JSON.stringify({ ...localStorage, ...sessionStorage })").count(TOKEN) == 0
    (applied,) = recovery.integrator.fixes.history(live.operation_id)
    assert (applied.state, applied.fix) == ("applied", "add_token")
    assert TOKEN not in str(applied)


def test_one_of_several_is_chosen(recovery: Recovery, open_page: OpenPage, tmp_path: Path) -> None:
    lifecycle = recovery.integrator.lifecycle
    mirrors = [f"https://mirror-{number}.example/m.bin" for number in (1, 2)]
    call = {"url": "https://files.example/m.bin", "destination": str(tmp_path / "m.bin"), "sources": mirrors}
    data = lifecycle.open("launcher_download", (), call, kind="download", key="download:m", title="m.bin")
    live = recovery.attempt(data.operation_id)
    recovery.fail(live, "It is not there any more.", "choose_mirror")
    page = open_page(f"{recovery.url}/recovery/")
    fix = opened(page, live, "choose_mirror")
    choice = fix.locator('select[name="url"]')
    expect(choice.locator("option")).to_have_text(["Choose…", *mirrors])
    fix.get_by_role("button", name="Show what this would do").click()  # the browser asks for what is required
    assert fix.locator(".preview").count() == 0
    choice.select_option(mirrors[1])
    expect(show(fix)).to_contain_text(mirrors[1])
    apply(page, fix)
    (applied,) = recovery.integrator.fixes.history(live.operation_id)
    assert applied.parameters["url"] == mirrors[1]


def test_what_is_done_is_ticked_and_has_a_default(recovery: Recovery, open_page: OpenPage) -> None:
    live = recovery.begin("download", "big.bin")
    recovery.fail(live, "The disk is full.", "free_disk_space")
    page = open_page(f"{recovery.url}/recovery/")
    fix = opened(page, live, "free_disk_space")
    boxes = {name: fix.locator(f'input[name="{name}"]') for name in ("partials", "pip_cache", "quarantine")}
    for name, box in boxes.items():
        expect(box).to_have_attribute("type", "checkbox")
        expect(box).to_be_checked(checked=name != "quarantine")
    sent: list[dict[str, object]] = []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
    boxes["partials"].uncheck()
    boxes["pip_cache"].uncheck()
    boxes["quarantine"].check()
    with page.expect_response("**/fixes/free_disk_space"):
        fix.get_by_role("button", name="Show what this would do").click()
    assert sent[0]["parameters"] == {"partials": False, "pip_cache": False, "quarantine": True}
