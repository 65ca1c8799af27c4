"""Whether a program is run by the interpreter that has the plugin, and how its command line is to be read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PYTHON = re.compile(r"(?:python|pypy)w?[\d.]*(?:\.exe)?", re.IGNORECASE)
_SHEBANG = re.compile(rb"#!\s*(\S+)(?:\s+(\S+))?")
# What pip writes where the path of the interpreter is too long for the first line, or has spaces.
_LONG_SHEBANG = re.compile(rb"#!/bin/sh\n'''exec' \"?([^\"\n]+?)\"? \"\$0\"")
_WITH_VALUE = "WX"
_LAST = "cm"


@dataclass(frozen=True)
class Program:
    """What is to be run.

    Args:
        how: "script" (a file, or a folder or archive with `__main__`), "module", "code" or "stdin".
        what: the file, the name of the module, or the code.
        argv: the arguments behind it.
        options: those of the interpreter itself, such as `-u`.
    """

    how: str
    what: str
    argv: tuple[str, ...]
    options: tuple[str, ...] = ()


class NotOurs(Exception):
    """It cannot be run in this process; the message says why, and what to do, as a sentence."""


def program_of(command: Sequence[str]) -> Program:
    """What a command line runs.

    Raises:
        NotOurs: another interpreter runs it, it is none of Python, or it is not there.
    """
    name, rest = command[0], command[1:]
    if _PYTHON.fullmatch(os.path.basename(name)):
        _check_interpreter(name, name)
        return _of_python(rest)
    if name.endswith((".py", ".pyw")) and os.path.isfile(name):
        return Program("script", name, tuple(rest))
    found = shutil.which(name)
    if found is None:
        raise NotOurs(f"there is no program {name}")
    interpreter = interpreter_of(Path(found))
    if interpreter is None:
        raise NotOurs(
            f"{name} is no program of Python; launcher-recovery run --inject -- {name} … weaves the Python programs "
            "that it starts"
        )
    _check_interpreter(interpreter, name)
    return Program("script", found, tuple(rest))


def check_injected(command: Sequence[str]) -> None:
    """Raise NotOurs when a command line is plainly run by another interpreter, in which nothing would be woven."""
    name = command[0]
    if _PYTHON.fullmatch(os.path.basename(name)):
        _check_interpreter(name, name)
        return
    found = shutil.which(name)
    if found is None:
        raise NotOurs(f"there is no program {name}")
    interpreter = interpreter_of(Path(found))
    if interpreter is not None:
        _check_interpreter(interpreter, name)


def interpreter_of(script: Path) -> str | None:
    """The interpreter that a script of Python names in its first line; None: it is another kind of program."""
    with script.open("rb") as file:
        head = file.read(1024)
    long = _LONG_SHEBANG.match(head)
    if long:
        return os.fsdecode(long.group(1))
    match = _SHEBANG.match(head)
    if match is None:
        return None
    program = os.fsdecode(match.group(1))
    if os.path.basename(program) == "env" and match.group(2):
        program = os.fsdecode(match.group(2))
    return program if _PYTHON.fullmatch(os.path.basename(program)) else None


def _check_interpreter(interpreter: str, name: str) -> None:
    found = shutil.which(interpreter)
    if found is None:
        raise NotOurs(f"there is no program {interpreter}{'' if name == interpreter else f', by which {name} is run'}")
    if _same_file_and_folder(found, sys.executable):
        return
    prefix = _prefix(found)
    if prefix is None or os.path.realpath(prefix) != os.path.realpath(sys.prefix):
        what = name if name == found else f"{name} ({found})"
        raise NotOurs(
            f"{what} is another Python than {sys.executable}, which launcher-recovery is installed for: install it "
            "there as well, or run the launcher with this one"
        )


def _same_file_and_folder(one: str, other: str) -> bool:
    """By the folder as well: an environment's interpreter is a link to the one that it was made with."""
    folders = {os.path.realpath(os.path.dirname(path)) for path in (one, other)}
    return len(folders) == 1 and os.path.realpath(one) == os.path.realpath(other)


def _prefix(interpreter: str) -> str | None:
    """Where the packages of an interpreter are, as it says itself: it may be a script that looks for another one."""
    command = [interpreter, "-I", "-c", "import sys; sys.stdout.write(sys.prefix)"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


def _of_python(arguments: Sequence[str]) -> Program:
    """Read a command line as the interpreter does (`python --help`)."""
    options: list[str] = []
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        option = rest.pop(0)
        if option.startswith("--"):
            options.append(option)
            if option == "--check-hash-based-pycs" and rest:
                options.append(rest.pop(0))
            continue
        for position, letter in enumerate(option[1:], start=1):
            if letter not in _WITH_VALUE + _LAST:
                continue
            before, value = option[:position], option[position + 1 :]
            if not value and not rest:
                raise NotOurs(f"the option -{letter} of python needs a value")
            if letter in _LAST:
                options.extend([before] if before != "-" else [])
                value = value or rest.pop(0)
                return Program("module" if letter == "m" else "code", value, tuple(rest), tuple(options))
            options.extend([option] if value else [option, rest.pop(0)])
            break
        else:
            options.append(option)
    if not rest and not options and sys.stdin is not None and sys.stdin.isatty():
        raise NotOurs("python needs the name of a script, or -m and that of a module")
    if not rest or rest[0] == "-":
        return Program("stdin", "-", tuple(rest[1:]), tuple(options))
    return Program("script", rest[0], tuple(rest[1:]), tuple(options))
