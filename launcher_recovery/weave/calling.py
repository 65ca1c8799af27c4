"""Calls of woven functions: each has its advice around it, or runs as ever when that cannot be had."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from launcher_recovery.joinpoints import Advice, Call, LazyAdvice
from launcher_recovery.weave.places import Place
from launcher_recovery.weave.standing import OFF

logger = logging.getLogger("launcher_recovery")


class Calls:
    """What is done when a woven function is called.

    Args:
        integrator: gives this process's integrator, ready for use; asked with every call.
        advise: what is done around the calls of join points without an advice of their own.
        changed: called when a join point is off from now on.
    """

    def __init__(
        self, integrator: Callable[[], Any], advise: Callable[[Call], Any], changed: Callable[[], object]
    ) -> None:
        self._integrator = integrator
        self._advise = advise
        self._changed = changed
        self._without: set[str] = set()
        self._missing: set[LazyAdvice] = set()
        self.off: dict[str, str] = {}
        """Hosts that have to do without recovery, and why."""

    def around(
        self,
        place: Place,
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
        loaded = self._loaded(place, advice or point.advice or self._advise)
        if loaded is None:
            return original(*args, **kwargs)
        return loaded(Call(point, original, args, kwargs, integrator))

    def _loaded(self, place: Place, advice: Advice) -> Advice | None:
        """The advice; None: there is none to be had."""
        if place.host.name in self.off:
            return None
        if not isinstance(advice, LazyAdvice):
            return advice
        if advice in self._missing:
            return None
        try:
            return advice.load()
        except Exception as error:
            self._missing.add(advice)
            place.stand(OFF, f"what is to be done there could not be loaded: {type(error).__name__}: {error}")
            self._changed()
            return None
