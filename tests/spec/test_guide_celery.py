"""The integration guide's sample with Celery."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task

from launcher_recovery import RecoverableTask as OurTask
from launcher_recovery import SQLitePersistence, recoverable


class RecoverableTask(Task):
    @classmethod
    def apply_recovery(cls, task_func: Any) -> Any:
        return recoverable(max_retries=3, persistence=SQLitePersistence(), circuit_breaker_threshold=5)(task_func)


@pytest.mark.parametrize("base", [RecoverableTask, OurTask])
@pytest.mark.parametrize("as_task", [False, True])
def test_celery(base: Any, as_task: bool) -> None:
    """The class of the sample, and the one of the package, make a function recover, as itself and as a task."""
    left = [ConnectionError("Connection lost")] * 2

    @base.apply_recovery
    def process_model_download(model_info: dict[str, Any]) -> str:
        if left:
            raise left.pop()
        return str(model_info["name"])

    if as_task:
        app = Celery("sample", set_as_current=False)
        app.conf.task_always_eager = True
        assert app.task(shared=False)(process_model_download).delay({"name": "m"}).get() == "m"
    else:
        assert process_model_download({"name": "m"}) == "m"
