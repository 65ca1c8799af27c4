"""Whether a command is run by the Python that has the plugin, and how its line is read."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from launcher_recovery.weave.interpreters import NotOurs, Program, check_injected, interpreter_of, program_of

PYTHON = sys.executable


def script(path: Path, head: str) -> Path:
    path.write_text(head)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["server.py"], Program("script", "server.py", ())),
        (["server.py", "-u", "--", "x"], Program("script", "server.py", ("-u", "--", "x"))),
        (["-m", "flask", "run"], Program("module", "flask", ("run",))),
        (["-mflask", "-m"], Program("module", "flask", ("-m",))),
        (["-c", "1", "-c"], Program("code", "1", ("-c",))),
        (["-", "a"], Program("stdin", "-", ("a",))),
        (["-u", "server.py"], Program("script", "server.py", (), ("-u",))),
        (["-uBm", "flask"], Program("module", "flask", (), ("-uB",))),
        (
            ["-W", "error", "-Xdev", "-X", "utf8", "s.py"],
            Program("script", "s.py", (), ("-W", "error", "-Xdev", "-X", "utf8")),
        ),
        (["-uW", "error", "s.py"], Program("script", "s.py", (), ("-uW", "error"))),
        (
            ["--check-hash-based-pycs", "always", "s.py"],
            Program("script", "s.py", (), ("--check-hash-based-pycs", "always")),
        ),
        (["--version"], Program("stdin", "-", (), ("--version",))),
        ([], Program("stdin", "-", ())),
    ],
)
def test_a_command_of_python_is_read_as_python_does(
    arguments: list[str], program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert program_of([PYTHON, *arguments]) == program
    check_injected([PYTHON, *arguments])


def test_python_without_anything_to_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(NotOurs, match="python needs the name of a script, or -m"):
        program_of([PYTHON])
    with pytest.raises(NotOurs, match="the option -m of python needs a value"):
        program_of([PYTHON, "-um"])


@pytest.mark.parametrize(
    ("head", "interpreter"),
    [
        ("#!/usr/bin/python3\n", "/usr/bin/python3"),
        ("#! /usr/bin/env python3.11 -u\n", "python3.11"),
        ("#!/bin/sh\n'''exec' \"/a long/python3.11\" \"$0\" \"$@\"\n' '''\n", "/a long/python3.11"),
        ("#!/bin/sh\n", None),
        ("#!/usr/bin/env bash\n", None),
        ("\x7fELF", None),
    ],
)
def test_the_interpreter_of_a_script(tmp_path: Path, head: str, interpreter: str | None) -> None:
    assert interpreter_of(script(tmp_path / "s", head)) == interpreter


def test_console_scripts_of_this_python_are_run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    mine = script(tmp_path / "my-server", f"#!{PYTHON}\n")
    assert program_of(["my-server", "a"]) == Program("script", str(mine), ("a",))
    check_injected(["my-server"])
    plain = tmp_path / "plain.py"
    plain.write_text("")
    assert program_of([str(plain), "a"]) == Program("script", str(plain), ("a",))


def test_another_python_and_what_is_none_are_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    other = script(tmp_path / "python9", "#!/bin/sh\necho /somewhere/else\n")
    script(tmp_path / "python8", "#!/bin/sh\nexit 1\n")
    script(tmp_path / "other-server", f"#!{other}\n")
    script(tmp_path / "lost-server", "#!/nowhere/python3\n")
    script(tmp_path / "start", "#!/bin/sh\n")
    for check in (program_of, check_injected):
        for name, words in {
            "python9": rf"python9 \({other}\) is another Python than {PYTHON}, which launcher-recovery is ",
            str(other): rf"^{other} is another Python",
            "python8": "is another Python",
            "other-server": rf"other-server \({other}\) is another Python",
            "lost-server": "there is no program /nowhere/python3, by which lost-server is run",
            "python7": "^there is no program python7$",
            "no-such-program": "there is no program no-such-program",
        }.items():
            with pytest.raises(NotOurs, match=words):
                check([name])
    with pytest.raises(NotOurs, match="start is no program of Python; launcher-recovery run --inject -- start"):
        program_of(["start"])
    check_injected(["start"])


def test_a_link_to_this_python_and_one_that_looks_for_it_are_it(tmp_path: Path) -> None:
    asked = script(tmp_path / "python3", f'#!/bin/sh\nexec {PYTHON} "$@"\n')
    assert program_of([str(asked), "s.py"]) == Program("script", "s.py", ())
