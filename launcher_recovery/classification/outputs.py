"""What a program said: its name, its exit status, the end of what it printed, and the errors that this tells of."""

from __future__ import annotations

import builtins
import errno as _errno
import functools
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from launcher_recovery.classification.attributes import attribute
from launcher_recovery.errors import CommandError

_TAIL_CHARS = 16_384
_LINE_CHARS = 1500
_LINE_END_CHARS = 500
_MOST_TRACEBACKS = 4
_LONGEST_COMMAND = 4096

_COLOURS = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
# The number and the time that BuildKit puts before the lines of a step.
_STEP = re.compile(r"^(?:#\d{1,4} \d{1,6}\.\d{1,3}|\d{1,6}\.\d{3})(?: |$)", re.MULTILINE)
# A program that reads git's output through a pipe may have lost the ends of its lines.
_JOINED = re.compile(r"(Cloning into '[^'\n]{1,600}'\.\.\.) ?(?=(?:error|fatal): )")
_VARIABLE = re.compile(r"\w+=")
_SHELL = re.compile(r"[;&|<>`$(){}\n]")
# Programs that run another one, whose exit status they pass on.
_WRAPPERS = frozenset({"env", "nice", "ionice", "nohup", "stdbuf", "setsid", "sudo", "time", "xvfb-run"})
_INTERPRETER = re.compile(r"(?:python|pypy)[\d.]*w?|py")

_TRACEBACK = re.compile(r"^(.{0,40}?)Traceback \(most recent call last\):[ \t]*$", re.MULTILINE)
# A frame of a traceback whose beginning was cut off.
_STACK = re.compile(r"^(.{0,40}?)  File \"[^\"\n]{1,1000}\", line \d+", re.MULTILINE)
_RAISED = re.compile(r"([A-Za-z_][\w.]{0,150})(?:: (.*))?$")
# The last line of an output, of a program that keeps the traceback for itself.
_LAST_ERROR = re.compile(r"[ \t]{0,24}([A-Za-z_][\w.]{0,150}(?:Error|Exception|Interrupt)): (.*)$")
_NUMBER = re.compile(r"\[Errno (\d{1,4})\]")
_RUST_NUMBER = re.compile(r"\(os error (\d{1,5})\)|\bOs \{ code: (\d{1,5}),")
_WINDOWS_NUMBER = re.compile(r"\[WinError (\d{1,5})\]")
_ANY_NUMBER = re.compile("|".join(pattern.pattern for pattern in (_NUMBER, _RUST_NUMBER, _WINDOWS_NUMBER)))
# The words of the system at the end of a line in which a program says what failed, where nothing of its own follows.
_SYSTEM_WORDS = re.compile(
    r"^[ \t│|>]{0,24}(?:fatal|error|ERROR|warning: unable to|tar|cp|mv|mkdir|rm|sh|bash|/bin/sh|curl|wget|git|unzip"
    r"|install|ln|touch|cat|chmod)\b.{0,900}?[:(] ?([A-Z][A-Za-z/()-]*(?: [A-Za-z0-9()/-]+){0,6}?)\)?\.?$",
    re.MULTILINE,
)
# Of git, curl, wget, aria2, pip and npm: the status of the answer because of which they failed.
_STATUS = re.compile(
    r"The requested URL returned error: ([45]\d\d)\b|^.{0,40}\bERROR ([45]\d\d): |\bstatus=([45]\d\d)\b"
    r"|\bHTTP error ([45]\d\d) while getting |\b([45]\d\d) (?:Client|Server) Error\b|\bRPC failed; HTTP ([45]\d\d)\b"
    r"|too many ([45]\d\d) error responses|\(([45]\d\d) [A-Z][A-Za-z ]{1,40}\) for url \("
    r"|^curl: \(22\) .{0,80} ([45]\d\d)$"
    r"|HTTP status (?:client|server) error \(([45]\d\d)|\bHTTP Error ([45]\d\d): ",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Command:
    """A program that failed."""

    program: str | None
    """Its name without folders and `.exe`, `pip` for `python -m pip`; None when it is not known for sure."""
    exit: int | None
    """Its exit status; -n when signal n ended it or a child for which a shell speaks; None: not known."""
    output: str
    """The end of what it printed, at most 16 KiB, without colours."""


@dataclass(frozen=True)
class Told:
    """An error of which an output tells."""

    type: str | None
    message: str
    errno: int | None = None
    winerror: int | None = None


def command_of(error: BaseException) -> Command | None:
    """The program of whose failure `error` tells; None for other errors."""
    if isinstance(error, CommandError):
        return Command(_program(error.argv), _exit(error.returncode), tail_of(error.output))
    if isinstance(error, (subprocess.CalledProcessError, subprocess.TimeoutExpired)):
        printed = (_text(attribute(error, "output")), _text(attribute(error, "stderr")))
        return Command(
            _program(attribute(error, "cmd")),
            _exit(attribute(error, "returncode")),
            tail_of("\n".join(part for part in printed if part)),
        )
    if type(error).__module__ == "git.exc":  # GitPython, by which ComfyUI-Manager runs git
        printed = (_text(attribute(error, "stdout")), _text(attribute(error, "stderr")))
        return Command("git", _exit(attribute(error, "status")), tail_of("\n".join(part for part in printed if part)))
    return None


def tail_of(output: str) -> str:
    """The end of an output as lines that are not too long, without colours and what a progress bar has overwritten."""
    text = _COLOURS.sub("", output[-_TAIL_CHARS:]).replace("\r\n", "\n").replace("\r", "\n")
    text = _JOINED.sub("\\1\n", _STEP.sub("", text))
    return "\n".join(line if len(line) <= _LINE_CHARS + _LINE_END_CHARS else _cut(line) for line in text.split("\n"))


def _cut(line: str) -> str:
    return f"{line[:_LINE_CHARS]} … {line[-_LINE_END_CHARS:]}"


def _text(given: Any) -> str:
    if isinstance(given, bytes):
        return given[-_TAIL_CHARS:].decode("utf-8", "replace")
    return given if isinstance(given, str) else ""


def _exit(code: Any) -> int | None:
    if not isinstance(code, int):
        return None
    if 128 < code < 160 and code != 129:  # 129 is what git says of wrong arguments
        return 128 - code
    return code


def _program(argv: Any) -> str | None:
    if isinstance(argv, (str, bytes, os.PathLike)):
        argv = [argv]
    if not isinstance(argv, Sequence) or not argv:
        return None
    words = [os.fsdecode(word)[:_LONGEST_COMMAND] for word in argv[:40] if isinstance(word, (str, bytes, os.PathLike))]
    if len(words) == 1 and " " in words[0]:
        if _SHELL.search(words[0]):
            return None
        try:
            words = shlex.split(words[0])
        except ValueError:
            return None
    while words and (_VARIABLE.match(words[0]) or _name(words[0]) in _WRAPPERS):
        words = words[1:]
    if not words or words[0].startswith("-"):
        return None
    name = _name(words[0])
    if _INTERPRETER.fullmatch(name) and "-m" in words[1:4]:
        after = words.index("-m") + 1
        return words[after] if after < len(words) else name
    return "pip" if re.fullmatch(r"pip[\d.]*", name) else name


def _name(path: str) -> str:
    name = re.split(r"[/\\]", path)[-1].lower()
    return name[:-4] if name.endswith((".exe", ".cmd", ".bat")) else name


def told_in(output: str) -> list[Told]:
    """The errors of which an output tells: Python's tracebacks, the last one first, then what the system answered."""
    found = [told for told in (_raised(output, start) for start in _last_tracebacks(output)) if told is not None]
    last = _LAST_ERROR.match(output.rstrip().rpartition("\n")[2])
    if not found and last is not None:
        found.append(_with_numbers(last.group(1), last.group(2)))
    for match in list(_SYSTEM_WORDS.finditer(output))[-1:]:
        number = _numbers_by_words().get(match.group(1).lower())
        if number is not None:
            found.append(Told(None, match.group(1), number))
    numbered = [line for line in output.split("\n")[-60:] if _ANY_NUMBER.search(line)]
    if not found and numbered:
        found.append(_with_numbers(None, numbered[-1]))
    return found


def status_in(text: str) -> int | None:
    """The last HTTP status that a program names as the reason of its failure."""
    matches = list(_STATUS.finditer(text))
    return int(next(group for group in matches[-1].groups() if group)) if matches else None


def _last_tracebacks(output: str) -> list[re.Match[str]]:
    whole = list(_TRACEBACK.finditer(output))
    return whole[-_MOST_TRACEBACKS:][::-1] if whole else list(_STACK.finditer(output))[-1:]


def _raised(output: str, start: re.Match[str]) -> Told | None:
    """What the traceback that begins there ends with: its first line that is indented no further than it is."""
    frame = start.group(1)
    indent = re.match(r"[ \t│|]*", frame)
    prefix = indent.group() if indent is not None else ""
    for line in output[start.end() :].split("\n")[1:]:
        rest = line[len(prefix) :] if line.startswith(prefix) else line.lstrip()
        if not rest or rest[0] in " \t^~":
            continue
        match = _RAISED.match(rest)
        return None if match is None else _with_numbers(match.group(1), match.group(2) or "")
    return None


def _with_numbers(name: str | None, message: str) -> Told:
    number, windows = _NUMBER.search(message), _WINDOWS_NUMBER.search(message)
    if number is None and windows is None:
        return Told(name, message, *numbers_of_rust(message))
    return Told(
        name,
        message,
        None if number is None else int(number.group(1)),
        None if windows is None else int(windows.group(1)),
    )


def numbers_of_rust(message: str) -> tuple[int | None, int | None]:
    """The errno and the number of Windows in a text of Rust's standard library, which has what the system gave."""
    match = _RUST_NUMBER.search(message)
    if match is None:
        return None, None
    number = int(match.group(1) or match.group(2))
    # An output may be that of another computer; only the sentences of Windows end with a full stop.
    is_windows = os.name == "nt" or message[: match.start()].endswith(". ")
    return (None, number) if is_windows else (number, None)


@functools.cache
def _numbers_by_words() -> dict[str, int]:
    found = {os.strerror(number).lower(): number for number in _errno.errorcode}
    found.update({"filename too long": _errno.ENAMETOOLONG, "disk quota exceeded": _errno.EDQUOT})
    return found


def types_of(name: str) -> list[str]:
    """The qualified names of the class that a traceback calls `name`, and of its bases where those are known."""
    known = getattr(builtins, name, None)
    if isinstance(known, type) and issubclass(known, BaseException):
        return [f"{cls.__module__}.{cls.__qualname__}" for cls in known.__mro__]
    return [name]
