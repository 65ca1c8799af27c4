"""launcher-recovery run: a launcher that has no plugin system, in this very process, with recovery woven in."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from launcher_recovery.cli.command import WRONG_USAGE, Command, CommandLineError, OneSentenceParser, print_error

if TYPE_CHECKING:
    from launcher_recovery.weave.interpreters import Program

_PROGRAM = "launcher-recovery run"
_USAGE = f"{_PROGRAM} [--inject] [--anyway] -- COMMAND …"
_EXAMPLES = """\
examples:
  launcher-recovery run -- python server.py
  launcher-recovery run -- celery -A server.celery_app worker

The exit status is that of the command; 2: it was not run, one sentence on standard error says why."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inject",
        action="store_true",
        help="weave every process of this Python that the command starts, by the environment that it inherits; "
        "for commands that are not of Python, or that start themselves anew",
    )
    parser.add_argument(
        "--anyway", action="store_true", help="run a launcher of an unknown version, without what cannot be woven"
    )
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="what starts the launcher, with its arguments")


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments say; the launcher's own end is the end of this process.

    Nothing is done with signals, and nothing is loaded but what weaves, since this is the launcher's process.
    """
    own, command = _split(arguments)
    parser = OneSentenceParser(
        prog=_PROGRAM,
        usage=_USAGE,
        description=COMMAND.summary,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(parser)
    options = parser.parse_args(own)
    options.command = command
    try:
        _run(options)
    except CommandLineError as problem:
        print_error(_PROGRAM, str(problem))
        return problem.status
    return 0


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and the command: what is behind `--`, or begins with the first that is no option."""
    for position, argument in enumerate(arguments):
        if argument == "--":
            return list(arguments[:position]), list(arguments[position + 1 :])
        if not argument.startswith("-"):
            return list(arguments[:position]), list(arguments[position:])
    return list(arguments), []


def _run(options: argparse.Namespace) -> None:
    from launcher_recovery.errors import RecoveryConfigError
    from launcher_recovery.weave import interpreters, process, running

    if not options.command:
        raise CommandLineError(f"what is to be run? {_USAGE}", WRONG_USAGE)
    try:
        is_on = process.is_on(default=True)
        if options.inject:
            interpreters.check_injected(options.command)
            _inject(options.command, is_on)
        program = interpreters.program_of(options.command)
        if program.options:
            _start_anew(program, options.anyway)
    except (interpreters.NotOurs, RecoveryConfigError) as problem:
        raise CommandLineError(str(problem), WRONG_USAGE) from problem
    if program.how == "script" and not os.path.exists(program.what):
        raise CommandLineError(f"there is no file {program.what}", WRONG_USAGE)
    running.prepare(program)
    if is_on:
        _weave(options.anyway)
    running.execute(program)


def _weave(anyway: bool) -> None:
    """Weave this process; CommandLineError when a launcher is there of which a part is not known."""
    from launcher_recovery.weave import hosts, preflight, process

    missing = process.what_is_missing()
    if missing:
        raise CommandLineError(missing, WRONG_USAGE)
    known, problems = hosts.known_hosts()
    for problem in problems:
        print_error(_PROGRAM, problem)
    unknown = [standing for standing in preflight.look(known, [sys.path[0], os.getcwd()]) if standing.state == "off"]
    if unknown and not anyway:
        first, more = unknown[0], len(unknown) - 1
        raise CommandLineError(
            f"{first.problem.rstrip('.')}{f' (and {more} more)' if more else ''}; "
            f"--anyway runs it without what is not known",
            WRONG_USAGE,
        )
    process.weave(known, default=True)
    atexit.register(_warn_of_nothing, os.getpid())


def _warn_of_nothing(pid: int) -> None:
    """Say so at the end when nothing was woven: recovery did nothing, and the person thinks that it did."""
    from launcher_recovery.weave import process

    if os.getpid() == pid and all(standing.state == "waiting" for standing in process.standings()):
        print_error(_PROGRAM, "warning: nothing of a launcher that is known was found, so that recovery did nothing")


def _inject(command: Sequence[str], is_on: bool) -> NoReturn:
    from launcher_recovery.weave import injecting

    environ = injecting.environment(os.environ) if is_on else dict(os.environ)
    _become(command, environ)


def _start_anew(program: Program, anyway: bool) -> NoReturn:
    """What the interpreter is told before the program counts from its start: begin again with it, as this process."""
    named = {"script": [program.what], "module": ["-m", program.what], "code": ["-c", program.what], "stdin": ["-"]}
    own = ["--anyway"] if anyway else []
    ours = [*program.options, "-m", "launcher_recovery", "run", *own, "--"]
    _become([sys.executable, *ours, sys.executable, *named[program.how], *program.argv], dict(os.environ))


def _become(command: Sequence[str], environ: dict[str, str]) -> NoReturn:
    from launcher_recovery.weave import injecting

    try:
        injecting.replace_process(command, environ)
    except OSError as error:
        raise CommandLineError(f"{command[0]} cannot be run: {error.strerror or error}", WRONG_USAGE) from error


COMMAND = Command("run", "Run a launcher that has no plugin system, with recovery woven in.", _add_arguments, _run)
