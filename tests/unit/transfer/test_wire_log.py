"""What urllib3 logs of our requests has no secrets; what it logs of those of others is left as it is."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import requests

from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.transfer.healing import switch as healing
from launcher_recovery.transfer.healing.own import ours
from launcher_recovery.transfer.http import wire_log
from launcher_recovery.transfer.http.request import ask
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.sources.source import Source
from tests.origin import File, Origin
from tests.origin import behaviours as act
from tests.unit.kit import Kit

SECRET = "f00dfeedc0ffee"
QUERY = f"?X-Amz-Signature={SECRET}"
FILE = File(200_000)


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")


def log_of(caplog: pytest.LogCaptureFixture) -> str:
    records = [record for record in caplog.records if record.name.startswith("urllib3")]
    return "\n".join(f"{record.getMessage()} {vars(record)!r}" for record in records)


def test_a_request_of_ours_is_logged_without_them(caplog: pytest.LogCaptureFixture) -> None:
    with Origin() as origin, requests.Session() as session:
        source = Source(origin.add(FILE) + QUERY)
        ask(session, source, 0, 10, Validators(), trust_range=True).close()
    assert '"GET /model.bin?X-Amz-Signature=*** HTTP/1.1" 206' in log_of(caplog)
    assert SECRET not in log_of(caplog)


def test_a_request_of_others_is_logged_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    with ours():
        pass
    with Origin() as origin, requests.Session() as session:
        session.get(origin.add(FILE) + QUERY)
    assert f"GET /model.bin{QUERY}" in log_of(caplog)


def test_a_healed_request_is_logged_without_them(caplog: pytest.LogCaptureFixture, kit: Kit, tmp_path: Path) -> None:
    """Neither the first request of the handler, nor those for the rest."""
    installed = healing.install(tmp_path / "bodies", FixedDelayStrategy(0))
    try:
        with Origin() as origin:
            url = origin.add(FILE, act.script(act.drop(100_000))) + QUERY

            def handler() -> None:
                with requests.get(url, stream=True, timeout=30) as response:
                    assert response.content == FILE.content()

            kit.run(handler)
            assert len(origin.requests()) == 2
    finally:
        healing.uninstall(installed)
    assert log_of(caplog).count("X-Amz-Signature=***") >= 2
    assert SECRET not in log_of(caplog)


def test_a_record_without_secrets_keeps_its_arguments() -> None:
    record = logging.LogRecord("urllib3.connectionpool", logging.DEBUG, "", 0, "%s has %d", ("it", 3), None)
    assert wire_log._Filter(lambda: True).filter(record)
    assert (record.msg, record.args) == ("%s has %d", ("it", 3))


def test_the_filter_is_there_once() -> None:
    for _ in range(3):
        with ours():
            pass
    for name in wire_log._LOGGERS:
        assert len([one for one in logging.getLogger(name).filters if isinstance(one, wire_log._Filter)]) == 1
