"""Calls of woven functions as operations, of join points without an advice of their own."""

from __future__ import annotations

from typing import Any

import pytest

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import StoreError
from launcher_recovery.handles import handles_of
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.joinpoints import Call, JoinPoint
from launcher_recovery.kinds import OperationKind
from launcher_recovery.operation import current_operation
from launcher_recovery.records import RecoveryState
from launcher_recovery.weave.operations import as_operation


def integrator(**settings: Any) -> RecoveryIntegrator:
    config = RecoveryConfig(**{"initial_delay": 0, "max_retries": 2, "persistence_enabled": False, **settings})
    made = RecoveryIntegrator(config)
    made.load()
    return made


class Flaky:
    """Fails as often as it is told."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self, url: str, times: int = 1) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionResetError("reset")
        return f"got {url}"


@pytest.mark.parametrize("kind", ["download", "of_its_own"])
def test_a_call_is_an_operation_with_the_key_and_title_that_the_join_point_reads(kind: str) -> None:
    made = integrator()
    try:
        where = JoinPoint(
            "utils",
            "fetch",
            kind,
            key=lambda call: f"key of {call.args[0]}",
            title=lambda call: f"fetch {call.args[0]}",
            arguments=lambda call: {"url": call.arguments["url"], "destination": "/d/m"},
        )
        flaky = Flaky(2)
        assert as_operation(Call(where, flaky, ("http://h/m",), {}, made)) == "got http://h/m"
        (data,) = made.persistence.find()
        assert (data.kind, data.title, data.state) == (kind, "fetch http://h/m", RecoveryState.SUCCESS)
        assert (data.attempt, flaky.calls) == (3, 3)
        assert data.kwargs == {"url": "http://h/m", "destination": "/d/m"}
        assert made.persistence.latest_with_key(made.lifecycle.kept_key("key of http://h/m")) is not None
    finally:
        made.stop()


def test_arguments_that_the_kind_does_not_know_give_no_scope_and_no_place() -> None:
    made = integrator()
    try:
        made.kinds["mine"] = OperationKind(
            "mine", "h", key=str, title=str, scope=lambda given: given["host"], place=lambda given: given["folder"]
        )
        where = JoinPoint("utils", "fetch", "mine", arguments=lambda call: {"folder": 5} if call.kwargs else {})
        for kwargs in ({}, {"times": 2}):
            assert as_operation(Call(where, Flaky(1), ("u",), kwargs, made)) == "got u"
        assert made.guards.breakers() == []
    finally:
        made.stop()


def test_what_it_gives_up_with_is_the_launchers_own_error() -> None:
    made = integrator()
    try:
        flaky = Flaky(9)
        with pytest.raises(ConnectionResetError, match="reset"):
            as_operation(Call(JoinPoint("utils", "fetch", "mine"), flaky, ("u",), {}, made))
        (data,) = made.persistence.find()
        assert (data.state, data.title, data.key) == (RecoveryState.EXHAUSTED, "fetch", None)
        assert data.kwargs == {"url": "u", "times": 1}
    finally:
        made.stop()


@pytest.mark.parametrize("settings", [{"mode": "off"}, {"rollout": {"*": 0.0}}, {"modes": {"download": "off"}}])
def test_when_it_is_off_it_is_called_once_and_nothing_is_kept(settings: dict[str, Any]) -> None:
    made = integrator(**settings)
    try:
        flaky = Flaky(1)
        with pytest.raises(ConnectionResetError):
            as_operation(Call(JoinPoint("utils", "fetch", "download"), flaky, ("u",), {}, made))
        assert (flaky.calls, made.persistence.find()) == (1, [])
    finally:
        made.stop()


def test_observed_it_is_called_once_and_what_would_have_been_done_is_kept() -> None:
    """The error of the one call is raised as it is, and nothing joins it."""
    made = integrator(mode="observe")
    try:
        point = JoinPoint("utils", "fetch", "mine", key=lambda call: "k")
        for flaky in (Flaky(1), Flaky(0)):
            seen: list[Any] = []

            def fetch(url: str, flaky: Flaky = flaky, seen: list[Any] = seen) -> str:
                seen.append(current_operation())
                return flaky(url)

            call = Call(point, fetch, ("u",), {}, made)
            if flaky.failures:
                with pytest.raises(ConnectionResetError) as raised:
                    as_operation(call)
                assert not hasattr(raised.value, "__notes__")
            else:
                assert as_operation(call) == "got u"
            assert flaky.calls == 1
            assert [found.operation_id for found in seen] == [made.persistence.find()[0].operation_id]
        good, bad = made.persistence.find()
        assert (bad.state, bad.attempt, bad.max_attempts, bad.category) == ("failed", 1, 1, "network")
        assert bad.metadata["would"].startswith("yes: ")
        assert (good.state, good.result, good.key) == ("success", "got u", None)
        assert {data.metadata["observed"] for data in (good, bad)} == {True}
        assert current_operation() is None
        assert len(handles_of(made.persistence)._by_operation) == 0
    finally:
        made.stop()


def test_an_observed_call_that_is_ended_from_outside_is_left_for_nobody_to_run() -> None:
    def end(url: str) -> None:
        raise KeyboardInterrupt

    made = integrator(mode="observe")
    try:
        with pytest.raises(KeyboardInterrupt):
            as_operation(Call(JoinPoint("utils", "fetch", "mine"), end, ("u",), {}, made))
        (data,) = made.persistence.find()
        assert data.state is RecoveryState.CANCELLED
    finally:
        made.stop()


def test_one_that_cannot_be_observed_is_called_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise StoreError("no disk")

    made = integrator(mode="observe")
    try:
        monkeypatch.setattr(made.lifecycle, "start", fail)
        assert as_operation(Call(JoinPoint("utils", "fetch", "mine"), Flaky(0), ("u",), {}, made)) == "got u"
        assert "fetch is not observed: no disk" in caplog.messages
    finally:
        made.stop()


def test_while_nothing_can_be_recorded_it_is_called_as_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise StoreError("no disk")

    made = integrator()
    try:
        monkeypatch.setattr(made.engine, "enter", fail)
        assert as_operation(Call(JoinPoint("utils", "fetch", "mine"), Flaky(0), ("u",), {}, made)) == "got u"
        assert "fetch runs without recovery: no disk" in caplog.messages
    finally:
        made.stop()


def test_a_kind_of_an_extension_gives_its_scope() -> None:
    made = integrator()
    try:
        made.kinds["mine"] = OperationKind("mine", "h", key=str, title=str, scope=lambda given: given["url"])
        as_operation(Call(JoinPoint("utils", "fetch", "mine"), Flaky(1), ("host",), {}, made))
        assert [found.scope for found in made.guards.breakers()] == ["host"]
    finally:
        made.stop()
