"""Log records of what happens to operations, through the standard library's logging."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from launcher_recovery.happenings import Follower, Happening, delay_of
from launcher_recovery.known_secrets import without_known
from launcher_recovery.redaction import Redactor

logger = logging.getLogger("launcher_recovery")

FIELDS = ("operation_id", "function_name", "attempt", "max_attempts", "category", "delay_s")
"""The extra fields of a record about an operation; `delay_s` is in seconds, None unless another attempt follows."""

# Level and message by what happened; the names in braces are fields of the payload; `Plain` cleans it.
_MESSAGES: Mapping[Happening, tuple[int, str]] = {
    Happening.ATTEMPT_STARTED: (logging.INFO, "{title}: attempt {attempt} started"),
    Happening.ATTEMPT_FAILED: (logging.WARNING, "{title}: attempt {attempt} failed: {error}"),
    Happening.WAITING: (logging.INFO, "{title}: the next attempt is in {delay_s:g} s ({waiting_for})"),
    Happening.PAUSED: (logging.INFO, "{title}: paused"),
    Happening.SUCCEEDED: (logging.INFO, "{title}: finished at attempt {attempt}"),
    Happening.GAVE_UP: (logging.ERROR, "{title}: gave up after attempt {attempt}: {error}"),
    Happening.CANCELLED: (logging.INFO, "{title}: cancelled"),
}
_RECOVERED = "{title}: recovered at attempt {attempt}"
_WAITING_FOR_SOMETHING = "{title}: it waits ({waiting_for}): {explanation}"


def one_line(text: str) -> str:
    """`text` without line ends and other control characters, so that nobody can forge a log record with it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


class Plain(logging.Filter):
    """Makes what comes from outside in a record plain text without secrets: the message is one line, and the lines of
    a traceback are indented, so that none of them can be taken for another record."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            record.msg, record.args = one_line(_without_secrets(record.getMessage())), ()
            if record.exc_info and not record.exc_text:
                record.exc_text = _indented("".join(traceback.format_exception(*record.exc_info)))
        except Exception:
            return True  # the handlers say what is wrong with it
        return True


def _without_secrets(text: str) -> str:
    return _redactor.text(without_known(text))


def _indented(text: str) -> str:
    return "\n".join(f"  {one_line(line)}" for line in _without_secrets(text).rstrip("\n").split("\n"))


_redactor = Redactor()
logger.addFilter(Plain())


def _log(happening: Happening, payload: Mapping[str, Any]) -> None:
    if happening not in _MESSAGES:
        return
    level, message = _MESSAGES[happening]
    if not logger.isEnabledFor(level):
        return
    if happening is Happening.SUCCEEDED and payload["attempt"] > 1:
        message = _RECOVERED
    if happening is Happening.WAITING and payload["next_attempt_at"] is None:
        message = _WAITING_FOR_SOMETHING
    fields = {**payload, "delay_s": delay_of(payload) or 0.0}
    text = message.format_map(fields)
    waits = happening in (Happening.ATTEMPT_FAILED, Happening.WAITING) and payload["state"] == "recovering"
    extra = {name: fields[name] for name in FIELDS}
    extra["delay_s"] = fields["delay_s"] if waits else None
    extra["event"] = happening.value
    logger.log(level, "%s", text, extra=extra)


_follower = Follower(_log)
_json_handler: logging.Handler | None = None


def enable_logging(*, json: bool = False) -> None:
    """Log what happens to every operation of this process, to the logger "launcher_recovery".

    A `RecoveryIntegrator` calls this; code that uses only `recoverable` calls it itself. Calling it twice is fine.

    Args:
        json: also write the records to standard error, one JSON object a line (`JsonFormatter`), from level INFO
            on and instead of through the handlers of the root logger. Left off, handlers and levels are the
            application's business.
    """
    global _json_handler
    _follower.attach()
    if json and _json_handler is None:
        _json_handler = logging.StreamHandler()
        _json_handler.setFormatter(JsonFormatter())
        logger.addHandler(_json_handler)
        logger.propagate = False
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)


def disable_logging() -> None:
    """Undo `enable_logging`; a level that it set stays."""
    global _json_handler
    _follower.detach()
    if _json_handler is not None:
        logger.removeHandler(_json_handler)
        logger.propagate = True
        _json_handler = None


class JsonFormatter(logging.Formatter):
    """One JSON object a record, on one line: time (ISO 8601 UTC), level, logger, message, `event` and `FIELDS`
    where the record has them, and the traceback as `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": one_line(record.getMessage()),
        }
        for name in ("event", *FIELDS):
            if hasattr(record, name):
                value = getattr(record, name)
                entry[name] = one_line(value) if isinstance(value, str) else value
        if record.exc_info:
            entry["exception"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(entry, default=str)
