"""Celery tasks recover inside one run of the task, and Celery sees one outcome."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Ignore, Reject, Retry

from launcher_recovery import RecoverableTask, RecoveryIntegrator, RecoveryState, integration
from launcher_recovery.celery import TaskClassifier
from launcher_recovery.config import load_config


@pytest.fixture(autouse=True)
def integrator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RecoveryIntegrator]:
    """This process's integrator, which waits for nothing, with its database in a folder of its own."""
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "recovery.db"))
    monkeypatch.setenv("RECOVERY_INITIAL_DELAY", "0")
    made = RecoveryIntegrator(load_config())
    integration.set_recovery_integrator(made)
    yield made
    made.stop()
    integration.set_recovery_integrator(None)


@pytest.fixture
def app() -> Celery:
    """An application whose tasks run where they are called."""
    made = Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    made.conf.update(task_always_eager=True, task_eager_propagates=False)
    return made


def flaky(failures: int, error: Exception | None = None) -> Any:
    left = [error or ConnectionError("broken")] * failures

    def work() -> None:
        if left:
            raise left.pop()

    return work


def test_a_task_recovers(app: Celery, integrator: RecoveryIntegrator) -> None:
    """Two failures inside are one success for Celery, kept in the store under the function's name."""
    work = flaky(2)

    @app.task(shared=False, base=RecoverableTask)
    def download(url: str, size: int = 0) -> str:
        work()
        return f"{url} {size}"

    assert download.delay("u", size=3).get() == "u 3"
    (data,) = integrator.persistence.find()
    assert (data.state, data.attempt, data.title) == (RecoveryState.SUCCESS, 3, "download")
    assert (data.args, data.kwargs, data.resumable) == (("u",), {"size": 3}, True)


def test_a_task_that_fails_fails_with_its_own_error(app: Celery, integrator: RecoveryIntegrator) -> None:
    """After all attempts Celery gets the original exception."""
    work = flaky(9)

    @app.task(shared=False, base=RecoverableTask, recovery_options={"max_retries": 1})
    def download() -> None:
        work()

    result = download.delay()
    assert result.state == "FAILURE"
    assert isinstance(result.result, ConnectionError)
    (data,) = integrator.persistence.find()
    assert data.attempt == 2


def test_a_bound_task_gets_itself(app: Celery, integrator: RecoveryIntegrator) -> None:
    """With `bind=True` the task is the first argument, at every attempt, and is not among what is kept."""
    work = flaky(1)
    seen: list[Any] = []

    @app.task(shared=False, base=RecoverableTask, bind=True)
    def download(self: Any, url: str) -> str:
        seen.append(self)
        work()
        return str(self.request.id)

    result = download.delay("u")
    assert result.get() == result.id
    assert seen == [download, download]
    (data,) = integrator.persistence.find()
    assert (data.args, data.resumable) == (("u",), True)


def test_a_task_class(app: Celery) -> None:
    """A class with a `run` method, and one that inherits it, recover as well; both run where they are called."""
    work = flaky(2)

    class Download(RecoverableTask):
        name = "download"

        def run(self, url: str) -> str:
            work()
            return f"{self.name} {url}"

    class Other(Download):
        name = "other"

    assert app.register_task(Download()).delay("u").get() == "download u"
    assert app.register_task(Other()).delay("u").get() == "other u"
    assert Download()("u") == "download u"


@pytest.mark.parametrize("error", [Ignore(), Reject("no"), Retry("later")])
def test_what_celery_raises_is_not_tried_again(error: Exception) -> None:
    """A task's own word to Celery gets there at once."""
    assert TaskClassifier().should_retry(error) is False
    assert TaskClassifier().should_retry(ConnectionError("broken")) is True


def test_a_tasks_own_retry_goes_back_to_the_queue(app: Celery) -> None:
    """`self.retry()` works as ever."""
    counts: list[int] = []

    @app.task(shared=False, base=RecoverableTask, bind=True)
    def download(self: Any) -> str:
        counts.append(self.request.retries)
        if len(counts) == 1:
            raise self.retry(countdown=0)
        return "done"

    assert download.delay().get() == "done"
    assert counts == [0, 1]


def test_a_plain_function(integrator: RecoveryIntegrator) -> None:
    """`apply_recovery` works on a function without an application, also on a coroutine function."""
    work = flaky(1)

    @RecoverableTask.apply_recovery
    def process(model: dict[str, Any]) -> str:
        """What it does."""
        work()
        return str(model["name"])

    @RecoverableTask.apply_recovery
    async def fetch() -> str:
        return "there"

    assert (process.__name__, process.__doc__) == ("process", "What it does.")
    assert process({"name": "m"}) == "m"
    assert asyncio.run(fetch()) == "there"
    assert len(integrator.persistence.find()) == 2


def test_nothing_is_opened_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing a module of tasks opens no database, which a worker's children would then share."""
    monkeypatch.setattr("launcher_recovery.integration._integrator", None)
    RecoverableTask.apply_recovery(lambda: 1)
    assert integration._integrator is None


def test_without_celery() -> None:
    """The class can be imported; each use says in one sentence what is missing."""
    code = """
import sys
sys.modules["celery"] = None
from launcher_recovery import RecoverableTask
def define():
    class Task(RecoverableTask): pass
for use in (RecoverableTask, lambda: RecoverableTask.apply_recovery(print), define):
    try: use()
    except ImportError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    sentence = "RecoverableTask needs Celery, which is not installed: pip install 'launcher-recovery[celery]'"
    assert done.stdout.splitlines() == [sentence] * 3
