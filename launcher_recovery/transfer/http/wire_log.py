"""Takes secrets out of what urllib3 logs of our requests: at level DEBUG it tells each path with its whole query."""

from __future__ import annotations

import logging
from collections.abc import Callable

from launcher_recovery.redaction import Redactor

# Those that name addresses. A filter of a logger sees what is logged to that one alone, not what its children are told.
_LOGGERS = ("urllib3.connectionpool", "urllib3.poolmanager", "urllib3.util.retry")


class _Filter(logging.Filter):
    """Lets every record pass, and takes the secrets out of those that are ours."""

    def __init__(self, is_ours: Callable[[], bool]) -> None:
        super().__init__()
        self._is_ours = is_ours
        self._redactor = Redactor()

    def filter(self, record: logging.LogRecord) -> bool:
        if self._is_ours():
            text = record.getMessage()
            redacted = self._redactor.text(text)
            if redacted != text:
                record.msg, record.args = redacted, None
        return True


_filter: _Filter | None = None


def redact(is_ours: Callable[[], bool]) -> None:
    """From now on redact what is logged where `is_ours` says so; only the first call does something."""
    global _filter
    if _filter is None:
        _filter = _Filter(is_ours)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_filter)
