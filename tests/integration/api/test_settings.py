"""The settings over the API: shown with their sources, changed in every process, or refused whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import settings
from launcher_recovery.config import RecoveryConfig, load_config
from launcher_recovery.errors import StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.signals import Event
from tests.site import Site, error_of
from tests.support import let_go
from tests.woven import ROOT


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


# -- kept over restarts -------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "data" / "recovery.db")


@pytest.fixture
def kept_site(place: str) -> Iterator[Site]:
    """A host whose state is on the disk."""
    with closing(SQLitePersistence(place)) as store:
        made = Site(store)
        yield made
        made.integrator.stop()
        let_go(made.store)


# What another process that starts later has, as its user starts it: with environment and files of its own.
_LATER = """
import json, sys
from launcher_recovery.config import load_config
from launcher_recovery.integration import RecoveryIntegrator

made = RecoveryIntegrator(load_config(json.loads(sys.argv[1])))
names = ("max_retries", "timeout", "concurrency", "bandwidth_limit")
limits = [made.config.concurrency["download"], made.config.sources]
print(json.dumps([{name: getattr(made.config, name) for name in names}, *limits]))
made.stop()
"""


def later(place: str, arguments: Mapping[str, Any] | None = None, **environ: str) -> tuple[dict[str, Any], Any, Any]:
    """The settings of a process that starts now, its limits of downloads, and where settings come from."""
    given = {**os.environ, "RECOVERY_PERSISTENCE_PATH": place, "PYTHONPATH": str(ROOT), **environ}
    command = [sys.executable, "-c", _LATER, json.dumps(arguments or {})]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    values, limits, sources = json.loads(done.stdout)
    return values, limits, sources


def test_what_is_kept_counts_for_a_process_that_starts_later(kept_site: Site, place: str) -> None:
    changes = {"max_retries": 9, "timeout": None, "concurrency": "download:3/2"}
    body = kept_site.send("/config", {"settings": changes, "keep": True}, method="PATCH").get_json()
    assert body["message"] == "concurrency, max_retries, timeout are changed, also when the launcher is started again."
    assert body["kept"]["max_retries"] == 9
    assert shown(kept_site)["max_retries"]["source"] == "kept"
    patch(kept_site, {"bandwidth_limit": "1M"})  # which is not
    values, limits, sources = later(place, RECOVERY_MAX_RETRIES="4", RECOVERY_TIMEOUT="50")
    assert (values["max_retries"], values["timeout"], values["bandwidth_limit"]) == (9, None, None)
    assert limits == [3, 2]
    assert sources["max_retries"] == sources["concurrency"] == "kept"


def test_what_the_code_of_a_launcher_gives_goes_before_what_is_kept(kept_site: Site, place: str) -> None:
    kept_site.send("/config", {"settings": {"max_retries": 9, "timeout": 70}, "keep": True}, method="PATCH")
    values, _, sources = later(place, {"max_retries": 2})
    assert (values["max_retries"], values["timeout"]) == (2, 70)
    assert sources["max_retries"] == "max_retries"
    with closing(SQLitePersistence(place)) as store:
        own = RecoveryIntegrator(RecoveryConfig(max_retries=1), persistence=store)
        assert (own.config.max_retries, own.config.timeout) == (1, 70)
        let_go(own.persistence)


@pytest.mark.parametrize(
    ("method", "body", "left"),
    [
        ("PATCH", {"settings": {"max_retries": 7}, "keep": False}, {"timeout": 70}),
        ("PATCH", {"settings": {"max_retries": 7}}, {"max_retries": 9, "timeout": 70}),
        ("PATCH", {"settings": {"max_retries": 7}, "keep": True}, {"max_retries": 7, "timeout": 70}),
        ("DELETE", "?names=max_retries,mode", {"timeout": 70}),
        ("DELETE", "", {}),
    ],
)
def test_what_is_kept_is_forgotten_when_asked_to(
    kept_site: Site, place: str, method: str, body: Any, left: dict[str, Any]
) -> None:
    kept_site.send("/config", {"settings": {"max_retries": 9, "timeout": 70}, "keep": True}, method="PATCH")
    query, given = ("", body) if method == "PATCH" else (body, {})
    answer = kept_site.send(f"/config{query}", given, method=method).get_json()
    assert answer["kept"] == left == kept_site.get("/config").get_json()["kept"]
    assert kept_site.integrator.config.timeout == 70
    assert kept_site.integrator.config.max_retries == (7 if method == "PATCH" else 9)
    with closing(SQLitePersistence(place)) as store:
        own = RecoveryIntegrator(load_config({}, {"RECOVERY_MAX_RETRIES": "4"}), persistence=store)
        assert own.config.max_retries == left.get("max_retries", 4)
        assert own.config.timeout == left.get("timeout")
        let_go(own.persistence)


def test_what_cannot_be_used_is_not_kept(kept_site: Site) -> None:
    for changes in ({"max_retries": -1}, {"timeout": 5, "api_token": "x" * 40}):
        answer = kept_site.send("/config", {"settings": changes, "keep": True}, method="PATCH")
        assert error_of(answer) == (422, "bad_settings")
    assert kept_site.get("/config").get_json()["kept"] == {}


def test_nothing_can_be_kept_where_nothing_is() -> None:
    site = Site(MemoryPersistence())
    answer = site.send("/config", {"settings": {"timeout": 5}, "keep": True}, method="PATCH")
    assert error_of(answer) == (422, "bad_settings")
    assert "cannot be kept over a restart" in answer.get_json()["error"]["message"]
    assert site.integrator.config.timeout is None
    assert site.send("/config", {}, method="DELETE").get_json()["kept"] == {}
    assert patch(site, {"timeout": 5}).status_code == 200


def test_what_another_version_kept_harms_nothing(place: str, caplog: pytest.LogCaptureFixture) -> None:
    with closing(SQLitePersistence(place)) as store:
        kept = {"mode": "sideways", "colour": 1, "enabled": True, "max_retries": 6}
        store.share("settings", ("launcher",), lambda row: {"kept": kept, "updated_at": 1.0})
        own = RecoveryIntegrator(RecoveryConfig(), persistence=store)
        assert (own.config.mode, own.config.enabled, own.config.max_retries) == ("recover", False, 6)
        assert "a setting that is kept cannot be used: mode='sideways'" in caplog.text
        let_go(own.persistence)


def test_a_store_that_cannot_be_read_harms_nothing(
    place: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> Any:
        raise StoreError("The disk is gone.")

    monkeypatch.setattr("launcher_recovery.persistence.resilient.ResilientPersistence.shared", fail)
    with closing(SQLitePersistence(place)) as store:
        own = RecoveryIntegrator(RecoveryConfig(), persistence=store)
        assert own.config == RecoveryConfig()
        assert "settings that are kept cannot be read" in caplog.text
        let_go(own.persistence)


def test_another_process_that_runs_tells_that_they_are_kept(kept_site: Site, place: str) -> None:
    told = Event(1, settings.EVENT, {"settings": {"timeout": 3}, "kept": True, "process": "x"})
    settings.follow(kept_site.integrator, told)
    assert shown(kept_site)["timeout"]["source"] == "kept"


# -- other versions -----------------------------------------------------------------------------------


def test_what_another_version_tells_harms_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    before = site.integrator.config
    settings.follow(site.integrator, Event(1, settings.EVENT, {"settings": {"mode": "sideways"}, "process": "x"}))
    assert site.integrator.config == before
    assert "cannot be used here" in caplog.text
    settings.follow(site.integrator, Event(1, settings.EVENT, {"process": "x"}))
    settings.follow(site.integrator, Event(1, "recovery_update", {"settings": {"max_retries": 1}}))
    assert site.integrator.config == before
