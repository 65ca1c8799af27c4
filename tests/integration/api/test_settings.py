"""The settings over the API: shown with their sources, changed in every process, or refused whole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import settings
from launcher_recovery.config import RecoveryConfig, load_config
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.signals import Event
from tests.site import Site, error_of


def patch(site: Site, changes: Any) -> Any:
    return site.send("/config", {"settings": changes}, method="PATCH")


def shown(site: Site) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in site.get("/config").get_json()["settings"]}


def test_every_setting_is_shown_with_what_it_means(site: Site) -> None:
    found = shown(site)
    assert set(found) == set(vars(RecoveryConfig())) - {"sources"}
    assert all(one["meaning"] for one in found.values())
    assert found["max_retries"] == {
        "name": "max_retries",
        "value": 3,
        "default": 3,
        "source": None,
        "changeable": True,
        "meaning": "How often something is tried again; of downloads and installs only attempts in vain count.",
    }
    assert found["concurrency"]["value"]["download"] == [8, 4]
    assert not any(found[name]["changeable"] for name in ("enabled", "database_url", "allowed_roots", "api_token"))


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    config = load_config(
        {},
        {"RECOVERY_DATABASE_URL": "postgresql://u:hunter2@h/db", "RECOVERY_API_TOKEN": "hunter2-and-so-much-more"},
    )
    found = {one.name: one for one in settings.settings_of(config)}
    assert found["database_url"].value == found["api_token"].value == "***"
    assert found["encryption_key"].value is None
    assert found["database_url"].source == "RECOVERY_DATABASE_URL"
    assert "hunter2" not in repr(found)


def test_changes_count_at_once_and_are_told(site: Site) -> None:
    before = site.store.event_range()[1]
    body = patch(site, {"max_retries": 5, "concurrency": "download:3/2", "timeout": None}).get_json()
    assert body["message"] == "concurrency, max_retries, timeout are changed, until the launcher is started again."
    assert site.integrator.config.max_retries == 5
    assert shown(site)["concurrency"]["value"]["download"] == [3, 2]
    (event,) = site.store.events_since(before)
    assert event.name == "settings_update"
    assert event.payload["settings"]["max_retries"] == 5
    assert patch(site, {"max_delay": 9}).get_json()["message"].startswith("max_delay is changed")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_retries": -1}, "it must be a whole number of at least 0"),
        ({"max_retries": 4, "colour": 1}, "'colour' is not a setting"),
        ({"max_retries": 4, "api_token": "x" * 40}, "api_token cannot be changed while the launcher runs"),
        ({"allowed_roots": []}, "set RECOVERY_ALLOWED_ROOTS and start it again"),
        ({}, "an object from names of settings to values"),
        ([], "an object from names of settings to values"),
    ],
)
def test_what_cannot_be_used_changes_nothing(site: Site, changes: Any, says: str) -> None:
    before, newest = site.integrator.config, site.store.event_range()
    answer = patch(site, changes)
    assert error_of(answer) == (422, "bad_settings")
    assert says in answer.get_json()["error"]["message"]
    assert (site.integrator.config, site.store.event_range()) == (before, newest)


def test_another_process_takes_them_over(tmp_path: Path) -> None:
    def integrator() -> RecoveryIntegrator:
        return RecoveryIntegrator(RecoveryConfig(), persistence=SQLitePersistence(tmp_path / "recovery.db"))

    here, there = integrator(), integrator()
    there.start()
    try:
        at = here.persistence.event_range()[1]
        here.persistence.append_event(
            settings.EVENT, {"settings": {"max_retries": 6, "enabled": True}, "process": "another"}
        )
        deadline = time.monotonic() + 20
        while there.config.max_retries != 6 and time.monotonic() < deadline:
            there.persistence.wait_for_events(at, 0.1)
        assert there.config.max_retries == 6
        assert there.config.enabled is False  # which nobody changes while it runs
    finally:
        there.stop()
        here.persistence.close()


def test_what_another_version_tells_harms_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    before = site.integrator.config
    settings.follow(site.integrator, Event(1, settings.EVENT, {"settings": {"mode": "sideways"}, "process": "x"}))
    assert site.integrator.config == before
    assert "cannot be used here" in caplog.text
    settings.follow(site.integrator, Event(1, settings.EVENT, {"process": "x"}))
    settings.follow(site.integrator, Event(1, "recovery_update", {"settings": {"max_retries": 1}}))
    assert site.integrator.config == before
