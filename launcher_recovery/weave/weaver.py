"""Weaves the join points of hosts into this process as modules are imported, and knows how each of them stands."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from launcher_recovery import pools
from launcher_recovery.joinpoints import Call, Host, JoinPoint
from launcher_recovery.weave.calling import Calls
from launcher_recovery.weave.imports import Watcher
from launcher_recovery.weave.places import Place, is_another, judged
from launcher_recovery.weave.standing import LIVE, OFF, WAITING, Standing

if TYPE_CHECKING:
    from launcher_recovery.weave.views import Apps

logger = logging.getLogger("launcher_recovery")

CELERY_APP = "celery.app.base"
"""The module of Celery through which every task is made."""
FLASK_APP = "flask.app"
"""The module of Flask's class of apps."""


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
        self._changed = changed
        self._calls = Calls(integrator, advise, self._tell)
        self._places: list[Place] = []
        self._wanted: set[str] = set()
        self._watcher = Watcher(self._wanted, self._imported)
        self._lock = threading.RLock()
        self._tasks: dict[Any, Any] = {}
        self._undo_celery: Callable[[], None] = lambda: None
        self._hosts: dict[str, Host] = {}
        self._apps: Apps | None = None

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How every join point stands, and the pages of hosts."""
        pages = () if self._apps is None else self._apps.standings
        return (*(place.standing for place in self._places), *pages)

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
            for host in hosts:
                if host.name in self._hosts:
                    continue
                self._hosts[host.name] = host
                if host.pages:
                    self._wanted.add(FLASK_APP)
                for point in host.join_points:
                    self._places.append(Place(host, point, Standing(host.name, point.name)))
                    self._wanted.add(FLASK_APP if point.view else point.module)
                    if point.task:
                        self._wanted.add(CELERY_APP)
        self._watcher.install()
        for name in sorted(self._wanted, key=lambda name: name != CELERY_APP):
            module = sys.modules.get(name)
            if module is not None:
                self._imported(module, late=True)

    def turn_off(self, host: str, reason: str) -> None:
        """From now on all functions of a host run as if they were not woven.

        Args:
            host: its name.
            reason: why, as words.
        """
        with self._lock:
            self._calls.off[host] = reason
            for place in self._places:
                if place.host.name == host and place.standing.state != WAITING:
                    place.stand(OFF, reason)

    def unweave(self) -> None:
        """Undo `weave`: every function is as it was."""
        self._watcher.uninstall()
        with self._lock:
            self._calls.off.clear()
            for place in reversed(self._places):
                place.undo()
            self._places.clear()
            self._hosts.clear()
            self._wanted.clear()
            self._tasks.clear()
        self._undo_celery()
        if self._apps is not None:
            self._apps.unweave()
            self._apps = None

    # -- weaving ------------------------------------------------------------------------------------

    def _imported(self, module: ModuleType, late: bool = False) -> None:
        """A module's body has ended: weave what is in it."""
        name = getattr(getattr(module, "__spec__", None), "name", None) or module.__name__
        try:
            if name == CELERY_APP:
                self._weave_celery(module)
        except Exception as error:
            logger.warning("tasks of Celery are not woven: %s: %s", type(error).__name__, error)
        try:
            if name == FLASK_APP:
                self._weave_flask(module)
        except Exception as error:
            logger.warning("apps of Flask are not woven: %s: %s", type(error).__name__, error)
        places = [place for place in self._places if place.point.module == name and not place.point.view]
        for place in places:
            with self._lock:
                try:
                    self._weave(place, module, late)
                except Exception as error:  # it is the host's import that would fail
                    place.stand(OFF, f"weaving it failed with {type(error).__name__}: {error}")
        if any(place.standing.state != WAITING for place in places):
            self._tell()

    def _tell(self) -> None:
        try:
            self._changed()
        except Exception:
            logger.exception("how the join points stand could not be told")

    def _weave(self, place: Place, module: ModuleType, late: bool) -> None:
        from launcher_recovery.weave import wrapping  # which loads wrapt

        point, file = place.point, getattr(module, "__file__", None)
        other = is_another(place.host, point, file)
        if other:
            place.standing = replace(place.standing, state=WAITING, reason=other)
            return
        reason, remark = judged(point, file)
        reason = reason or self._calls.off.get(place.host.name, "")
        if reason:
            place.stand(OFF, reason)
            return
        if point.task:
            self._weave_task(place, module, remark)
            return
        try:
            _, _, found = wrapping.place_of(module, point.function)
            if isinstance(found, wrapping.Woven):
                if place.standing.state != LIVE:
                    place.stand(OFF, "another host has woven it already")
                return
            original, undo = wrapping.put(module, point.function, functools.partial(self._calls.around, place))
        except wrapping.NotThere as error:
            place.stand(OFF, str(error))
            return
        place.undo = undo
        taken = wrapping.bound_elsewhere(original, module) if late else []
        if taken:
            remark = f"{', '.join(taken[:5])} took it before it was woven, and runs without recovery"
        place.stand(LIVE, remark)

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
        undo_ending = pools.end_in_peace()

        def undo() -> None:
            undo_ending()
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
                return self._calls.around(place, publish, args, kwargs, point.queued)
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

    def _task_place(self, function: Any) -> Place | None:
        """The join point of a task's function, which may be made before the body of its module has ended."""
        name = (getattr(function, "__module__", None), getattr(function, "__qualname__", None))
        for place in self._places:
            if place.point.task and name == (place.point.module, place.point.function):
                file = getattr(function, "__globals__", {}).get("__file__")
                if not is_another(place.host, place.point, file) and not judged(place.point, file)[0]:
                    return place
        return None

    def _woven_task(self, place: Place, function: Any) -> Any:
        from launcher_recovery.weave import wrapping

        if isinstance(function, wrapping.Woven):
            return function
        # The same for each app, since Celery tells by identity whether a task is registered twice.
        return self._tasks.setdefault(function, wrapping.woven(function, functools.partial(self._calls.around, place)))

    def _weave_task(self, place: Place, module: ModuleType, remark: str) -> None:
        if CELERY_APP not in sys.modules:
            place.stand(OFF, "it is no task of Celery, which is not imported")
            return
        for task in _tasks_made(place.point):
            run = vars(type(task)).get("run")
            function = run.__func__ if isinstance(run, staticmethod) else run
            woven = self._woven_task(place, function)
            if woven is not function:
                setattr(type(task), "run", staticmethod(woven) if isinstance(run, staticmethod) else woven)
                place.undo = functools.partial(_restore, place.undo, type(task), run)
        place.stand(LIVE, remark)

    # -- Flask --------------------------------------------------------------------------------------

    def _weave_flask(self, module: ModuleType) -> None:
        """Stand where an app begins to serve: the functions of the program itself are not told of by an import."""
        from launcher_recovery.weave.views import Apps

        if self._apps is None:
            self._apps = Apps(self._places, self._hosts, self._calls.around, self._integrator, self._tell)
        self._apps.weave(module)


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
