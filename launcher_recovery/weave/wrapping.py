"""Puts a function of our own around one of a module, in its place, and takes it away again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

Around = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Gets the function, bound to its object if it is a method, and what it was called with."""


class Woven(wrapt.FunctionWrapper):  # type: ignore[misc, type-arg, unused-ignore]
    """A function with advice around it, which looks like the function to whoever asks, and is pickled by name."""

    def __reduce_ex__(self, protocol: Any) -> str:
        name: str = self.__qualname__
        return name


class NotThere(Exception):
    """The function is not where the join point says; the message says what is there instead."""


def woven(function: Callable[..., Any], around: Around) -> Woven:
    """`function` with `around` around its calls."""

    def call(original: Callable[..., Any], _object: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return around(original, args, kwargs)

    return Woven(function, call)


def place_of(module: ModuleType, function: str) -> tuple[Any, str, Any]:
    """The module or class that has the function, its name there, and the function as it stands there.

    Raises:
        NotThere: there is none, it is inherited, or it is no function.
    """
    holder: Any = module
    *outer, name = function.split(".")
    for part in outer:
        holder = vars(holder).get(part)
        if not isinstance(holder, type):
            raise NotThere(f"it has no class {part}")
    found = vars(holder).get(name)
    if found is None:
        raise NotThere(f"it has no function {function}")
    if not callable(found) and not isinstance(found, (staticmethod, classmethod)):
        raise NotThere(f"its {function} is no function")
    return holder, name, found


def put(module: ModuleType, function: str, around: Around) -> tuple[Any, Callable[[], None]]:
    """Weave one function; gives the original, and what undoes it.

    Raises:
        NotThere: see `place_of`.
    """
    holder, name, found = place_of(module, function)
    wrapper = woven(found, around)
    setattr(holder, name, wrapper)

    def undo() -> None:
        if vars(holder).get(name) is wrapper:  # else somebody else stands around it by now, or it was reloaded
            setattr(holder, name, found)

    return found, undo


def bound_elsewhere(original: Any, module: ModuleType) -> list[str]:
    """Other modules that took the function by `from … import` before it was woven: those call it as it was."""
    found: list[str] = []
    for name, other in list(sys.modules.items()):
        if other is module or not isinstance(other, ModuleType) or name.startswith("launcher_recovery"):
            continue
        found.extend(f"{name}.{key}" for key, value in list(vars(other).items()) if value is original)
    return sorted(found)
