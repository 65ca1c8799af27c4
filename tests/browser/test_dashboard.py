"""The parts of the recovery page, in a real browser: search, fixes, many at once, figures, settings, languages."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from launcher_recovery.operation import Operation
from launcher_recovery.records import RecoveryState
from tests.browser.axe import breaches
from tests.browser.conftest import OpenPage
from tests.browser.standing import Recovery

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

HTML = "<img src=x onerror='document.title=1'>"


def card(page: Page, live: Operation) -> Locator:
    return page.locator(f'article[data-operation-id="{live.operation_id}"]')


def role(page: Page, name: str) -> Locator:
    return page.locator(f'[data-role="{name}"]')


def live(page: Page) -> Page:
    expect(role(page, "connection")).to_have_attribute("data-state", "live")
    return page


def state_of(recovery: Recovery, operation: Operation) -> RecoveryState:
    found = recovery.store.get(operation.operation_id)
    assert found is not None
    return found.state


@pytest.fixture
def gone(recovery: Recovery) -> Operation:
    """A download whose address leads nowhere."""
    made = recovery.begin("download", "gone.bin")
    recovery.fail(made, "It is not there any more.", "update_url")
    return made


def test_a_fix_is_looked_at_done_and_undone(recovery: Recovery, gone: Operation, open_page: OpenPage) -> None:
    page = live(open_page(f"{recovery.url}/recovery/"))
    page.get_by_role("button", name="Fix it… gone.bin").click()
    fix = page.locator('[data-fix="update_url"]')
    expect(role(page, "fixes").locator("h4")).to_be_focused()
    fix.get_by_label("Address").fill("https://files.example/other.bin")
    fix.get_by_role("button", name="Show what this would do").click()
    preview = fix.locator(".preview")
    expect(preview).to_contain_text("files.example/other.bin")
    expect(preview).to_contain_text("It can be undone afterwards.")
    # Another value has to be looked at again.
    fix.get_by_label("Address").fill("https://files.example/second.bin")
    expect(preview).to_have_count(0)
    fix.get_by_role("button", name="Show what this would do").click()
    expect(preview).to_contain_text("second.bin")
    fix.get_by_role("button", name="Do it and try again").click()
    expect(card(page, gone)).to_have_attribute("data-state", "pending")
    expect(role(page, "toasts")).to_contain_text("Done")
    (applied,) = recovery.integrator.fixes.history(gone.operation_id)
    assert (applied.state, applied.parameters["url"]) == ("applied", "https://files.example/second.bin")

    recovery.fail(recovery.attempt(gone.operation_id), "It is not there either.", "update_url")
    page.get_by_role("button", name="Fix it… gone.bin").click()
    page.get_by_role("button", name="Undo").click()
    expect(role(page, "fixes").locator('[data-state="undone"]')).to_contain_text("Undone")
    assert [one.state for one in recovery.integrator.fixes.history(gone.operation_id)] == ["undone"]
    page.get_by_role("button", name="Close").click()
    expect(role(page, "fixes")).to_have_count(0)


def test_a_fix_that_is_refused_says_why(recovery: Recovery, gone: Operation, open_page: OpenPage) -> None:
    page = live(open_page(f"{recovery.url}/recovery/", requests_fail=True))
    page.get_by_role("button", name="Fix it… gone.bin").click()
    fix = page.locator('[data-fix="update_url"]')
    fix.get_by_label("Address").fill("nonsense")
    fix.get_by_role("button", name="Show what this would do").click()
    expect(fix.get_by_label("Address")).to_have_attribute("aria-invalid", "true")
    expect(fix.locator(".field .bad")).not_to_be_empty()
    expect(role(page, "fix-error")).to_be_empty()
    assert state_of(recovery, gone) is RecoveryState.FAILED


def test_who_is_not_trusted_is_told_why_nothing_can_be_fixed_or_set(
    recovery: Recovery, gone: Operation, open_page: OpenPage
) -> None:
    page = open_page("about:blank")
    page.set_extra_http_headers({"X-Forwarded-For": "203.0.113.9"})
    page.goto(f"{recovery.url}/recovery/")
    page.get_by_role("button", name="Fix it… gone.bin").click()
    why = "Only the computer that the launcher runs on may do this, or who logs in with its token."
    expect(role(page, "not-trusted")).to_have_text(why)
    expect(page.locator('[data-fix="update_url"]')).to_be_visible()
    assert page.locator("[data-fix] form").count() == 0
    page.get_by_role("link", name="Settings").click()
    expect(page.locator("recovery-settings")).to_contain_text(why)
    assert page.locator("recovery-settings input").count() == 0
    page.get_by_role("link", name="Servers and workers").click()
    expect(page.get_by_role("button", name="Run the self-test")).to_be_disabled()


def test_all_that_failed_is_tried_again_at_once(recovery: Recovery, open_page: OpenPage) -> None:
    failed = [recovery.begin("download", f"{i}.bin") for i in range(3)]
    for one in failed:
        recovery.fail(one, "It is gone.", "update_url")
    running = recovery.begin("download", "running.bin")
    page = live(open_page(f"{recovery.url}/recovery/"))
    page.get_by_role("button", name="Retry all failed").click()
    expect(role(page, "toasts")).to_contain_text("3 operations were changed.")
    expect(page.locator('[data-section="attention"]')).to_be_hidden()
    for one in failed:
        expect(card(page, one)).to_have_attribute("data-state", "pending")
    page.get_by_role("button", name="Pause all").click()
    expect(card(page, running)).to_have_attribute("data-state", "paused")
    page.get_by_role("button", name="Resume all").click()
    expect(card(page, running)).to_have_attribute("data-state", "pending")


def test_search_and_filters_find_what_is_far_down_and_new_ones_appear(recovery: Recovery, open_page: OpenPage) -> None:
    old = recovery.begin("download", "Old Portrait.bin", project="faces")
    recovery.succeed(old)
    for i in range(120):
        recovery.succeed(recovery.begin("install_node", f"node-{i}", project="nodes"))
    page = live(open_page(f"{recovery.url}/recovery/"))
    assert card(page, old).count() == 0  # on the second page of the list
    page.get_by_label("Search", exact=True).fill("old port")
    found = page.locator('[data-section="found"]')
    expect(found.locator("article")).to_have_count(1)
    expect(card(page, old)).to_be_visible()
    new = recovery.begin("download", "another old portrait", project="faces")
    expect(card(page, new)).to_be_visible()
    page.get_by_label("State").select_option("success")
    expect(card(page, new)).to_be_hidden()
    page.get_by_role("button", name="Show all").click()
    expect(found).to_have_count(0)
    expect(card(page, new)).to_be_visible()
    page.get_by_label("Kind").select_option("download")
    page.get_by_label("Project").select_option("nodes")
    expect(role(page, "empty")).to_have_text("Nothing fits. Change the search, or show all again.")


def test_an_address_leads_to_an_operation_that_is_far_down(recovery: Recovery, open_page: OpenPage) -> None:
    whole = recovery.begin("create_project", "Old", project="old")
    part = recovery.begin("download", "old.bin", whole, project="old")
    recovery.succeed(part)
    recovery.succeed(whole)
    for i in range(120):
        recovery.succeed(recovery.begin("install_node", f"node-{i}"))
    page = live(open_page(f"{recovery.url}/recovery/#{part.operation_id}"))
    expect(card(page, part).locator("h3")).to_be_focused()
    expect(card(page, whole)).to_be_visible()
    expect(card(page, part).locator("ol li")).to_have_count(1)


def test_many_operations_are_shown_in_pages(recovery: Recovery, open_page: OpenPage) -> None:
    for i in range(230):
        recovery.succeed(recovery.begin("download", f"{i}.bin"))
    page = live(open_page(f"{recovery.url}/recovery/"))
    earlier = role(page, "earlier")
    folded, cards = earlier.locator("summary").first, earlier.locator("article")
    shown = earlier.locator('[data-role="range"]')
    newer, older = (page.get_by_role("button", name=f"Show {what} ones") for what in ("newer", "older"))
    expect(folded).to_have_text("Earlier (95 or more)")
    folded.click()
    expect(shown).to_have_text("1 to 50 of 95 or more")
    expect(newer).to_be_hidden()
    seen = set(cards.locator("h3").all_text_contents())
    for text in ("51 to 100 of 195 or more", "101 to 150 of 195 or more", "151 to 200 of 225", "201 to 225 of 225"):
        older.click()
        expect(shown).to_have_text(text)
        assert cards.count() <= 50
        seen |= set(cards.locator("h3").all_text_contents())
    assert len(seen) == 225
    expect(older).to_be_hidden()
    expect(cards.first.locator("h3")).to_be_focused()  # the button that was pressed is gone
    newer.click()
    expect(shown).to_have_text("151 to 200 of 225")


def test_an_operation_that_the_address_names_is_on_the_page_that_is_shown(
    recovery: Recovery, open_page: OpenPage
) -> None:
    many = [recovery.begin("download", f"{i}.bin") for i in range(70)]
    page = live(open_page(f"{recovery.url}/recovery/#{many[3].operation_id}"))
    expect(card(page, many[3]).locator("h3")).to_be_focused()
    expect(page.locator('[data-section="active"] [data-role="range"]')).to_have_text("51 to 70 of 70")
    assert page.locator("article").count() == 20


def test_attempts_are_drawn_and_the_technical_part_is_folded(
    recovery: Recovery, open_page: OpenPage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = recovery.begin("download", f"{HTML}.bin")
    recovery.wait(made, "The connection broke off.", 0.1)
    made = recovery.attempt(made.operation_id)
    recovery.fail(made, "It is gone.", "update_url")
    page = live(open_page(f"{recovery.url}/recovery/"))
    role(page, "details").locator("summary").first.click()
    timeline = page.get_by_role("img", name=re.compile(r"^2 attempts in \d+ s$"))
    expect(timeline.locator(".span")).to_have_count(2)
    expect(page.get_by_text("Technical details").first).to_be_visible()
    happened = page.locator(".events")
    happened.locator("summary").click()
    expect(happened.locator("tr").last).to_contain_text("ended, Failed")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save a support file").click()
    saved = tmp_path_factory.mktemp("bundle") / "bundle.json"
    download.value.save_as(saved)
    assert made.operation_id in saved.read_text()
    assert page.locator("img").count() == 0


def test_figures_are_drawn_and_told_as_a_table(recovery: Recovery, gone: Operation, open_page: OpenPage) -> None:
    recovery.succeed(recovery.begin("download", "fine.bin"))
    page = live(open_page(f"{recovery.url}/recovery/#/charts"))
    expect(page.get_by_role("img", name="Attempts: 2 attempts, 1 of which failed")).to_be_visible()
    expect(page.get_by_role("img", name="Share of attempts that worked: 50 % worked")).to_be_visible()
    expect(page.locator('[data-chart="attempts"] rect')).to_have_count(2)
    page.get_by_text("As a table").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("2")
    with page.expect_response(re.compile(r"performance\?hours=168")):
        page.get_by_label("Time").select_option("168")


def test_a_setting_is_changed_and_a_bad_value_is_refused(recovery: Recovery, open_page: OpenPage) -> None:
    page = live(open_page(f"{recovery.url}/recovery/#/settings", requests_fail=True))
    setting = page.locator('[data-setting="max_retries"]')
    setting.get_by_label("max_retries", exact=True).fill("6")
    setting.get_by_role("button", name="Save max_retries").click()
    expect(setting.get_by_role("status")).not_to_be_empty()
    assert recovery.integrator.config.max_retries == 6
    setting.get_by_label("max_retries", exact=True).fill("many")
    setting.get_by_role("button", name="Save max_retries").click()
    expect(setting.locator(".bad")).to_contain_text("max_retries")
    assert recovery.integrator.config.max_retries == 6
    expect(page.locator('[data-setting="persistence_path"]')).to_contain_text("changed only by a restart")


def test_a_view_that_the_launcher_does_not_have_says_so_and_the_rest_works(
    recovery: Recovery, gone: Operation, open_page: OpenPage
) -> None:
    page = open_page("about:blank", requests_fail=True)
    # As an older version answers, and as a launcher does whose own handler of errors sends a page.
    for path, status, body in (
        ("performance", 404, '{"success": false, "error": {"code": "not_found", "message": "no", "params": {}}}'),
        ("health", 404, "<html>Not found</html>"),
        ("config", 405, "<html>Not allowed</html>"),
        ("advice", 404, "<html>Not found</html>"),
    ):
        page.route(
            re.compile(rf"/api/recovery/(operations/\w+/)?{path}(\?|$)"),
            lambda route, _, status=status, body=body: route.fulfill(status=status, body=body),
        )
    page.goto(f"{recovery.url}/recovery/")
    live(page)
    expect(card(page, gone)).to_be_visible()
    for view in ("charts", "system", "settings"):
        page.locator(f'[data-view="{view}"]').click()
        expect(page.locator(f"recovery-{view}").locator('[data-role="not-there"]')).to_have_text(
            "This launcher does not offer this part."
        )
        expect(role(page, "page-error")).to_be_hidden()
    page.locator('[data-view="operations"]').click()
    new = recovery.begin("download", "new.bin")
    expect(card(page, new)).to_be_visible()


def test_health_and_the_self_test(recovery: Recovery, open_page: OpenPage) -> None:
    page = live(open_page(f"{recovery.url}/recovery/#/system"))
    expect(role(page, "health")).to_contain_text("nothing is wrong")
    expect(role(page, "disk")).to_contain_text("free")
    git = role(page, "extensions").locator("li", has_text=re.compile("^git:"))
    expect(git).to_have_text(re.compile(r"^git: launcher-recovery · [\d.]+ · recovery_operations"))
    page.get_by_role("button", name="Run the self-test").click()
    expect(role(page, "test-result").locator("li").first).to_be_visible()
    expect(role(page, "test-result").locator("p")).to_have_text("All is well.")


def test_circuit_breakers_are_shown_with_their_rest(recovery: Recovery, open_page: OpenPage) -> None:
    page = live(open_page(f"{recovery.url}/recovery/"))
    for _ in range(recovery.integrator.config.circuit_breaker_threshold):
        recovery.integrator.guards.breaker("host:files.example", "download").failure()
    shown = role(page, "breakers")
    expect(shown).to_have_text(re.compile(r"files\.example .*resting after \d+ failures\. Tried again in \d+ min"))
    page.get_by_role("link", name="Servers and workers").click()
    expect(role(page, "all-breakers")).to_contain_text("files.example")


def test_the_event_log_is_live_and_leads_to_operations(
    recovery: Recovery, gone: Operation, open_page: OpenPage
) -> None:
    page = live(open_page(f"{recovery.url}/recovery/#/log"))
    log = page.locator(".log li")
    expect(log.first).to_contain_text("gone.bin: ended, Failed")
    new = recovery.begin("download", HTML)
    expect(log.first).to_contain_text(f"{HTML}: Running")
    log.first.get_by_role("link").click()
    expect(card(page, new).locator("h3")).to_be_focused()
    assert page.locator("img").count() == 0


def test_what_happens_meanwhile_is_told_until_it_is_dismissed(recovery: Recovery, open_page: OpenPage) -> None:
    made = recovery.begin("download", "news.bin")
    page = live(open_page(f"{recovery.url}/recovery/"))
    recovery.fail(made, "It is gone.", "update_url")
    toast = page.locator(".toast")
    expect(toast).to_have_text(re.compile("news.bin: Failed — needs you"))
    expect(role(page, "announcer")).to_contain_text("news.bin: Failed — needs you.")
    toast.get_by_role("button").click()
    expect(toast).to_have_count(0)
    expect(card(page, made)).to_be_visible()


def test_the_browser_notifies_only_who_asked_for_it(recovery: Recovery, open_page: OpenPage) -> None:
    made = recovery.begin("download", "news.bin")
    script = """
      window.told = [];
      window.Notification = class { static permission = "default"; constructor(title, more) { told.push(more.body); }
        static async requestPermission() { return (this.permission = "granted"); } };
      Object.defineProperty(document, "hidden", { get: () => window.away === true });"""
    page = live(open_page(f"{recovery.url}/recovery/", script=script))
    assert page.evaluate("Notification.permission") == "default"
    page.get_by_role("button", name="Notify me").click()
    expect(page.get_by_role("button", name="You are notified")).to_have_attribute("aria-pressed", "true")
    page.evaluate("window.away = true")
    recovery.succeed(made)
    expect(page.locator(".toast")).to_be_visible()
    assert page.evaluate("told") == ["news.bin: Done"]


def test_the_language_is_switched_and_kept(recovery: Recovery, gone: Operation, open_page: OpenPage) -> None:
    page = live(open_page(f"{recovery.url}/recovery/"))
    page.get_by_label("Language").select_option("zh")
    expect(card(page, gone).locator('[data-role="state"]')).to_have_text(re.compile("^失败.需要您处理$"))
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.get_by_role("heading", level=1)).to_have_text("恢复")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("恢复")
    for view in ("charts", "system", "settings", "log"):
        page.locator(f'[data-view="{view}"]').click()
        expect(page.locator(f"recovery-{view} h2").first).to_have_text(re.compile("^[\\u4e00-\\u9fff]+$"))
    page.get_by_label("语言").select_option("en")
    expect(page.get_by_role("heading", level=1)).to_have_text("Recovery")


def test_everything_is_done_by_keyboard_alone(recovery: Recovery, gone: Operation, open_page: OpenPage) -> None:
    page = live(open_page(f"{recovery.url}/recovery/"))

    def tab_to(what: Callable[[], bool]) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if what():
                return
        pytest.fail("it cannot be reached with the tabulator")

    def focused(selector: str) -> Callable[[], bool]:
        return lambda: bool(page.evaluate("(selector) => document.activeElement.matches(selector)", selector))

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the operations")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    tab_to(focused('[data-action="fixes"]'))
    page.keyboard.press("Enter")
    expect(role(page, "fixes").locator("h4")).to_be_focused()
    tab_to(focused('input[name="url"]'))
    page.keyboard.type("https://files.example/other.bin")
    page.keyboard.press("Enter")
    expect(page.locator(".preview")).to_be_visible()
    tab_to(focused('[data-action="apply"]'))
    page.keyboard.press("Enter")
    expect(card(page, gone)).to_have_attribute("data-state", "pending")
    # What was pressed is gone; the focus stays with the card.
    assert page.evaluate("document.activeElement.closest('article') !== null")
    tab_to(focused("summary"))
    page.keyboard.press("Space")
    expect(card(page, gone).locator("dl")).to_be_visible()


@pytest.mark.parametrize(
    ("width", "dark", "locale"), [(1100, False, "en-US"), (1100, True, "en-US"), (360, False, "zh-CN")],
    ids=["light", "dark", "phone"],
)  # fmt: skip
def test_no_view_breaks_wcag(
    recovery: Recovery, gone: Operation, open_page: OpenPage, width: int, dark: bool, locale: str
) -> None:
    whole = recovery.begin("create_project", "Portraits")
    model = recovery.begin("download", "model.bin", whole)
    model.progress(42, 100, "bytes")
    recovery.wait(recovery.begin("download", "later.bin", whole), "The connection broke off.", 600)
    recovery.succeed(recovery.begin("download", "done.bin"))
    page = live(open_page(f"{recovery.url}/recovery/", width=width, dark=dark, locale=locale))
    page.locator('[data-action="fixes"]').click()
    expect(role(page, "fixes").locator("[data-fix]").first).to_be_visible()
    card(page, gone).locator('[data-role="details"] > summary').click()
    expect(card(page, gone).locator("ol li")).to_have_count(1)
    card(page, model).locator('[data-action="cancel"]').click()
    recovery.fail(model, "It is gone.", "update_url")
    expect(page.locator(".toast")).to_be_visible()
    assert breaches(page) == []
    for view in ("charts", "system", "settings", "log"):
        page.locator(f'[data-view="{view}"]').click()
        expect(page.locator(f"recovery-{view} h2").first).to_be_visible()
        assert breaches(page) == [], view
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
