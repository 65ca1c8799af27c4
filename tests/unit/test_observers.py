"""An observer that hangs holds nothing up for long, and is left alone until it has come back."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

import pytest

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.manager import Extensions
from launcher_recovery.observers import HangingError, Observers
from launcher_recovery.records import RecoveryData
from tests.support import wait_for

DATA = RecoveryData("id", "launcher_download")
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def hanging(until: threading.Event, called: Callable[[], object] = lambda: None) -> Callable[[], None]:
    def observer() -> None:
        called()
        until.wait(60)

    return observer


def test_one_is_waited_for_and_has_the_context_of_the_caller_and_a_thread_of_its_own() -> None:
    seen: list[object] = []
    WHO.set("me")
    Observers().call("a", lambda: seen.extend((WHO.get(), threading.current_thread().daemon)))
    assert seen == ["me", True]


def test_what_it_raises_is_raised() -> None:
    def observer() -> None:
        raise KeyError("moose")

    observers = Observers()
    for _ in range(2):
        with pytest.raises(KeyError, match="moose"):
            observers.call("a", observer)


def test_one_that_hangs_is_left_alone_until_it_has_come_back_and_others_are_not() -> None:
    observers, until, calls = Observers(0.01), threading.Event(), []
    with pytest.raises(HangingError, match=r"has not come back for 0\.01 s, and is told nothing until it does"):
        observers.call("a", hanging(until))
    observers.call("a", lambda: calls.append("a"))
    assert calls == []
    Observers().call("b", lambda: calls.append("b"))
    patient = Observers(60)
    patient._hanging = observers._hanging  # the same state, with time enough for what is called
    patient.call("b", lambda: calls.append("b"))
    assert calls == ["b", "b"]
    until.set()

    def told() -> bool:
        patient.call("a", lambda: calls.append("a"))
        return "a" in calls

    assert wait_for(told, 30)


def test_an_error_that_comes_too_late_is_nobodys() -> None:
    observers, until = Observers(0.01), threading.Event()

    def observer() -> None:
        until.wait(60)
        raise KeyError("moose")

    with pytest.raises(HangingError):
        observers.call("a", observer)
    until.set()
    assert wait_for(lambda: not observers._hanging["a"], 30)


def test_an_extension_that_hangs_is_reported_and_the_others_are_told() -> None:
    until, told = threading.Event(), []

    class Hangs:
        @hookimpl(tryfirst=True)
        def recovery_settled(self) -> None:
            until.wait(60)

        @hookimpl
        def recovery_attempt_started(self) -> None:
            told.append("one that hangs")

    class Listens:
        @hookimpl
        def recovery_settled(self, operation: RecoveryData, error: BaseException | None) -> None:
            told.append((operation, error))

        @hookimpl
        def recovery_attempt_started(self, operation: RecoveryData) -> None:
            told.append(operation)

    observers = Observers(0.2)
    extensions = Extensions(RecoveryConfig(), observers=observers)
    extensions.register(Hangs(), "hangs")
    extensions.observe("settled", DATA, None)
    observers._limit_s = 60  # so that a slow machine does not take the other one for hanging
    extensions.register(Listens(), "listens")
    extensions.observe("settled", DATA, None)
    extensions.observe("attempt_started", DATA, None)
    assert told == [(DATA, None), DATA]
    (problem,) = extensions.problems
    assert problem == (
        "extension hangs failed in recovery_settled: HangingError: "
        "it has not come back for 0.2 s, and is told nothing until it does"
    )
    until.set()
