"""What a check or a scenario found, and how each is run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from launcher_recovery.errors import text_of
from launcher_recovery.signals import silence

logger = logging.getLogger("launcher_recovery")


class NotPassedError(Exception):
    """A check found that something is not as it should be; the message says what, as a sentence."""


@dataclass(frozen=True)
class Result:
    """What came of one check or scenario.

    Args:
        id: its name for programs.
        passed: whether everything was as it should be; None: it was not run, since there was no time for it.
        detail: what was seen, as a sentence.
        seconds: what it took.
    """

    id: str
    passed: bool | None
    detail: str
    seconds: float


@dataclass(frozen=True)
class Check:
    """Something that can be tried.

    Args:
        id: its name for programs.
        title: its name for people.
        about: what is tried, and what has to come of it, as a sentence.
        run: tries it in an empty folder of its own; gives what was seen, as a sentence. What it raises is what is
            wrong.
    """

    id: str
    title: str
    about: str
    run: Callable[[Path], str]


def require(condition: object, text: str) -> None:
    """Raise `NotPassedError` with that sentence unless the condition holds."""
    if not condition:
        raise NotPassedError(text)


def results_of(
    checks: Iterable[Check], seconds: float, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[Result]:
    """Run one after the other; those for which no time is left are not begun.

    Args:
        seconds: after so many none is begun.
    """
    began = monotonic()
    for check in checks:
        at = monotonic()
        if at - began >= seconds:
            yield Result(check.id, None, "There was no time left for it.", 0.0)
            continue
        passed, detail = _tried(check)
        yield Result(check.id, passed, detail, round(monotonic() - at, 3))


def _tried(check: Check) -> tuple[bool, str]:
    try:
        with TemporaryDirectory(prefix="recovery-") as folder, silence():
            return True, check.run(Path(folder))
    except NotPassedError as problem:
        return False, str(problem)
    except Exception as error:  # whatever is wrong is what was to be found out
        logger.warning("%s could not be tried", check.title, exc_info=error)
        return False, f"{type(error).__name__}: {text_of(error)}"
