"""Log records tell the story of an operation, with its fields, each on one line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from launcher_recovery import RecoveryConfig, RecoveryIntegrator, enable_logging, logs
from launcher_recovery.known_secrets import know
from launcher_recovery.logs import FIELDS, JsonFormatter, disable_logging, one_line
from launcher_recovery.operation import OperationCancelled
from launcher_recovery.policy import Policy
from tests.unit.kit import Kit


@pytest.fixture(autouse=True)
def listening(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO, "launcher_recovery")
    enable_logging()
    yield
    disable_logging()


def flaky(failures: int, text: str = "broken") -> Any:
    left = [ConnectionError(text)] * failures

    def handler() -> str:
        if left:
            raise left.pop()
        return "done"

    return handler


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_the_story_of_an_operation(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    """Each change is one record, with the fields that a log collector filters by."""
    kit.run(flaky(1), title="model.bin")
    assert told(caplog) == [
        ("INFO", "model.bin: attempt 1 started"),
        ("WARNING", "model.bin: attempt 1 failed: ConnectionError: broken"),
        ("INFO", "model.bin: the next attempt is in 1 s (backoff)"),
        ("INFO", "model.bin: attempt 2 started"),
        ("INFO", "model.bin: recovered at attempt 2"),
    ]
    failed = vars(caplog.records[1])
    assert {name: failed[name] for name in FIELDS} == {
        "operation_id": kit.data.operation_id,
        "function_name": "work",
        "attempt": 1,
        "max_attempts": 4,
        "category": "network",
        "delay_s": 1.0,
    }
    assert vars(caplog.records[-1])["delay_s"] is None


def test_giving_up_cancelling_and_pausing(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    """The ends of an operation are told at the level that they deserve."""
    with pytest.raises(ConnectionError):
        kit.run(flaky(9), Policy(max_attempts=1))
    with pytest.raises(OperationCancelled):
        kit.run(lambda: kit.lifecycle.pause(kit.data.operation_id) and kit.lifecycle.cancel(kit.data.operation_id))
    kit.run(flaky(0))
    assert told(caplog)[1:] == [
        ("WARNING", "work: attempt 1 failed: ConnectionError: broken"),
        ("ERROR", "work: gave up after attempt 1: ConnectionError: broken"),
        ("INFO", "work: attempt 1 started"),
        ("INFO", "work: paused"),
        ("INFO", "work: cancelled"),
        ("INFO", "work: attempt 1 started"),
        ("INFO", "work: finished at attempt 1"),
    ]


def test_nothing_is_made_of_records_that_nobody_wants(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    """Below the level of the logger there is no record."""
    caplog.set_level(logging.ERROR, "launcher_recovery")
    kit.run(flaky(1))
    assert caplog.records == []


def test_control_characters_cannot_forge_a_record(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    """What a server sent stays on the line of its record."""
    kit.run(flaky(1, "bad\r\n2026 INFO all is well\x1b[2J\u2028"), title="a\nb {attempt}")
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert caplog.records[0].getMessage() == "a b {attempt}: attempt 1 started"


def test_json_on_request(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line on standard error, once however often it was asked for."""
    enable_logging(json=True)
    enable_logging(json=True)
    kit.run(flaky(1, "line 1\nline 2"))
    logs.logger.propagate = True
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == [
        "attempt_started", "attempt_failed", "waiting", "attempt_started", "succeeded",
    ]  # fmt: skip
    assert lines[1]["message"] == "work: attempt 1 failed: ConnectionError: line 1 line 2"
    assert lines[1]["delay_s"] == 1.0
    assert lines[1]["level"] == "WARNING"
    assert lines[1]["time"].endswith("+00:00")


def test_json_sets_a_level_where_there_is_none() -> None:
    """Asked for JSON, it shows the records, which the default level of the root would hide."""
    logs.logger.setLevel(logging.NOTSET)
    enable_logging(json=True)
    assert logs.logger.level == logging.INFO


def test_json_of_other_records() -> None:
    """A record without the fields, with a traceback, is one line too."""
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "a\tb", (), (ValueError, error, None))
    text = JsonFormatter().format(record)
    assert "\n" not in text
    entry = json.loads(text)
    assert entry["message"] == "a b"
    assert "ValueError: two\nlines" in entry["exception"]
    assert "operation_id" not in entry


def test_an_integrator_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever makes one need not ask for it, and two do not log twice."""
    disable_logging()
    integrators = [RecoveryIntegrator(RecoveryConfig(persistence_enabled=False)) for _ in range(2)]
    integrators[0].apply_to_operation(lambda: 1)()
    for integrator in integrators:
        integrator.stop()
    assert len(caplog.records) == 2


def test_one_line() -> None:
    """Letters of every script stay as they are."""
    assert one_line("Größe 模型\x00\x9b") == "Größe 模型  "


def test_what_comes_from_outside_is_one_line_in_every_record(caplog: pytest.LogCaptureFixture) -> None:
    evil = "m.pt\r\nERROR launcher_recovery: forged\x1b[31m\u2028\x85\x00"
    logging.getLogger("launcher_recovery").warning("%s cannot be read: %s", evil, ValueError(evil))
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert record.getMessage().startswith("m.pt  ERROR launcher_recovery: forged")


def test_no_line_of_a_traceback_can_be_taken_for_a_record(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("launcher_recovery")
    try:
        raise ValueError("broken\nERROR launcher_recovery: forged\x1b[2J\r")
    except ValueError:
        logger.exception("it failed")
    (record,) = caplog.records
    written = logging.Formatter().format(record)
    first, *lines = written.split("\n")
    assert first == "it failed"
    assert all(line.startswith("  ") and line.isprintable() for line in lines)
    assert "  ERROR launcher_recovery: forged [2J " in lines
    assert "forged" in json.loads(JsonFormatter().format(record))["exception"]


def test_no_record_has_a_secret_neither_by_its_form_nor_by_its_value(caplog: pytest.LogCaptureFixture) -> None:
    know("a-value-that-was-given-away")
    logger = logging.getLogger("launcher_recovery")
    try:
        raise ValueError("Authorization: Bearer abcdefgh12345678 a-value-that-was-given-away")
    except ValueError:
        logger.exception("https://u:hidden@h/x?token=hidden a-value-that-was-given-away")
    written = logging.Formatter().format(caplog.records[0])
    for secret in ("hidden", "abcdefgh12345678", "a-value-that-was-given-away"):
        assert secret not in written
    assert "https://h/x?token=***" in written


def test_a_record_that_cannot_be_written_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    record = logging.LogRecord("launcher_recovery", logging.INFO, "", 0, "%d files", ("many",), None)
    assert logs.Plain().filter(record)
    assert (record.msg, record.args) == ("%d files", ("many",))
