"""Weaves the Flask app of a host at the moment when it is about to serve: its views, and the recovery pages in it.

The views of `python server.py` are functions of `__main__`, of which no import hook tells; but the app knows them.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakSet

from launcher_recovery.errors import RecoveryError
from launcher_recovery.joinpoints import Host, JoinPoint
from launcher_recovery.weave import wrapping
from launcher_recovery.weave.places import Place, is_another, judged, missing_in
from launcher_recovery.weave.standing import LIVE, OFF, PAGES, Standing

logger = logging.getLogger("launcher_recovery")

_STARTS = ("run", "__call__")
"""The methods of an app that are called before its first request: by itself, and by any other server."""


class Apps:
    """The apps of this process; those of hosts are woven before their first request is handled.

    Nothing that goes wrong here reaches the host.

    Args:
        places: the join points, of which those of views count.
        hosts: by name; they may become more.
        around: what is done around a call of a view.
        integrator: gives this process's integrator, ready for use.
        changed: called when an app was woven.
    """

    def __init__(
        self,
        places: Sequence[Place],
        hosts: Mapping[str, Host],
        around: Callable[[Place, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any],
        integrator: Callable[[], Any],
        changed: Callable[[], object],
    ) -> None:
        self._places = places
        self._hosts = hosts
        self._around = around
        self._integrator = integrator
        self._changed = changed
        self._lock = threading.RLock()
        self._seen: WeakSet[Any] = WeakSet()
        self._pages: dict[str, Standing] = {}
        self._undo: list[Callable[[], None]] = []

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How the pages of the hosts stand that have some."""
        return tuple(self._pages_of(host) for host in self._hosts.values() if host.pages)

    def _pages_of(self, host: Host) -> Standing:
        return self._pages.get(host.name, Standing(host.name, PAGES))

    def weave(self, module: ModuleType) -> None:
        """Be told when an app is about to serve.

        Args:
            module: that of Flask which has the class of apps.

        Raises:
            NotThere: it has not.
        """
        if not self._undo:
            for name in _STARTS:
                self._undo.append(wrapping.put(module, f"Flask.{name}", self._started)[1])

    def unweave(self) -> None:
        """Undo `weave`. Views are undone by their places; pages stay, since an app gives no route back."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def _started(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        app = getattr(original, "__self__", None)
        if app is not None and app not in self._seen:
            self._weave_app(app)
        return original(*args, **kwargs)

    def _weave_app(self, app: Any) -> None:
        with self._lock:  # further requests wait until it is over
            if app in self._seen:
                return
            for place in self._places:
                if place.point.view:
                    try:
                        _weave_view(place, app, self._around)
                    except Exception as error:
                        place.stand(OFF, _failed(error))
            for host in list(self._hosts.values()):
                if host.pages and not missing_in(Path(app.root_path), host.neighbours):
                    self._attach_pages(host, app)
            self._seen.add(app)
        self._changed()

    def _attach_pages(self, host: Host, app: Any) -> None:
        before, wsgi_app = self._pages_of(host), app.wsgi_app
        state = OFF
        try:
            from launcher_recovery.weave.workers import Workers
            from launcher_recovery.web.attaching import attach  # which loads Flask

            integrator = self._integrator()
            reason = attach(app, integrator)
            integrator.watch(f"workers of {host.name}", Workers(integrator, host, Path(app.root_path)).problems)
            state = LIVE
        except RecoveryError as error:
            reason = str(error)
        except Exception as error:
            app.wsgi_app = wsgi_app
            reason = _failed(error)
        self._pages[host.name] = standing = replace(before, state=state, reason=reason)
        if standing.problem:
            logger.warning("%s", standing.problem)


def _failed(error: Exception) -> str:
    return f"weaving it failed with {type(error).__name__}: {error}"


def _weave_view(place: Place, app: Any, around: Callable[..., Any]) -> None:
    point = place.point
    found = [(endpoint, view) for endpoint, view in app.view_functions.items() if _is_of(point, view)]
    for endpoint, view in found:
        file = _file_of(view)
        if is_another(place.host, point, file):
            continue
        reason, remark = judged(point, file)
        if not reason and isinstance(view, wrapping.Woven):
            reason = "another host has woven it already"
        if reason:
            place.stand(OFF, reason)
            continue
        wrapper = wrapping.woven(view, functools.partial(around, place))
        app.view_functions[endpoint] = wrapper
        place.undo = functools.partial(_restore, place.undo, app.view_functions, endpoint, wrapper, view)
        place.stand(LIVE, remark)
    neighbours = place.host.neighbours_of(point)
    if not found and neighbours and not missing_in(Path(app.root_path), neighbours) and place.standing.state != LIVE:
        place.stand(OFF, f"the app in {app.root_path} has no such view")


def _restore(before: Callable[[], None], views: dict[str, Any], endpoint: str, wrapper: Any, view: Any) -> None:
    if views.get(endpoint) is wrapper:
        views[endpoint] = view
    before()


def _is_of(point: JoinPoint, view: Any) -> bool:
    """Whether a view is the function of a join point, whose module may be the program itself."""
    function = inspect.unwrap(view)
    if getattr(function, "__qualname__", None) != point.function:
        return False
    if function.__module__ == "__main__":
        return Path(_file_of(view) or "").stem == point.module.rpartition(".")[2]
    return bool(function.__module__ == point.module)


def _file_of(view: Any) -> str | None:
    file: str | None = getattr(inspect.unwrap(view), "__globals__", {}).get("__file__")
    return file
