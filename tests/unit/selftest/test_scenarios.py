"""Every scenario passes here, and tells when recovery does not do what it is there for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.breaker import CircuitBreaker
from launcher_recovery.classification import ErrorCategory, ErrorClassifier, Retry
from launcher_recovery.operation import Operation
from launcher_recovery.selftest import scenarios
from launcher_recovery.selftest.results import Check, NotPassedError, results_of

BY_ID = {one.id: one for one in scenarios.SCENARIOS}


@pytest.mark.parametrize("name", BY_ID)
def test_it_passes(name: str, tmp_path: Path) -> None:
    assert BY_ID[name].run(tmp_path).endswith(".")


def not_passed(name: str, folder: Path) -> str:
    with pytest.raises(NotPassedError) as caught:
        BY_ID[name].run(folder)
    return str(caught.value)


def test_one_that_is_not_tried_again_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scenarios, "_ATTEMPTS", 1)
    assert not_passed("server_error", tmp_path).startswith("The download ended exhausted: ")


def test_bytes_that_are_fetched_again_are_found(tmp_path: Path) -> None:
    with pytest.raises(NotPassedError, match=r"Too much was fetched again: 2 attempts, 3\.1 MB sent for 2\.1 MB"):
        scenarios._survives(tmp_path, ["drop", "no-range"], most=1.05)


def test_a_wrong_file_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = Path.read_bytes

    def wrong(path: Path) -> bytes:
        return b"x" + original(path)[1:] if path.name == "model.bin" else original(path)

    monkeypatch.setattr(Path, "read_bytes", wrong)
    monkeypatch.setattr(scenarios, "_content", functools.partial(bytes, scenarios.SIZE))
    assert not_passed("dropped_connection", tmp_path) == "The file is not what the server has."


def test_what_is_taken_for_something_else_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    classify = ErrorClassifier.classify

    def wrong(classifier: ErrorClassifier, error: BaseException, **given: Any) -> Any:
        from dataclasses import replace

        return replace(classify(classifier, error, **given), category=ErrorCategory.INTERNAL)

    monkeypatch.setattr(ErrorClassifier, "classify", wrong)
    assert not_passed("not_found", tmp_path) == "It was taken for internal in place of not_found."


def test_what_is_tried_again_in_vain_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    classify = ErrorClassifier.classify

    def wrong(classifier: ErrorClassifier, error: BaseException, **given: Any) -> Any:
        from dataclasses import replace

        return replace(classify(classifier, error, **given), retry=Retry.YES)

    monkeypatch.setattr(ErrorClassifier, "classify", wrong)
    assert not_passed("not_found", tmp_path) == "The download ended exhausted in place of failed."


def test_a_step_that_is_done_again_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Operation, "step", lambda operation, name, work: work())
    assert not_passed("restart", tmp_path) == "The first step was done again."


def test_a_breaker_that_never_opens_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(CircuitBreaker, "acquire", lambda breaker, call=None: 0.0)
    assert not_passed("dead_host", tmp_path).startswith("The host was asked again")


def check(name: str, run: Callable[[Path], str]) -> Check:
    return Check(name, name.title(), "It is tried.", run)


def test_what_there_is_no_time_for_is_not_begun_and_told() -> None:
    now = [0.0]

    def slow(folder: Path) -> str:
        now[0] += 30
        return f"{folder.is_dir()}."

    found = [*results_of([check("a", slow), check("b", slow), check("c", slow)], 60, lambda: now[0])]
    assert [(one.id, one.passed, one.seconds) for one in found] == [("a", True, 30), ("b", True, 30), ("c", None, 0)]
    assert found[0].detail == "True."
    assert found[2].detail == "There was no time left for it."


def test_what_breaks_is_no_reason_to_stop(caplog: pytest.LogCaptureFixture) -> None:
    def broken(folder: Path) -> str:
        raise OSError("the disk is gone")

    found = [*results_of([check("a", broken), check("b", lambda folder: "fine.")], 60)]
    assert [(one.passed, one.detail) for one in found] == [(False, "OSError: the disk is gone"), (True, "fine.")]
    assert "A could not be tried" in caplog.text
