"""Join points as data: which functions of a launcher without a plugin system recovery stands around, and how."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from launcher_recovery.errors import RecoveryConfigError


@dataclass(frozen=True)
class Call:
    """One call of a woven function, as its advice gets it.

    Args:
        point: where it is.
        original: the launcher's function; of a method, already bound to its object.
        args, kwargs: what it was called with.
        integrator: this process's `RecoveryIntegrator`, loaded and started.
    """

    point: JoinPoint
    original: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    integrator: Any

    def proceed(self) -> Any:
        """Call the launcher's function with what it was called with; any number of times."""
        return self.original(*self.args, **self.kwargs)

    @property
    def arguments(self) -> dict[str, Any]:
        """What it was called with, by the names of the parameters, with the defaults of those left out.

        Raises:
            TypeError: it cannot be called so; the launcher's function would raise the same.
        """
        bound = inspect.signature(self.original).bind(*self.args, **self.kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)


Advice = Callable[[Call], Any]
"""What is done around a call: it returns what the caller gets, or raises."""


@dataclass(frozen=True)
class LazyAdvice:
    """An advice that is imported with the first call of it; where it cannot be, the call runs without recovery.

    Args:
        module: full name of its module.
        function: its name there.
    """

    module: str
    function: str

    def load(self) -> Advice:
        """The advice itself.

        Raises:
            Exception: it cannot be imported.
        """
        advice: Advice = getattr(importlib.import_module(self.module), self.function)
        return advice

    def __call__(self, call: Call) -> Any:
        return self.load()(call)


@dataclass(frozen=True)
class Fingerprint:
    """What a function looks like.

    Args:
        parameters: their names, in order, with `*` before those for the rest and `/`, `*` where the source has them.
        code: hash of its source without comments, docstrings and layout (`fingerprint_of`).
    """

    parameters: tuple[str, ...]
    code: str


@dataclass(frozen=True)
class JoinPoint:
    """A function of a launcher, and what is done around its calls.

    Args:
        module: full name of the module that has it.
        function: its dotted name within the module, such as `fetch` or `Projects.create`.
        kind: the kind of operation that a call is.
        advice: what is done around a call; None: it is run as an operation of `kind`.
        key: from a call to what makes it the same operation; None: each call is one of its own.
        arguments: from a call to what is kept of it, and what the kind's own rules go by; None: those of the call.
        title: from a call to a few words for people; None: the name of the function.
        fingerprints: what the function looks like in the versions that are known.
        tolerant: weave it also where its code is another, provided that its parameters are those of one that is known;
            without any fingerprint, whatever it looks like.
        neighbours: files or folders beside the module's own file, by which it is told apart from others of that name;
            None: those of the host.
        task: it is the function of a Celery task, which is woven below the task.
        queued: of a task, what is done around its `apply_async`, in the process that asks for it; None: nothing.
        view: it is a view of the host's Flask app, which is woven when the app is about to serve: also where the module
            is the program itself, whose functions no import tells of. Only requests are such calls.

    Raises:
        RecoveryConfigError: a name cannot be one, or it is both a task and a view.
    """

    module: str
    function: str
    kind: str
    advice: Advice | None = None
    key: Callable[[Call], str] | None = None
    arguments: Callable[[Call], Mapping[str, Any]] | None = None
    title: Callable[[Call], str] | None = None
    fingerprints: tuple[Fingerprint, ...] = ()
    tolerant: bool = False
    neighbours: tuple[str, ...] | None = None
    task: bool = False
    queued: Advice | None = None
    view: bool = False

    def __post_init__(self) -> None:
        for name in (self.module, self.function):
            if not all(part.isidentifier() for part in name.split(".")):
                raise RecoveryConfigError(f"the join point {self.name} needs dotted names, not {name!r}")
        if self.module == "__main__":
            raise RecoveryConfigError(f"the join point {self.name} cannot be: __main__ is not imported")
        if self.task and self.view:
            raise RecoveryConfigError(f"the join point {self.name} can be a task or a view, not both")
        _check_neighbours(self.name, self.neighbours or ())

    @property
    def name(self) -> str:
        """Such as `utils:fetch`."""
        return f"{self.module}:{self.function}"


@dataclass(frozen=True)
class Host:
    """A launcher that recovery can be woven into.

    Args:
        name: what it is called in messages; each host has another.
        join_points: where recovery stands.
        neighbours: as of `JoinPoint`, for all those that have none of their own.
        plugin: gives an object with what the host has no code for, as implementations of hooks: of the launcher
            (namespace `comfyui_launcher`), and of extensions (`launcher_recovery`). Asked once, in each process of the
            host that needs recovery. None: there is none.
        pages: the recovery page and its API are served by the host's own Flask app, which is known by the neighbours in
            its folder, and the host's pages show a small bar with what goes on.
        roots: gives the folders below which the host itself writes, as absolute paths, by what its own modules say in
            this process; files may then be written below these alone, unless `allowed_roots` says otherwise. Asked
            once, in each process of the host that needs recovery, when a function of it has been woven. None, or an
            empty answer: they are not known, and files may be written anywhere.

    Raises:
        RecoveryConfigError: two join points are the same, a neighbour is no path within a folder, or it has pages, and
            no neighbours to know its app by.
    """

    name: str
    join_points: tuple[JoinPoint, ...]
    neighbours: tuple[str, ...] = ()
    plugin: Callable[[], Any] | None = None
    pages: bool = False
    roots: Callable[[], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        names = [point.name for point in self.join_points]
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            raise RecoveryConfigError(f"the host {self.name} has two join points {doubles[0]}")
        _check_neighbours(f"of the host {self.name}", self.neighbours)
        if self.pages and not self.neighbours:
            raise RecoveryConfigError(f"the host {self.name} needs neighbours, by which its app is known for its pages")

    def neighbours_of(self, point: JoinPoint) -> tuple[str, ...]:
        """The files beside the module of one of its join points."""
        return self.neighbours if point.neighbours is None else point.neighbours


def _check_neighbours(whose: str, neighbours: tuple[str, ...]) -> None:
    for path in map(PurePosixPath, neighbours):
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise RecoveryConfigError(f"the neighbours {whose} must be paths within a folder, not {str(path)!r}")
