"""Weaves the join points of hosts into this process as modules are imported, and knows how each of them stands."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from launcher_recovery.joinpoints import Advice, Call, Host, JoinPoint
from launcher_recovery.weave.fingerprints import fingerprints_in
from launcher_recovery.weave.imports import Watcher
from launcher_recovery.weave.standing import LIVE, OFF, WAITING, Standing

logger = logging.getLogger("launcher_recovery")

CELERY_APP = "celery.app.base"
"""The module of Celery through which every task is made."""


@dataclass
class _Place:
    """A join point of a host, how it stands, and what undoes the weaving."""

    host: Host
    point: JoinPoint
    standing: Standing
    undo: Callable[[], None] = lambda: None


class Weaver:
    """The join points of some hosts, in this process.

    Nothing that goes wrong here reaches the host: the join point is off, and its standing says why.

    Args:
        integrator: gives this process's integrator, ready for use; asked with every call of a woven function.
        advise: what is done around the calls of join points without an advice of their own.
        changed: called when a join point is live or off.
    """

    def __init__(
        self,
        integrator: Callable[[], Any],
        advise: Callable[[Call], Any],
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self._integrator = integrator
        self._advise = advise
        self._changed = changed
        self._places: list[_Place] = []
        self._wanted: set[str] = set()
        self._watcher = Watcher(self._wanted, self._imported)
        self._lock = threading.RLock()
        self._without: set[str] = set()
        self._tasks: dict[Any, Any] = {}
        self._undo_celery: Callable[[], None] = lambda: None

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How every join point stands."""
        return tuple(place.standing for place in self._places)

    @property
    def found_hosts(self) -> tuple[Host, ...]:
        """The hosts of which a join point is live, or off."""
        return tuple(
            {place.host.name: place.host for place in self._places if place.standing.state != WAITING}.values()
        )

    def weave(self, hosts: Iterable[Host]) -> None:
        """Weave the join points of hosts, those of modules that are imported already at once; of hosts that are known,
        nothing is done."""
        with self._lock:
            known = {place.host.name for place in self._places}
            for host in hosts:
                if host.name in known:
                    continue
                known.add(host.name)
                for point in host.join_points:
                    self._places.append(_Place(host, point, Standing(host.name, point.name)))
                    self._wanted.add(point.module)
                    if point.task:
                        self._wanted.add(CELERY_APP)
        self._watcher.install()
        for name in sorted(self._wanted, key=lambda name: name != CELERY_APP):
            module = sys.modules.get(name)
            if module is not None:
                self._imported(module, late=True)

    def unweave(self) -> None:
        """Undo `weave`: every function is as it was."""
        self._watcher.uninstall()
        with self._lock:
            for place in reversed(self._places):
                place.undo()
            self._places.clear()
            self._wanted.clear()
            self._tasks.clear()
        self._undo_celery()

    # -- weaving ------------------------------------------------------------------------------------

    def _imported(self, module: ModuleType, late: bool = False) -> None:
        """A module's body has ended: weave what is in it."""
        name = getattr(getattr(module, "__spec__", None), "name", None) or module.__name__
        try:
            if name == CELERY_APP:
                self._weave_celery(module)
        except Exception as error:
            logger.warning("tasks of Celery are not woven: %s: %s", type(error).__name__, error)
        places = [place for place in self._places if place.point.module == name]
        for place in places:
            with self._lock:
                try:
                    self._weave(place, module, late)
                except Exception as error:  # it is the host's import that would fail
                    self._stand(place, OFF, f"weaving it failed with {type(error).__name__}: {error}")
        if any(place.standing.state != WAITING for place in places):
            try:
                self._changed()
            except Exception:
                logger.exception("how the join points stand could not be told")

    def _weave(self, place: _Place, module: ModuleType, late: bool) -> None:
        from launcher_recovery.weave import wrapping  # which loads wrapt

        point, file = place.point, getattr(module, "__file__", None)
        other = is_another(place.host, point, file)
        if other:
            place.standing = replace(place.standing, state=WAITING, reason=other)
            return
        reason, remark = judged(point, file)
        if reason:
            self._stand(place, OFF, reason)
            return
        if point.task:
            self._weave_task(place, module, remark)
            return
        try:
            _, _, found = wrapping.place_of(module, point.function)
            if isinstance(found, wrapping.Woven):
                if place.standing.state != LIVE:
                    self._stand(place, OFF, "another host has woven it already")
                return
            original, undo = wrapping.put(module, point.function, functools.partial(self._around, place))
        except wrapping.NotThere as error:
            self._stand(place, OFF, str(error))
            return
        place.undo = undo
        taken = wrapping.bound_elsewhere(original, module) if late else []
        if taken:
            remark = f"{', '.join(taken[:5])} took it before it was woven, and runs without recovery"
        self._stand(place, LIVE, remark)

    def _stand(self, place: _Place, state: str, reason: str) -> None:
        before = place.standing
        place.standing = replace(before, state=state, reason=reason)
        if place.standing.problem and place.standing != before:
            logger.warning("%s", place.standing.problem)

    # -- Celery -------------------------------------------------------------------------------------

    def _weave_celery(self, module: ModuleType) -> None:
        """Stand where Celery makes a task of a function: what the module binds is but a stand-in for the task."""
        from launcher_recovery.weave import wrapping

        def around(make: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            function, *rest = args
            return make(self._task_function(function), *rest, **kwargs)

        found = vars(module.Celery).get("_task_from_fun")
        if isinstance(found, wrapping.Woven):
            return
        _, undo_making = wrapping.put(module, "Celery._task_from_fun", around)
        tasks = importlib.import_module("celery.app.task")
        _, undo_queueing = wrapping.put(tasks, "Task.apply_async", self._around_queueing)

        def undo() -> None:
            undo_queueing()
            undo_making()

        self._undo_celery = undo

    def _around_queueing(self, publish: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A task is asked for."""
        kind = type(getattr(publish, "__self__", None))
        name = (kind.__module__, getattr(kind, "__qualname__", None))
        for place in self._places:
            point = place.point
            if point.queued is not None and place.standing.state == LIVE and name == (point.module, point.function):
                return self._around(place, publish, args, kwargs, point.queued)
        return publish(*args, **kwargs)

    def _task_function(self, function: Any) -> Any:
        """The function that a task is to be made of: a woven one, if it is that of a join point."""
        try:
            place = self._task_place(function)
            if place is None:
                return function
            return self._woven_task(place, function)
        except Exception as error:
            logger.warning("a task is not woven: %s: %s", type(error).__name__, error)
            return function

    def _task_place(self, function: Any) -> _Place | None:
        """The join point of a task's function, which may be made before the body of its module has ended."""
        name = (getattr(function, "__module__", None), getattr(function, "__qualname__", None))
        for place in self._places:
            if place.point.task and name == (place.point.module, place.point.function):
                file = getattr(function, "__globals__", {}).get("__file__")
                if not is_another(place.host, place.point, file) and not judged(place.point, file)[0]:
                    return place
        return None

    def _woven_task(self, place: _Place, function: Any) -> Any:
        from launcher_recovery.weave import wrapping

        if isinstance(function, wrapping.Woven):
            return function
        # The same for each app, since Celery tells by identity whether a task is registered twice.
        return self._tasks.setdefault(function, wrapping.woven(function, functools.partial(self._around, place)))

    def _weave_task(self, place: _Place, module: ModuleType, remark: str) -> None:
        if CELERY_APP not in sys.modules:
            self._stand(place, OFF, "it is no task of Celery, which is not imported")
            return
        for task in _tasks_made(place.point):
            run = vars(type(task)).get("run")
            function = run.__func__ if isinstance(run, staticmethod) else run
            woven = self._woven_task(place, function)
            if woven is not function:
                setattr(type(task), "run", staticmethod(woven) if isinstance(run, staticmethod) else woven)
                place.undo = functools.partial(_restore, place.undo, type(task), run)
        self._stand(place, LIVE, remark)

    # -- calls --------------------------------------------------------------------------------------

    def _around(
        self,
        place: _Place,
        original: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        advice: Advice | None = None,
    ) -> Any:
        """A call of a woven function; `advice` goes before that of its join point."""
        point = place.point
        try:
            integrator = self._integrator()
        except Exception as error:
            if point.name not in self._without:
                self._without.add(point.name)
                logger.exception("%s runs without recovery: %s", point.name, error)
            return original(*args, **kwargs)
        return (advice or point.advice or self._advise)(Call(point, original, args, kwargs, integrator))


def _restore(before: Callable[[], None], task: type, run: Any) -> None:
    setattr(task, "run", run)
    before()


def _tasks_made(point: JoinPoint) -> list[Any]:
    """Tasks that were made of a function before it was woven, of every app of this process."""
    state = sys.modules.get("celery._state")
    if state is None:
        return []
    found = []
    for app in state._get_active_apps():
        for task in list(getattr(app, "_tasks", {}).values()):
            if (type(task).__module__, getattr(task, "__qualname__", None)) == (point.module, point.function):
                found.append(task)
    return found


def is_another(host: Host, point: JoinPoint, file: str | None) -> str:
    """Why a module of the name is not the host's, as words; empty: it is."""
    neighbours = host.neighbours_of(point)
    if not neighbours:
        return ""
    if file is None:
        return f"the module {point.module} has no file"
    folder = Path(file).absolute().parent
    missing = [name for name in neighbours if not (folder / name).exists()]
    return f"{file} is another module of that name: there is no {missing[0]} beside it" if missing else ""


def judged(point: JoinPoint, file: str | None) -> tuple[str, str]:
    """Why the function in this file is not to be woven, as words, empty: it is; and what is to be said all the same."""
    if not point.fingerprints:
        return ("", "") if point.tolerant else ("no fingerprint of it is known", "")
    if file is None or not file.endswith((".py", ".pyw")):
        return f"its source is not there to be compared ({file})", ""
    found = fingerprints_in(file).get(point.function)
    if found is None:
        return f"{file} has no function {point.function}", ""
    if found in point.fingerprints:
        return "", ""
    if point.tolerant and any(found.parameters == known.parameters for known in point.fingerprints):
        return "", f"its code in {file} is of an unknown version"
    return f"its shape in {file} is unknown; the launcher is of a version that this one does not know", ""
