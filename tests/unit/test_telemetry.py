"""Spans show an operation and its attempts, one within the other, with the times of the record."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, get_current_span

from launcher_recovery import RecoveryConfig, RecoveryIntegrator, enable_telemetry, telemetry
from launcher_recovery.policy import Policy
from launcher_recovery.telemetry import Telemetry
from tests.unit.kit import Kit


class Spans:
    """What was exported so far."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.telemetry: Telemetry = enable_telemetry(self.provider)

    def ended(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def names(self) -> list[str]:
        return [span.name for span in self.ended()]


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    made.telemetry.detach()


def flaky(failures: int) -> Any:
    left = [ConnectionError("broken")] * failures

    def work() -> None:
        if left:
            raise left.pop()

    return work


def test_one_span_an_operation_and_one_an_attempt(kit: Kit, spans: Spans) -> None:
    """The attempts are children of the operation, the failed one says why, and the wait is between them."""
    kit.run(flaky(1), title="model.bin")
    first, second, whole = spans.ended()
    assert [span.name for span in (first, second, whole)] == ["attempt 1", "attempt 2", "work"]
    assert whole.context is not None
    for attempt in (first, second):
        assert attempt.parent is not None
        assert attempt.parent.span_id == whole.context.span_id
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, "ConnectionError: broken")
    assert second.status.status_code is whole.status.status_code is StatusCode.UNSET
    assert first.end_time is not None
    assert second.start_time == first.end_time + 10**9
    assert whole.start_time == first.start_time
    assert whole.attributes is not None
    assert whole.attributes["launcher_recovery.operation_id"] == kit.data.operation_id
    assert whole.attributes["launcher_recovery.attempt"] == 2
    assert whole.attributes["launcher_recovery.state"] == "success"
    assert [event.name for event in whole.events] == ["waiting"]


def test_giving_up_is_an_error(kit: Kit, spans: Spans) -> None:
    """The operation's span has the category and the error that it ended with."""
    with pytest.raises(ConnectionError):
        kit.run(flaky(9), Policy(max_attempts=1))
    attempt, whole = spans.ended()
    for span in (attempt, whole):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes is not None
        assert span.attributes["launcher_recovery.category"] == "network"


def test_an_operation_within_another_is_its_child(kit: Kit, spans: Spans) -> None:
    """The inner operation's span belongs to the attempt in which it was begun."""

    def outer() -> None:
        inner = kit.open(function_name="inner", parent_id=kit.data.operation_id)
        kit.engine.run(inner, Policy(), flaky(0))

    kit.run(outer)
    by_name = {span.name: span for span in spans.ended() if span.name in ("inner", "work")}
    outer_attempt = spans.ended()[-2]
    assert outer_attempt.context is not None
    assert by_name["inner"].parent is not None
    assert by_name["inner"].parent.span_id == outer_attempt.context.span_id


def test_pause_and_cancel_end_what_runs(kit: Kit, spans: Spans) -> None:
    """A pause ends the attempt, a cancel the operation."""
    data = kit.open()
    kit.lifecycle.begin_attempt(data.operation_id, 3)
    kit.lifecycle.pause(data.operation_id)
    assert spans.names() == ["attempt 1"]
    kit.lifecycle.cancel(data.operation_id)
    assert spans.names() == ["attempt 1", "work"]


def test_what_is_left_is_ended(kit: Kit, spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """No span stays open for ever: neither of records that were deleted, nor after the end."""
    monkeypatch.setattr("launcher_recovery.telemetry._OPEN", 1)
    kit.open()
    data = kit.open(function_name="other")
    assert spans.names() == ["work"]
    kit.lifecycle.begin_attempt(data.operation_id, 3)
    spans.telemetry.detach()
    assert spans.names() == ["work", "attempt 1", "other"]
    kit.run(flaky(0))
    assert len(spans.names()) == 3


def test_without_opentelemetry() -> None:
    """Asking for spans says what is missing; nothing else needs it."""
    code = """
import sys
sys.modules["opentelemetry"] = None
from launcher_recovery import enable_telemetry, recoverable
recoverable(lambda: 1)()
try: enable_telemetry()
except ImportError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == (
        "spans need the OpenTelemetry API, which is not installed: pip install 'launcher-recovery[telemetry]'"
    )


def test_what_is_returned_need_not_be_kept(kit: Kit, spans: Spans) -> None:
    """A program that only switches spans on has them until its end."""
    spans.telemetry.detach()
    exporter = InMemorySpanExporter()
    spans.provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = set(telemetry._attached)
    enable_telemetry(spans.provider)
    gc.collect()
    kit.run(flaky(0))
    for item in telemetry._attached - before:
        item.detach()
    assert [span.name for span in exporter.get_finished_spans()] == ["attempt 1", "work"]


def test_an_integrator_makes_spans_from_its_start_to_its_stop(
    kit: Kit, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where OpenTelemetry is installed a host has spans without asking for them."""
    spans.telemetry.detach()
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: spans.provider)
    integrator = RecoveryIntegrator(RecoveryConfig(persistence_enabled=False))
    integrator.start()
    kit.run(flaky(0))
    integrator.stop()
    kit.run(flaky(0))
    assert spans.names() == ["attempt 1", "work"]


def test_an_integrator_starts_without_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is missed where it is not installed."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    integrator = RecoveryIntegrator(RecoveryConfig(persistence_enabled=False))
    integrator.start()
    integrator.stop()


def test_spans_of_the_code_are_children_of_the_attempt(kit: Kit, spans: Spans) -> None:
    """Each attempt is the current span inside its handler, and only there; its error is the record's."""
    tracer = spans.provider.get_tracer("mine")
    left = [ConnectionError("broken")]

    def work() -> None:
        with tracer.start_as_current_span("mine"):
            pass
        if left:
            raise left.pop()

    kit.run(work)
    assert not get_current_span().get_span_context().is_valid
    of = {span.context.span_id: span.name for span in spans.ended() if span.context is not None}
    parents = [of[span.parent.span_id] for span in spans.ended() if span.name == "mine" and span.parent is not None]
    assert parents == ["attempt 1", "attempt 2"]
    assert [event.name for span in spans.ended() if span.name == "attempt 1" for event in span.events] == []
    spans.telemetry.attach()
    spans.telemetry.detach()
    kit.run(lambda: get_current_span().get_span_context().is_valid and pytest.fail("a span is left"))


async def test_spans_of_a_coroutine_are_children_of_the_attempt(kit: Kit, spans: Spans) -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return str(getattr(get_current_span(), "name", None))

    assert await kit.run_async(work) == "attempt 1"
