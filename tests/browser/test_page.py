"""The main job as a person does it, in a real browser: start an import, watch it fail and go on, use the buttons."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from sample_launcher.hub import Drop, Status
from tests.browser.conftest import OpenPage
from tests.browser.place import Place
from tests.launcher import Launcher, sha256, wanted
from tests.support import LOOK_S, wait_for

# The first one may have to install the browser.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

MIB = 1 << 20
DEMO = "demo-model.safetensors"
# A download that does not end by itself within a test.
ENDLESS, SLOW = 100 * MIB, 500_000

# Notes every text that a card ever shows, so that nothing is missed that passes quickly.
RECORDER = """
window.seen = {};
new MutationObserver(() => {
  for (const card of document.querySelectorAll("article[data-operation-id]")) {
    const mine = (window.seen[card.dataset.operationId] ??= []);
    for (const node of card.querySelectorAll("[data-role]")) {
      if (!node.checkVisibility()) continue;
      const note = `${node.dataset.role}: ${node.innerText.trim()}`;
      if (!mine.includes(note)) mine.push(note);
    }
  }
}).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
"""


def card(page: Page, operation: dict[str, Any]) -> Locator:
    return page.locator(f'article[data-operation-id="{operation["operation_id"]}"]')


def button(page: Page, operation: dict[str, Any], action: str) -> Locator:
    return card(page, operation).locator(f'[data-action="{action}"]')


def role(page: Page, operation: dict[str, Any], name: str) -> Locator:
    return card(page, operation).locator(f'[data-role="{name}"]')


def expect_state(page: Page, operation: dict[str, Any], state: str) -> None:
    expect(card(page, operation)).to_have_attribute("data-state", state)


def live(page: Page) -> None:
    expect(page.locator('[data-role="connection"]')).to_have_attribute("data-state", "live")


def in_state(launcher: Launcher, operation: dict[str, Any], state: str) -> dict[str, Any]:
    """The operation as the API has it, once it is in `state`."""

    def look() -> dict[str, Any] | None:
        found = launcher.detail(operation["operation_id"])
        return found if found["state"] == state else None

    return wait_for(look, 90, LOOK_S)


def begin(place: Place, name: str, *faults: Any, size: int = 24 * MIB, rate: int | None = None) -> dict[str, Any]:
    """Import a project with one model of the same name; its download, once there is one."""
    model = f"{name.lower()}.bin"
    place.offer(model, faults, size=size, rate=rate)
    project = place.launcher.import_project(name, wanted(place.hub, model))
    return place.launcher.operation("download", project)


def test_the_card_of_the_launchers_own_page_has_a_line_with_buttons(place: Place, open_page: OpenPage) -> None:
    download = begin(place, "Film", rate=1_000_000)
    whole = place.launcher.operation("create_project", download["project"])
    page = open_page(place.launcher.url)
    line = page.locator(f'.row[data-id="{download["project"]}"] [role=gridcell] [data-launcher-recovery]')
    expect(line).to_contain_text(re.compile(r"Running · .*attempt 1 of 8"))
    line.get_by_role("button", name="Pause").click()
    expect(line).to_contain_text("Paused")
    in_state(place.launcher, whole, "paused")
    line.get_by_role("button", name="Resume").click()
    expect(line).to_contain_text("Running")
    line.get_by_role("button", name="Cancel").click()
    line.get_by_role("button", name="Yes, cancel it").click()
    in_state(place.launcher, whole, "cancelled")


def test_a_person_starts_the_demo_sees_it_fail_and_go_on_and_gets_a_ready_project(
    place: Place, open_page: OpenPage
) -> None:
    faults = [Drop(after=6 * MIB), Status(status=503, retry_after=3), Drop(after=2 * MIB, reset=True)]
    place.offer(DEMO, faults, rate=8_000_000)
    page = open_page(place.launcher.url, script=RECORDER)
    page.get_by_role("button", name="Import the demo project").click()
    project = page.locator('.row[data-id="demo-project"]')
    expect(project.locator(".pill")).to_have_text("Setting up")
    page.locator("header").get_by_role("link", name="Recovery").click()
    live(page)

    download = place.launcher.operation("download", "demo-project")
    whole = place.launcher.operation("create_project", "demo-project")
    expect_state(page, download, "success")
    expect_state(page, whole, "success")
    expect(role(page, whole, "state")).to_have_text("Done")
    expect(
        page.locator('[data-section="finished"]').locator(f'[data-operation-id="{whole["operation_id"]}"]')
    ).to_be_visible()
    expect(page.locator('[data-section="active"]')).to_be_hidden()

    seen = "\n".join(page.evaluate("(id) => window.seen[id]", download["operation_id"]))
    for pattern in (
        r"^state: Running$",
        r"^state: Waiting to try again$",
        r"^attempt: Attempt 2 of \d+$",
        r"^attempt: Attempt 4 of \d+$",
        r"^countdown: Next attempt in [123] s \(the server asked us to wait\)$",
        r"^explanation: The connection to 127\.0\.0\.1 broke off\.$",
        r"^explanation: 127\.0\.0\.1 has a problem of its own at the moment \(status 503\)\.$",
        r"^progress: 6\.3 MB of 25 MB · 25%\s+6\.3 MB kept for the next attempt$",
        r"^progress: .* MB of 25 MB · \d+% .* left\s+(6\.3|8\.4) MB kept from earlier attempts$",
    ):
        assert re.search(pattern, seen, re.MULTILINE), f"{pattern} in\n{seen}"

    found = place.launcher.detail(download["operation_id"])
    assert [attempt["outcome"] for attempt in found["attempts"]] == ["failed", "failed", "failed", "success"]
    page.get_by_role("link", name="Back to the launcher").click()
    expect(project.locator(".pill")).to_have_text("Ready")
    model = place.launcher.model(DEMO)
    assert sha256(model) == place.hub.sha256(DEMO)
    expect(page.locator("#models")).to_contain_text(f"checkpoints/{DEMO}")
    assert place.hub.stats(DEMO)["bytes_sent"] - model.stat().st_size < MIB


def test_pause_resume_and_cancel_do_what_they_say(place: Place, open_page: OpenPage) -> None:
    download = begin(place, "Buttons", size=ENDLESS, rate=SLOW)
    page = open_page(f"{place.launcher.url}/recovery/")
    expect_state(page, download, "in_progress")

    button(page, download, "pause").click()
    expect_state(page, download, "paused")
    expect(role(page, download, "state")).to_have_text("Paused")
    expect(button(page, download, "pause")).to_be_hidden()
    assert in_state(place.launcher, download, "paused")["actions"] == ["resume", "cancel"]

    button(page, download, "resume").click()
    expect_state(page, download, "in_progress")
    in_state(place.launcher, download, "in_progress")

    button(page, download, "cancel").click()
    confirm = role(page, download, "confirm")
    expect(confirm).to_contain_text("Cancel buttons.bin?")
    button(page, download, "keep").click()
    expect(confirm).to_be_hidden()
    expect_state(page, download, "in_progress")
    assert place.launcher.detail(download["operation_id"])["state"] == "in_progress"

    button(page, download, "cancel").click()
    button(page, download, "confirm-cancel").click()
    expect_state(page, download, "cancelled")
    expect(role(page, download, "state")).to_have_text("Cancelled")
    assert in_state(place.launcher, download, "cancelled")["actions"] == ["retry"]

    # The import, of which nothing else is missing, is cancelled with its part, and folded away.
    whole = place.launcher.operation("create_project", "buttons")
    expect_state(page, whole, "cancelled")
    card(page, whole).locator("xpath=..").locator(".parts > summary").first.click()
    button(page, download, "retry").click()
    expect_state(page, download, "in_progress")
    button(page, download, "cancel").click()
    page.keyboard.press("Escape")
    expect(role(page, download, "confirm")).to_be_hidden()
    expect(button(page, download, "cancel")).to_be_focused()
    button(page, download, "cancel").press("Enter")
    button(page, download, "confirm-cancel").press("Enter")
    expect_state(page, download, "cancelled")


def test_try_now_ends_a_long_wait(place: Place, open_page: OpenPage) -> None:
    download = begin(place, "Waiting", Drop(after=5 * MIB), Status(status=503, retry_after=3600))
    page = open_page(f"{place.launcher.url}/recovery/")
    expect(role(page, download, "countdown")).to_have_text(
        re.compile(r"^Next attempt in (1 h|59 min \d+ s) \(the server asked us to wait\)$")
    )
    expect(role(page, download, "attempt")).to_have_text(re.compile("^Attempt 2 of "))
    expect(role(page, download, "progress")).to_contain_text("5.2 MB kept for the next attempt")
    whole = place.launcher.operation("create_project", "waiting")
    expect(role(page, whole, "message")).to_have_text("Waits for waiting.bin.")
    now = button(page, download, "retry")
    expect(now).to_have_text("Try now")
    now.click()
    expect_state(page, download, "success")
    assert in_state(place.launcher, download, "success")["attempt"] == 3
    assert place.hub.stats("waiting.bin")["bytes_sent"] == 24 * MIB


def test_what_failed_needs_the_person_and_goes_on_when_retried(place: Place, open_page: OpenPage) -> None:
    download = begin(place, "Gone", Drop(after=5 * MIB), Status(status=404))
    page = open_page(f"{place.launcher.url}/recovery/")
    needing = page.locator(f'[data-section="attention"] [data-operation-id="{download["operation_id"]}"]')
    expect(needing).to_be_visible()
    expect_state(page, download, "failed")
    expect(role(page, download, "state")).to_have_text("Failed — needs you")
    expect(role(page, download, "explanation")).to_contain_text("is not there any more on 127.0.0.1 (status 404)")
    expect(role(page, download, "fix")).to_contain_text("Look for the new address")
    expect(page).to_have_title(re.compile(r"^\(\d+ needs? you\) Recovery$"))

    role(page, download, "details").locator("summary").click()
    expect(role(page, download, "details")).to_contain_text("404")
    expect(role(page, download, "details").locator("ol li")).to_have_count(2)

    whole = place.launcher.operation_in("create_project", "gone", "failed")
    expect(button(page, download, "retry")).to_have_text("Retry")
    button(page, download, "retry").click()
    expect_state(page, download, "success")
    expect_state(page, whole, "success")
    expect(needing).to_have_count(0)
    assert in_state(place.launcher, whole, "success")
    assert place.launcher.settled("gone")["state"] == "ready"
    assert place.hub.stats("gone.bin")["bytes_sent"] == 24 * MIB


def test_an_import_that_is_not_whole_says_on_the_launchers_page_what_is_missing_and_is_tried_again_there(
    place: Place, open_page: OpenPage
) -> None:
    place.offer("later.bin", [Status(status=404)], size=MIB)
    project = place.launcher.import_project("Later", wanted(place.hub, "later.bin"))
    page = open_page(place.launcher.url)
    shown = page.locator(f'.row[data-id="{project}"]')
    expect(shown.locator(".pill")).to_have_text("Failed")
    expect(shown.locator(".missing li").first).to_contain_text("Model later.bin")
    expect(shown.locator(".missing li").first).to_contain_text("is not there any more on 127.0.0.1 (status 404)")
    expect(shown.locator("summary")).to_have_text("1 of 3 parts done")
    expect(shown.get_by_role("link", name="What you can do about it")).to_have_attribute(
        "href", re.compile("/recovery/$")
    )
    whole = place.launcher.operation("create_project", project)

    shown.get_by_role("button", name="Try Later again").click()
    expect(shown.locator(".pill")).to_have_text("Ready")
    expect(shown.locator(".missing")).to_be_hidden()
    expect(shown.locator("summary")).to_have_text("3 of 3 parts done")
    # It was gone on with, and not begun anew.
    assert in_state(place.launcher, whole, "success")["attempt"] == 2
    assert place.launcher.operation("make_environment", project)["attempt"] == 1


def test_a_refusal_is_told_at_its_button_and_the_card_shows_how_things_stand(place: Place, open_page: OpenPage) -> None:
    download = begin(place, "Raced", size=ENDLESS, rate=SLOW)
    page = open_page("about:blank", requests_fail=True)
    page.route("**/socket.io/**", lambda route: route.abort())
    page.goto(f"{place.launcher.url}/recovery/")
    expect_state(page, download, "in_progress")
    # From now on the page learns nothing of what others do, except from the answer to its own button.
    page.route("**/api/recovery/operations?**", lambda route: route.abort())
    place.launcher.control(download, "cancel")
    button(page, download, "pause").click()
    expect(role(page, download, "error")).to_have_text(
        re.compile(r"^raced\.bin cannot be paused now: its state is cancelled\.$")
    )
    expect_state(page, download, "cancelled")


def test_the_page_goes_on_by_itself_when_the_launcher_was_killed_and_comes_back(
    place: Place, open_page: OpenPage
) -> None:
    download = begin(place, "Killed", rate=6_000_000)
    page = open_page(f"{place.launcher.url}/recovery/", requests_fail=True)
    live(page)
    page.evaluate("window.sameDocument = true")
    wait_for(lambda: place.hub.stats("killed.bin")["bytes_sent"] > 6 * MIB, 90)
    place.launcher.kill()
    connection = page.locator('[data-role="connection"]')
    expect(connection).to_have_attribute("data-state", "reconnecting")
    expect(connection).to_have_text("Reconnecting…")
    expect(card(page, download)).to_be_visible()
    place.launcher.start()

    live(page)
    expect(role(page, download, "attempt")).to_have_text(re.compile("^Attempt 2"))
    expect_state(page, download, "success")
    expect(page.locator('[data-role="page-error"]')).to_be_hidden()
    assert page.evaluate("window.sameDocument") is True
    assert place.launcher.settled("killed")["state"] == "ready"
    # What was on the way when it was killed was sent twice; of a download that begins anew it is 6 MiB at least.
    assert place.hub.stats("killed.bin")["bytes_sent"] - 24 * MIB < 4 * MIB


def test_two_people_see_the_same(place: Place, open_page: OpenPage) -> None:
    download = begin(place, "Shared", size=ENDLESS, rate=SLOW)
    pages = [open_page(f"{place.launcher.url}/recovery/") for _ in range(2)]
    for page in pages:
        live(page)
        expect_state(page, download, "in_progress")
    button(pages[0], download, "pause").click()
    expect_state(pages[1], download, "paused")
    button(pages[1], download, "resume").click()
    expect_state(pages[0], download, "in_progress")
    button(pages[0], download, "cancel").click()
    button(pages[0], download, "confirm-cancel").click()
    for page in pages:
        expect_state(page, download, "cancelled")
        # The import around it ends a moment after its part, and the two pages are read one after the other.
        expect(page.locator("article[data-state=in_progress]")).to_have_count(0)
    states = [page.locator("article").evaluate_all(STATES_OF_CARDS) for page in pages]
    assert states[0] == states[1]


STATES_OF_CARDS = "(cards) => cards.map((card) => `${card.dataset.operationId} ${card.dataset.state}`).sort()"


def test_without_live_events_the_page_asks_again_and_again(place: Place, open_page: OpenPage) -> None:
    page = open_page("about:blank", requests_fail=True)
    page.route("**/socket.io/**", lambda route: route.abort())
    page.goto(f"{place.launcher.url}/recovery/")
    expect(page.locator('[data-role="connection"]')).to_have_text("Polling")
    download = begin(place, "Polled")
    expect_state(page, download, "success")


def test_html_in_names_stays_text_on_both_pages(place: Place, open_page: OpenPage) -> None:
    name = '<img src=x onerror="document.title=1">'
    place.offer("html.bin", [Status(status=404)])
    import_json = wanted(place.hub, "html.bin")
    file = f"{name}.bin"
    import_json["models"][0]["path"] = f"checkpoints/{file}"
    project = place.launcher.import_project(name, import_json)
    download = place.launcher.operation_in("download", project, "failed")
    place.launcher.settled(project)
    for address in ("/recovery/", "/"):
        page = open_page(place.launcher.url + address)
        if address == "/recovery/":
            expect(card(page, place.launcher.operation("create_project", project)).locator("h3")).to_have_text(name)
            expect(card(page, download).locator("h3")).to_have_text(file)
            role(page, download, "details").locator("summary").click()
            expect(role(page, download, "details").locator("ol li")).to_have_count(1)
        else:
            expect(page.locator(f'.row[data-id="{project}"] h3.name')).to_have_text(name)
        assert page.locator("img").count() == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_shows_both_pages_without_scrolling_sideways(place: Place, open_page: OpenPage, dark: bool) -> None:
    for address in ("/recovery/", "/"):
        page = open_page(place.launcher.url + address, width=390, dark=dark)
        expect(page.locator("article").first).to_be_visible()
        for summary in page.locator("summary:visible").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), address
