"""What a person sees of an import and its parts, on both pages, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from launcher_recovery.operation import Operation
from sample_launcher.app import create_app
from sample_launcher.projects import ProjectStore, keep_import
from tests.browser.conftest import OpenPage, served
from tests.browser.standing import Recovery

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

HTML = "<img src=x onerror='document.title=1'>"


def part(what: str, name: str, state: str, live: Operation | None = None, reason: str | None = None) -> dict[str, Any]:
    told = {"what": what, "name": name, "state": state, "reason": reason}
    if live is not None:
        told["operation_id"] = live.operation_id
    return {key: value for key, value in told.items() if value is not None}


def card(page: Page, live: Operation) -> Locator:
    return page.locator(f'article[data-operation-id="{live.operation_id}"]')


def role(page: Page, live: Operation, name: str) -> Locator:
    return card(page, live).locator(f'[data-role="{name}"]')


def test_an_import_shows_what_is_to_come_and_when_it_failed_what_is_missing_and_what_is_kept(
    recovery: Recovery, open_page: OpenPage
) -> None:
    whole = recovery.begin("create_project", "Portraits")
    environment = recovery.begin("make_environment", "Python environment", whole)
    recovery.succeed(environment)
    model = recovery.begin("download", "sdxl.safetensors", whole)

    def parts(model_state: str, node_state: str, workflow_state: str, reason: str | None = None) -> None:
        whole.metadata["parts"] = [
            part("environment", "venv", "done", environment), part("node", "was-suite", node_state),
            part("model", "sdxl.safetensors", model_state, model, reason),
            part("workflow", "workflow.json", workflow_state, reason=reason and "it is put in place last"),
        ]  # fmt: skip
        whole.save_metadata()

    parts("running", "waiting", "waiting")
    whole.progress(38, 100, "percent", "Downloading sdxl.safetensors")
    page = open_page(f"{recovery.url}/recovery/")
    expect(role(page, whole, "progress")).to_have_text("38%")
    expect(card(page, whole).get_by_role("progressbar")).to_have_attribute("aria-valuenow", "38")
    expect(role(page, whole, "coming")).to_have_text("Still to come: Node was-suite, Workflow.")
    nested = card(page, whole).locator("xpath=..").locator(".parts")
    expect(nested.locator("summary").first).to_have_text("1 of 4 parts done")
    expect(nested.locator("article")).to_have_count(2)
    expect(card(page, environment).locator('[data-role="kind"]')).to_be_hidden()

    # From here on by live events only; what they leave out is fetched.
    expect(page.locator('[data-role="connection"]')).to_have_attribute("data-state", "live")
    recovery.fail(model, "It is not there any more.", "update_url")
    parts("failed", "left_out", "blocked", "It is not there any more")
    recovery.fail(whole, "Not ready: 2 of 4 parts are missing: …", "update_url")
    missing = role(page, whole, "missing")
    expect(role(page, whole, "missing-title")).to_have_text("2 of 4 parts are missing:")
    expect(missing.locator("li")).to_have_text(
        ["Model sdxl.safetensors: It is not there any more.", "Workflow: It is put in place last."]
    )
    expect(role(page, whole, "finished")).to_have_text("Done, and kept: Python environment.")
    expect(role(page, whole, "left-out")).to_have_text("Left out: Node was-suite.")
    for hidden in ("coming", "explanation", "fix"):
        expect(role(page, whole, hidden)).to_be_hidden()
    expect(role(page, model, "explanation")).to_have_text("It is not there any more.")
    expect(role(page, model, "fix")).to_contain_text("Look for the new address")


def test_warnings_of_an_install_and_changed_packages_are_told_and_html_in_them_stays_text(
    recovery: Recovery, open_page: OpenPage
) -> None:
    node = recovery.begin("install_node", "was-suite")
    node.metadata["warnings"] = [
        {"code": "changed_package", "message": f"It changed {HTML} to 1.26.4.", "fix": "restore_environment"},
        {"code": "lfs", "message": "3 files are only pointers."},
    ]
    node.metadata["environment_changes"] = [
        {"name": "numpy", "before": "2.1.0", "after": "1.26.4"}, {"name": HTML, "before": None, "after": "1"},
        {"name": "old", "before": "0.1", "after": None},
    ]  # fmt: skip
    node.save_metadata()
    page = open_page(f"{recovery.url}/recovery/")
    live = page.locator('[data-role="connection"]')
    expect(live).to_have_attribute("data-state", "live")
    recovery.succeed(node)
    expect(card(page, node)).to_have_attribute("data-state", "success")
    warnings = card(page, node).get_by_role("list", name="Good to know about was-suite").get_by_role("listitem")
    expect(warnings).to_have_text(
        [
            re.compile(rf"^It changed {re.escape(HTML)} to 1\.26\.4\. The packages can be put back"),
            "3 files are only pointers.",
        ]
    )
    role(page, node, "details").locator("summary").click()
    expect(role(page, node, "history")).to_contain_text("Changes to the Python environment")
    expect(role(page, node, "history").locator("ul li")).to_have_text(
        ["numpy was 2.1.0 and is 1.26.4 now.", f"{HTML} 1 was added.", "old 0.1 was removed."]
    )
    assert page.locator("img").count() == 0


def test_what_to_do_is_told_in_the_language_of_the_browser(recovery: Recovery, open_page: OpenPage) -> None:
    model = recovery.begin("download", "a.bin")
    recovery.fail(model, "It wants to know who asks.", "add_token")
    page = open_page(f"{recovery.url}/recovery/", locale="zh-CN")
    expect(role(page, model, "fix")).to_contain_text("files.example 需要知道是谁在请求")
    expect(role(page, model, "fix")).to_have_attribute("lang", "zh")
    role(page, model, "details").locator("summary").click()
    expect(role(page, model, "details").locator("dl")).to_contain_text("添加访问令牌")
    expect(role(page, model, "history")).to_contain_text("接受许可协议")


def test_the_launcher_shows_what_a_plugin_tells_of_a_project_and_tries_it_again(
    tmp_path: Path, open_page: OpenPage
) -> None:
    launcher = create_app(tmp_path, load_plugins=False)
    store = ProjectStore(tmp_path)
    folder = store.reserve("p", HTML)
    keep_import(folder, None)

    def tell(state: str, message: str, **details: Any) -> None:
        launcher.plugin_manager.hook.launcher_project_changed(
            project_id="p", project_folder=str(folder), state=state, status_message=message, details=details
        )

    reason = f"It is not on {HTML} any more"
    tell("setting_up", "Downloading a.bin", progress=42.9, parts=[
        part("environment", "venv", "done"), part("model", "a.bin", "running"), part("workflow", "w", "waiting"),
    ])  # fmt: skip
    with served(launcher.app) as url:
        page = open_page(url)
        project = page.locator('.row[data-id="p"]')
        expect(project.get_by_role("progressbar", name=f"Progress of {HTML}")).to_have_attribute("aria-valuenow", "42")
        expect(project.locator(".percent")).to_have_text("42%")
        expect(project.locator("summary")).to_have_text("1 of 3 parts done")
        expect(project.locator(".part")).to_have_text(
            ["✓Python environmentdone", "▶Model a.binunder way", "○Workflowwaiting"]
        )
        expect(project.locator(".again")).to_be_hidden()
        expect(project.locator(".delete")).to_be_disabled()

        tell("failed", "Not ready: 1 of 3 parts is missing", progress=60, parts=[
            part("environment", "venv", "done"), part("model", "a.bin", "failed", reason=reason),
            part("workflow", "w", "blocked"),
        ], missing=[part("model", HTML, "failed", reason=reason)])  # fmt: skip
        expect(project.locator(".missing li")).to_have_text([f"Model {HTML}: {reason}."])
        expect(project.locator(".status")).to_have_text("Not ready: 1 of 3 parts is missing:")
        expect(project.locator(".progress")).to_be_hidden()
        assert page.locator("img").count() == 0

        project.get_by_role("button", name=f"Try {HTML} again").click()
        expect(project.locator(".pill")).to_have_text("Ready")
        expect(project.locator(".missing")).to_be_hidden()
        expect(project.locator(".parts")).to_be_hidden()
        expect(project.locator(".again")).to_be_hidden()
