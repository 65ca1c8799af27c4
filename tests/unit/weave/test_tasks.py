"""Celery: what a module binds is but a stand-in for the task, so that the function is woven below it."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from launcher_recovery.joinpoints import Host, JoinPoint
from launcher_recovery.weave import weaver as weaver_module
from launcher_recovery.weave.fingerprints import fingerprint_of
from launcher_recovery.weave.weaver import CELERY_APP, Weaver
from tests.woven import load

pytest.importorskip("celery")

SHARED = """
from celery import shared_task

@shared_task(ignore_result=False)
def work(a, b=1):
    return f"worked {a} {b}"
"""
OF_APP = """
from celery import Celery

app = Celery("wv", set_as_current=False)

@app.task(bind=True)
def work(self, a):
    return f"{self.name} {a}"
"""
WORKED = "advised by integrator: worked 5 1"


@pytest.fixture(autouse=True)
def _apps() -> Iterator[None]:
    """The apps and the shared tasks of a test are not those of the next one."""
    from celery import _state

    before = set(_state._on_app_finalizers), _state.default_app, _state._tls.current_app
    # One that other tests have made takes shared tasks as well.
    apps = {made: set(made._tasks) for made in _state._get_active_apps()}
    yield
    for made in set(_state._get_active_apps()):
        if made not in apps:
            _state._deregister_app(made)
            continue
        for name in set(made._tasks) - apps[made]:
            del made._tasks[name]
    _state._on_app_finalizers.clear()
    _state._on_app_finalizers.update(before[0])
    _state.default_app, _state._tls.current_app = before[1:]


def app() -> Any:
    from celery import Celery

    made = Celery("wv", broker="memory://", task_always_eager=True)
    made.set_default()
    return made


def host(source: str, **more: Any) -> Host:
    known = (fingerprint_of(source, "work"),)
    return Host("mine", (JoinPoint("wv_tasks", "work", "create_project", fingerprints=known, task=True, **more),))


def test_a_shared_task_is_woven_in_the_worker_and_in_a_call(write: Callable[..., None], weaver: Weaver) -> None:
    """Whichever app takes it, and whatever class its tasks are of."""
    from celery import Celery, Task

    class InContext(Task):  # type: ignore[misc, type-arg, unused-ignore]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.run(*args, **kwargs)

    write(wv_tasks=SHARED)
    weaver.weave([host(SHARED)])
    tasks = load("wv_tasks")
    assert [found.state for found in weaver.standings] == ["live"]
    current = app()
    other = Celery("other", task_cls=InContext, set_as_current=False)
    assert tasks.work(5) == WORKED
    assert tasks.work.delay(5).get() == WORKED
    assert other.tasks["wv_tasks.work"](5) == WORKED
    assert current.tasks["wv_tasks.work"].run(5, b=2) == "advised by integrator: worked 5 2"
    assert tasks.work.name == "wv_tasks.work"
    with pytest.raises(TypeError, match="required positional argument"):
        tasks.work.delay()


def test_a_task_of_an_app_gets_itself(write: Callable[..., None], weaver: Weaver) -> None:
    write(wv_tasks=OF_APP)
    weaver.weave([host(OF_APP)])
    assert load("wv_tasks").work(5) == "advised by integrator: wv_tasks.work 5"


@pytest.mark.parametrize("source", [SHARED, OF_APP])
def test_tasks_that_were_made_before_are_woven_at_once_and_are_as_they_were_when_it_is_undone(
    write: Callable[..., None], weaver: Weaver, source: str
) -> None:
    write(wv_tasks=source)
    tasks = load("wv_tasks")
    current = app() if source == SHARED else tasks.app
    current.finalize()
    before = tasks.work(5)
    weaver.weave([host(source)])
    weaver.weave([host(source)])
    assert tasks.work(5) == f"advised by integrator: {before}"
    weaver.unweave()
    assert tasks.work(5) == before
    load("celery.app.base")
    assert isinstance(sys.modules[CELERY_APP].Celery._task_from_fun, types.FunctionType)


def test_other_tasks_and_those_of_an_unknown_shape_are_left_alone(write: Callable[..., None], weaver: Weaver) -> None:
    source = SHARED + "@shared_task\ndef other(): return 'other'\n"
    write(wv_tasks=source.replace("worked", "did"))
    weaver.weave([host(source)])
    tasks = load("wv_tasks")
    app()
    assert (tasks.work(5), tasks.other()) == ("did 5 1", "other")
    assert [found.state for found in weaver.standings] == ["off"]


def test_an_error_leaves_the_task_as_it_is(
    write: Callable[..., None], weaver: Weaver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("not today")

    write(wv_tasks=SHARED)
    weaver.weave([host(SHARED)])
    tasks = load("wv_tasks")
    app()
    monkeypatch.setattr(weaver_module, "judged", fail)
    assert tasks.work(5) == "worked 5 1"
    assert "a task is not woven: RuntimeError: not today" in caplog.messages


def test_a_celery_of_another_shape_is_left_alone(
    write: Callable[..., None], weaver: Weaver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(wv_tasks=SHARED)
    load("celery.app.base")
    monkeypatch.setitem(sys.modules, CELERY_APP, types.ModuleType(CELERY_APP))
    weaver.weave([host(SHARED)])
    assert "tasks of Celery are not woven: AttributeError" in caplog.text


def test_without_celery_it_is_no_task(
    write: Callable[..., None], weaver: Weaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, CELERY_APP, raising=False)
    source = "def work(a): return a\n"
    write(wv_tasks=source)
    weaver.weave([host(source)])
    assert load("wv_tasks").work(5) == 5
    (found,) = weaver.standings
    assert (found.state, found.reason) == ("off", "it is no task of Celery, which is not imported")
