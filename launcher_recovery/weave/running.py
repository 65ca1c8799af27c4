"""Runs a program of Python in this process, as the interpreter itself would: same `__main__`, path, exit, signals."""

from __future__ import annotations

import builtins
import os
import runpy
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any

from launcher_recovery.weave.interpreters import Program

_kept: list[ModuleType | None] = []
"""The module `__main__` that was there before: its names are still needed when the program is over."""


def prepare(program: Program) -> None:
    """Set `sys.argv` and `sys.path` as the interpreter does for the program (`python --help`, and the documentation of
    `sys.path`): in front stands the folder of the script, without links; for a module the current one."""
    first = {"script": program.what, "module": "-m", "code": "-c", "stdin": "-"}[program.how]
    sys.argv[:] = [first, *program.argv]
    if getattr(sys.flags, "safe_path", False) or sys.flags.isolated:  # then nothing was put in front for us, either
        folders = [program.what] if program.how == "script" and _has_main(program.what) else []
        sys.path[:0] = folders
        return
    if program.how == "module":
        folder = os.getcwd()
    elif program.how == "script":
        is_whole = _has_main(program.what)
        folder = os.path.abspath(program.what) if is_whole else os.path.dirname(os.path.realpath(program.what))
    else:
        folder = ""
    sys.path[0:1] = [folder]


def execute(program: Program) -> None:
    """Run it, after `prepare`; returns when its main module has ended.

    Raises:
        BaseException: what it ended with, with a traceback that is printed as if it had been run by Python itself.
    """
    runs: dict[str, Callable[[str], None]] = {"script": _script, "module": _module, "code": _code, "stdin": _stdin}
    try:
        runs[program.how](program.what)
    except SystemExit:
        raise
    except BaseException as error:
        # One frame is of this function, one of what runs the program, and those of others are added as it rises.
        within = error.__traceback__.tb_next if error.__traceback__ is not None else None
        _print_from(None if within is None else within.tb_next)
        raise


def _print_from(start: TracebackType | None) -> None:
    """Have the next error that is not caught printed with this traceback."""
    before = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        sys.excepthook = before
        error.__traceback__ = start
        before(kind, error, start)

    sys.excepthook = show


def _has_main(path: str) -> bool:
    """Whether it is a folder, or an archive, with a module `__main__` in it."""
    if os.path.isdir(path):
        return True
    import zipfile

    return zipfile.is_zipfile(path)


def _new_main(**names: Any) -> dict[str, Any]:
    """A new module `__main__`; gives its names."""
    module = ModuleType("__main__")
    members = vars(module)
    if sys.version_info < (3, 14):
        members["__annotations__"] = {}
    members.update({"__builtins__": builtins, **names})
    _kept.append(sys.modules.get("__main__"))
    sys.modules["__main__"] = module
    return members


def _script(path: str) -> None:
    if _has_main(path):
        _new_main()
        _as_main("__main__", False)
        return
    # Python leaves a `./` where it is.
    path = os.path.abspath(path) if sys.platform == "win32" else os.path.join(os.getcwd(), path)
    loader = SourceFileLoader("__main__", path)
    names = _new_main(__file__=path, __loader__=loader, __cached__=None)
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    exec(code, names)


def _module(name: str) -> None:
    _new_main()
    _as_main(name, True)


# What `python -m` itself calls. By name, since its frames are to stand in the traceback as they do there.
_as_main: Callable[[str, bool], object] = getattr(runpy, "_run_module_as_main")  # noqa: B009


def _code(source: str) -> None:
    code = compile(source, "<string>", "exec", dont_inherit=True)
    if sys.version_info >= (3, 13):
        _show_in_tracebacks(code, source)
    exec(code, _new_main(__loader__=_builtin_loader()))


def _show_in_tracebacks(code: CodeType, source: str) -> None:
    """Have tracebacks show its lines, as Python itself does since 3.13 (`run_mod` in its pythonrun.c)."""
    import linecache

    # The first versions have them by the name, later ones by the code.
    key = code if hasattr(linecache, "_interactive_cache") else code.co_filename
    getattr(linecache, "_register_code")(key, source, code.co_filename)  # noqa: B009


def _stdin(_: str) -> None:
    names = _new_main(__file__="<stdin>", __cached__=None, __loader__=_builtin_loader())
    exec(compile(sys.stdin.read(), "<stdin>", "exec", dont_inherit=True), names)


def _builtin_loader() -> object:
    return builtins.__loader__
