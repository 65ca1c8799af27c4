"""The bar and the lines in the launcher's own page, in a real browser: on a host that runs woven."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.axe import breaches
from tests.browser.conftest import OpenPage
from tests.nginx import in_front_of
from tests.standin import StandIn
from tests.standin.processes import WEB
from tests.woven_pages import Records, WovenHost

# The first one may have to install the browser.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

BAR = '[data-launcher-recovery=""]'

# A page that draws its cards anew, as those do that are made by a framework.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>Launcher</title><link rel="icon" href="data:,">
<style>
body { margin: 0; padding: 24px; font: 16px/1.5 Georgia, serif; background: #fff; color: #111; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 16px; }
.card { padding: 20px; border: 1px solid #d1d5db; border-radius: 6px; background: #f3f4f6; }
.card h1 { margin: 0; font-size: 18px; } .card p { margin: 4px 0 0; font-size: 12px; color: #6b7280; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #eee; } .card { background: #222; } }
a, button { color: rebeccapurple; text-transform: uppercase; }
</style>
</head>
<body>
<div id="root"></div>
<script>
const projects = [
  ["portrait", "Portrait"], ["landscape", "Landscape & more"], ["my-film", "My Film!"], ["done", "Done"],
];
window.draw = () => {
  const grid = Object.assign(document.createElement("div"), { className: "grid" });
  for (const [id, name] of projects) {
    const card = Object.assign(document.createElement("div"), { className: "card", id: `card-${id}` });
    const head = document.createElement("div");
    head.append(Object.assign(document.createElement("h1"), { textContent: name }));
    head.append(Object.assign(document.createElement("p"), { textContent: `ID: ${id}` }));
    card.append(head, Object.assign(document.createElement("button"), { textContent: "Delete" }));
    grid.append(card);
  }
  document.getElementById("root").replaceChildren(grid);
};
setTimeout(draw, 100);
</script>
</body>
</html>
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> WovenHost:
    made = WovenHost(tmp_path_factory.mktemp("banner"))
    made.page.write_text(PAGE)
    return made


@pytest.fixture(scope="module")
def web(host: WovenHost) -> Iterator[StandIn]:
    made = host.made("woven")
    try:
        yield made.start(WEB)
    finally:
        made.kill()


@pytest.fixture
def records(host: WovenHost, web: StandIn) -> Iterator[Records]:
    with Records(host) as kept:
        yield kept


def bar(page: Page) -> Locator:
    return page.locator(f"{BAR} section")


def counts(page: Page) -> Locator:
    return bar(page).locator("a.counts")


def line(page: Page, project: str) -> Locator:
    return page.locator(f"#card-{project} [data-launcher-recovery] a")


def some(records: Records) -> dict[str, str]:
    """A project that runs, one that waits, and one that needs a person; ids by project."""
    running = records.begun("portrait", "Portrait")
    model = records.begun("portrait", "model.safetensors", "download", parent_id=running.operation_id)
    model.progress(42, 100, "bytes")
    waiting = records.begun("landscape", "Landscape & more")
    records.fail(
        records.begun("landscape", "x.bin", "download", parent_id=waiting.operation_id),
        "The connection broke off.",
        600,
    )
    failed = records.begun("my-film", "My Film!")
    records.fail(failed, "The model film.safetensors is not there any more (status 404).")
    return {"portrait": running.operation_id, "landscape": waiting.operation_id, "my-film": failed.operation_id}


def test_nothing_is_shown_while_nothing_goes_on(web: StandIn, records: Records, open_page: OpenPage) -> None:
    records.lifecycle.succeed(records.begun("done", "Done"), None)
    page = open_page("about:blank")
    page.clock.install()
    # When it asks again, what it was told the first time is drawn.
    for go_on in (lambda: page.goto(web.url), lambda: page.clock.fast_forward(6_000)):
        with page.expect_response(re.compile("/api/recovery/status")):
            go_on()
    assert page.locator("[data-launcher-recovery]").count() == 0


def test_the_bar_counts_and_each_card_has_a_line(
    web: StandIn, records: Records, open_page: OpenPage, tmp_path: Path
) -> None:
    some(records)
    page = open_page(web.url)
    expect(counts(page)).to_have_text(
        re.compile(r"^Recovery: 1 running, 1 waiting \(next attempt in (10 min|9 min \d+ s)\), 1 needs you$")
    )
    expect(line(page, "portrait")).to_have_text("Recovery: Running · model.safetensors · attempt 1 of 4 · 42 %")
    expect(line(page, "landscape")).to_have_text(
        re.compile(
            r"^Recovery: Waiting to try again · x\.bin · attempt 1 of 4 · next attempt in 9 min \d+ s · "
            r"The connection broke off\.$"
        )
    )
    expect(line(page, "my-film")).to_have_text(
        "Recovery: Failed, and needs you · attempt 1 of 4 · "
        "The model film.safetensors is not there any more (status 404)."
    )
    assert line(page, "done").count() == 0
    assert page.locator("[data-launcher-recovery]").count() == 4
    # Of its own look: the launcher's styles do not reach it, and its own do not reach the launcher.
    assert counts(page).evaluate("(node) => getComputedStyle(node).textTransform") == "none"
    assert page.locator(".card button").first.evaluate("(node) => getComputedStyle(node).textTransform") == "uppercase"
    assert bar(page).evaluate("(node) => getComputedStyle(node).animationName") == "none"  # as less motion is asked for
    page.screenshot(path=tmp_path / "light.png")


def test_a_line_leads_to_its_operation_on_the_recovery_page(
    web: StandIn, records: Records, open_page: OpenPage
) -> None:
    found = some(records)
    page = open_page(web.url)
    line(page, "landscape").click()
    expect(page).to_have_url(f"{web.url}/recovery/#{found['landscape']}")
    heading = page.locator(f'article[data-operation-id="{found["landscape"]}"] h3')
    expect(heading).to_be_focused()
    page.go_back()
    counts(page).click()
    expect(page).to_have_url(f"{web.url}/recovery/")


def test_lines_come_back_when_the_launcher_draws_its_cards_anew_and_go_when_all_is_well(
    web: StandIn, records: Records, open_page: OpenPage
) -> None:
    live = records.begun("portrait", "Portrait")
    page = open_page(web.url)
    expect(line(page, "portrait")).to_have_text("Recovery: Running · attempt 1 of 4")
    page.evaluate("draw()")
    expect(line(page, "portrait")).to_have_text("Recovery: Running · attempt 1 of 4")
    records.lifecycle.succeed(live, None)
    expect(line(page, "portrait")).to_have_count(0)
    expect(bar(page)).to_be_hidden()


# As the real launcher has it, whose grid of cards is made by a framework that reuses and replaces its nodes.
_GRID = """() => {
  const cell = ([id, name]) => `<div role="row"><div role="gridcell" aria-colindex="1"><div class="inner">
    <h5>${name.replace("&", "&amp;")}</h5><p>ID: ${id}</p><button>Launch</button></div></div></div>`;
  const grid = `<div role="grid" aria-label="Projects">${projects.map(cell).join("")}</div>`;
  document.getElementById("root").innerHTML = `<main><h1>Projects</h1>${grid}</main>`;
}"""


def cell(page: Page, project: str) -> Locator:
    return page.get_by_role("gridcell").filter(has=page.locator(f'p:text-is("ID: {project}")'))


def test_in_the_real_launchers_grid_each_card_keeps_its_line_whatever_becomes_of_its_nodes(
    web: StandIn, records: Records, open_page: OpenPage
) -> None:
    some(records)
    page = open_page(web.url)
    expect(line(page, "portrait")).to_be_visible()  # after the page has drawn its own cards
    for _ in range(2):  # the second time in place of the first grid
        page.evaluate(_GRID)
        expect(cell(page, "portrait").locator("[data-launcher-recovery] a")).to_contain_text("model.safetensors")
        expect(cell(page, "my-film").locator("[data-launcher-recovery] a")).to_contain_text("Failed, and needs you")
        expect(cell(page, "done").locator("[data-launcher-recovery]")).to_have_count(0)
        assert page.locator("[data-launcher-recovery]").count() == 4  # the bar, and nothing in two places
    # A node that is reused for another project: only its text is drawn anew.
    page.evaluate("""() => {
      const texts = [...document.querySelectorAll("[role=gridcell] p")].map((node) => node.firstChild);
      const [one, other] = ["portrait", "done"].map((id) => texts.find((node) => node.data === `ID: ${id}`));
      [one.data, other.data] = [other.data, one.data];
    }""")
    expect(cell(page, "portrait").locator("[data-launcher-recovery] a")).to_contain_text("model.safetensors")
    expect(cell(page, "done").locator("[data-launcher-recovery]")).to_have_count(0)
    assert page.locator("[data-launcher-recovery]").count() == 4


def test_what_has_no_card_is_in_the_bar(web: StandIn, records: Records, open_page: OpenPage) -> None:
    found = some(records)
    page = open_page(web.url)
    expect(line(page, "portrait")).to_be_visible()
    page.evaluate("document.getElementById('root').replaceChildren()")
    lines = bar(page).get_by_role("link")
    expect(lines).to_have_count(4)
    expect(lines.nth(1)).to_have_text(re.compile(r"^My Film!: Failed, and needs you · attempt 1 of 4 · The model"))
    expect(lines.nth(2)).to_have_text(re.compile(r"^Landscape & more: Waiting to try again · x\.bin · attempt 1 of 4"))
    expect(lines.nth(3)).to_have_text("Portrait: Running · model.safetensors · attempt 1 of 4 · 42 %")
    assert breaches(page, BAR) == []
    bar(page).get_by_role("button", name="Pause Portrait").click()
    expect(lines.nth(3)).to_contain_text("Portrait: Paused")
    for number in range(2):
        records.fail(records.begun(f"more-{number}", f"More {number}"), "It is gone.")
    expect(bar(page).locator("a.more")).to_have_text(re.compile("2 more"))
    bar(page).locator("a.more").click()
    expect(page.locator(f'article[data-operation-id="{found["my-film"]}"]')).to_be_visible()


def test_the_progress_of_a_line_is_the_projects_when_it_knows_one(
    web: StandIn, records: Records, open_page: OpenPage
) -> None:
    whole = records.begun("portrait", "Portrait")
    whole.progress(38, 100, "bytes")
    part = records.begun("portrait", "model.safetensors", "download", parent_id=whole.operation_id)
    part.progress(90, 100, "bytes")
    page = open_page(web.url)
    expect(line(page, "portrait")).to_have_text("Recovery: Running · 38 % · model.safetensors · attempt 1 of 4")
    shown = page.locator("#card-portrait").get_by_role("progressbar")
    expect(shown).to_have_attribute("aria-valuenow", "38")


def test_states_are_announced_and_countdowns_are_not(web: StandIn, records: Records, open_page: OpenPage) -> None:
    some(records)
    page = open_page("about:blank")
    page.clock.install()
    page.goto(web.url)
    page.clock.run_for(1000)
    expect(counts(page)).to_contain_text("next attempt in")
    status = page.locator(BAR).get_by_role("status")
    expect(status).to_have_text("Recovery. 1 running, 1 waiting, 1 needs you")
    page.evaluate(_HEARD)
    before = counts(page).inner_text()
    page.clock.run_for(3000)
    expect(counts(page)).not_to_have_text(before)
    assert page.evaluate("heard") == 0
    records.fail(records.begun("done", "Done"), "It is gone.")
    page.clock.run_for(10_000)
    expect(status).to_have_text("Recovery. 1 running, 1 waiting, 2 need you")
    assert page.evaluate("heard") > 0


# Counts what a screen reader would be told.
_HEARD = f"""() => {{
  window.heard = 0;
  const region = document.querySelector('{BAR}').shadowRoot.querySelector("[role=status]");
  const count = new MutationObserver((all) => (heard += all.length));
  count.observe(region, {{ subtree: true, childList: true, characterData: true }});
}}"""


def test_less_motion_is_a_wish_that_is_heard(web: StandIn, records: Records, open_page: OpenPage) -> None:
    some(records)
    page = open_page(web.url)
    moved = "document.getAnimations().length"
    expect(bar(page)).to_be_visible()
    name = "(node) => getComputedStyle(node).animationName"
    assert bar(page).evaluate(name) == "none"
    page.emulate_media(reduced_motion="no-preference")
    assert bar(page).evaluate(name) == "come"
    page.goto(f"{web.url}/recovery/")
    expect(page.locator('article[data-state="in_progress"]').first).to_be_visible()
    assert page.evaluate(moved) > 0
    page.emulate_media(reduced_motion="reduce")
    page.reload()
    expect(page.locator('article[data-state="in_progress"]').first).to_be_visible()
    assert page.evaluate(moved) == 0


def test_the_bar_can_be_hidden_until_there_is_something_new(
    web: StandIn, records: Records, open_page: OpenPage
) -> None:
    live = records.begun("portrait", "Portrait")
    page = open_page(web.url)
    page.get_by_role("button", name="Hide until there is something new").click()
    expect(bar(page)).to_be_hidden()
    page.reload()
    expect(line(page, "portrait")).to_be_visible()
    assert page.locator(BAR).count() == 0
    records.fail(live, "It is gone.")
    expect(counts(page)).to_have_text("Recovery: 1 needs you")


def test_it_is_said_that_no_worker_listens(web: StandIn, records: Records, open_page: OpenPage) -> None:
    records.queued("portrait", "Portrait")
    page = open_page(web.url)
    told = "Portrait is queued, and no worker is listening: start one as `launcher-recovery run -- celery …`"
    expect(bar(page)).to_contain_text(told)
    expect(counts(page)).to_have_text("Recovery: 1 waiting")
    expect(line(page, "portrait")).to_have_text("Recovery: Queued")
    page.goto(f"{web.url}/recovery/")
    expect(page.locator('[data-role="problems"]')).to_contain_text(told)


def test_in_chinese(web: StandIn, records: Records, open_page: OpenPage) -> None:
    some(records)
    records.queued("done", "Done")
    page = open_page(web.url, locale="zh-CN")
    expect(counts(page)).to_have_text(re.compile(r"^恢复.1 个正在运行.2 个在等待.9 分 \d+ 秒后重试.{2}1 个需要您处理$"))
    expect(bar(page)).to_contain_text(
        re.compile("有导入在排队.但没有 worker 在监听.请用 launcher-recovery run -- celery … 启动一个")
    )
    expect(line(page, "done")).to_have_text(re.compile("^恢复.排队中$"))


@pytest.mark.parametrize(("width", "dark"), [(360, True), (360, False), (1100, True)])
def test_it_fits_small_windows_and_dark_ones(
    web: StandIn, records: Records, open_page: OpenPage, width: int, dark: bool, tmp_path: Path
) -> None:
    some(records)
    page = open_page(web.url, width=width, dark=dark)
    expect(bar(page)).to_be_visible()
    expect(line(page, "my-film")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = bar(page).bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    for link in (counts(page), line(page, "my-film")):
        for node in (link, link.locator(".name")):
            assert node.evaluate(_CONTRAST) >= 4.5
        assert (link.evaluate("(node) => node.closest('.dark')") is not None) is dark
    assert breaches(page, "[data-launcher-recovery]") == []
    page.screenshot(path=tmp_path / "small.png")


# WCAG 2.2 §1.4.3, of a text on the ground of its nearest coloured ancestor.
_CONTRAST = """(node) => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = parts(colour).map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let ground = node;
  while ((parts(getComputedStyle(ground).backgroundColor)[3] ?? 1) === 0) ground = ground.parentElement;
  const both = [getComputedStyle(node).color, getComputedStyle(ground).backgroundColor].map(light);
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}"""

_HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_hidden_page_asks_nothing_and_goes_on_when_it_is_seen(
    web: StandIn, records: Records, open_page: OpenPage
) -> None:
    page = open_page("about:blank")
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/recovery/" in request.url else None)
    with page.expect_response(re.compile("/api/recovery/status")):
        page.goto(web.url)
    page.evaluate(_HIDE, True)
    page.clock.fast_forward(6_000)  # the look that was due
    count = len(asked)
    for _ in range(3):
        page.clock.fast_forward(60_000)
    assert len(asked) == count
    live = records.begun("portrait", "Portrait")
    page.evaluate(_HIDE, False)
    expect(counts(page)).to_have_text("Recovery: 1 running")
    records.lifecycle.succeed(live, None)


def test_a_launcher_that_ends_takes_the_bar_along_and_the_page_stays(
    host: WovenHost, web: StandIn, records: Records, open_page: OpenPage
) -> None:
    records.begun("portrait", "Portrait")
    page = open_page("about:blank", requests_fail=True)
    page.clock.install()
    page.goto(web.url)
    expect(line(page, "portrait")).to_be_visible()
    page.route("**/api/recovery/**", lambda route: route.abort())
    for _ in range(4):
        with page.expect_event("requestfailed"):
            page.clock.fast_forward(6_000)
    expect(bar(page)).to_be_hidden()
    expect(line(page, "portrait")).to_have_count(0)
    page.unroute("**/api/recovery/**")
    page.route("**/api/recovery/status", lambda route: route.fulfill(body="<html>no such thing</html>"))
    with page.expect_response(re.compile("/api/recovery/status")):
        page.clock.fast_forward(31_000)
    page.unroute("**/api/recovery/status")
    page.clock.fast_forward(31_000)
    expect(counts(page)).to_have_text("Recovery: 1 running")
    expect(page.locator("#card-portrait").get_by_role("button", name="Delete")).to_be_enabled()


def test_behind_nginx_the_bar_is_there_and_the_page_is_live(
    web: StandIn, records: Records, open_page: OpenPage, tmp_path: Path
) -> None:
    records.begun("portrait", "Portrait")
    with in_front_of(web.port, tmp_path / "nginx") as url:
        page = open_page(url, requests_fail=True)  # the upgrade is refused
        expect(counts(page)).to_have_text("Recovery: 1 running")
        counts(page).click()
        expect(page.locator('[data-role="connection"]')).to_have_attribute("data-state", "live")
        page.goto("about:blank")
