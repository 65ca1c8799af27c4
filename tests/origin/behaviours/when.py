"""For which requests something is done, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..answers import Answer, Behaviour, Request
from ..files import File


def combined(*behaviours: Behaviour) -> Behaviour:
    """One after the other, each with the answer of the one before."""

    def answer(request: Request, file: File, due: Answer) -> Answer:
        for behaviour in behaviours:
            due = behaviour(request, file, due)
        return due

    return answer


def script(*behaviours: Behaviour | None) -> Behaviour:
    """The first for the first GET, the next for the next, None for honesty; from then on honesty."""
    left = list(behaviours)
    lock = threading.Lock()

    def answer(request: Request, file: File, due: Answer) -> Answer:
        if request.method != "GET":
            return due
        with lock:
            behaviour = left.pop(0) if left else None
        return due if behaviour is None else behaviour(request, file, due)

    return answer


def when(condition: Callable[[Request], bool], behaviour: Behaviour) -> Behaviour:
    """For some requests only, such as `when(lambda request: request.range is not None, …)`."""
    return lambda request, file, due: behaviour(request, file, due) if condition(request) else due


def since(number: int, behaviour: Behaviour) -> Behaviour:
    """From the request of that number on."""
    return when(lambda request: request.number >= number, behaviour)
