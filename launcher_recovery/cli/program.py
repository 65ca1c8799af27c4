"""Runs the command that was typed, and ends with its exit status: 0 only when it was done, else a sentence says why."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from launcher_recovery import __version__
from launcher_recovery.cli import check_workflow, doctor, download, extensions, priority, restore, run, verify
from launcher_recovery.cli.command import (
    FAILED,
    Command,
    CommandLineError,
    OneSentenceParser,
    StoppedError,
    print_error,
)
from launcher_recovery.cli.sentences import sentence_of

NAME = "launcher-recovery"
COMMANDS: tuple[Command, ...] = (
    download.COMMAND,
    verify.COMMAND,
    priority.COMMAND,
    check_workflow.COMMAND,
    restore.COMMAND,
    run.COMMAND,
    doctor.COMMAND,
    extensions.COMMAND,
)
EXIT_STATUS = """\
exit status:
  0    it was done
  1    it was not done; one sentence on standard error says why
  2    it was typed wrongly
  130  Ctrl-C ended it (128 + n: signal n did)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    Args:
        arguments: without the program's name; default: those of this process.

    Returns:
        The exit status: 0 when it was done, 1 when not, 2 for a command that was typed wrongly, 128 + n when signal n
        ended it (130 after Ctrl-C).
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files need not be text
    command, options = parse(arguments)
    program = f"{NAME} {command.name}"
    is_quiet = getattr(options, "quiet", False)
    with _ended_by_signals(), _warned_in_sentences(program), _logged_in_sentences(program, is_quiet):
        try:
            command.run(options)
            sys.stdout.flush()
        except StoppedError as stopped:
            print_error(program, "stopped before it was done")
            return stopped.status
        except CommandLineError as problem:
            print_error(program, str(problem))
            return problem.status
        except BrokenPipeError:  # nobody reads what is printed any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:
            print_error(program, sentence_of(error))
            return FAILED
    return 0


def parse(arguments: Sequence[str] | None = None) -> tuple[Command, argparse.Namespace]:
    """The command, and its arguments; ends the process with exit status 2 when they are wrong."""
    listed = "\n".join(f"  {command.name:16}{command.summary}" for command in COMMANDS)
    parser = OneSentenceParser(
        prog=NAME,
        usage="%(prog)s COMMAND …",
        description=f"Long operations that survive.\n\ncommands:\n{listed}",
        epilog=f"{NAME} COMMAND --help tells more.\n\n{EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {__version__}")
    names = {command.name: command for command in COMMANDS}
    parser.add_argument("command", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    typed = parser.parse_args(arguments)
    command = names[typed.command]
    # A parser of its own and not one below the other, since only so options may stand between its addresses.
    own = OneSentenceParser(
        prog=f"{NAME} {command.name}",
        description=command.summary,
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(own)
    return command, own.parse_intermixed_args(typed.rest)


@contextmanager
def _warned_in_sentences(program: str) -> Iterator[None]:
    """Warnings, such as of a setting that does not exist, are for the person too, who has no use for a line of code."""
    with warnings.catch_warnings():

        def say(message: Warning | str, *_: object) -> None:
            print_error(program, str(message))

        setattr(warnings, "showwarning", say)
        yield


class _Sentences(logging.Handler):
    """Tells what is logged as sentences, without what happens to operations: that is shown already."""

    def __init__(self, program: str, level: int) -> None:
        super().__init__(level)
        self._program = program

    def emit(self, record: logging.LogRecord) -> None:
        if not hasattr(record, "event"):
            print_error(self._program, record.getMessage())


@contextmanager
def _logged_in_sentences(program: str, is_quiet: bool) -> Iterator[None]:
    """What recovery warns of in its log is for the person too: without a handler Python would print it as it is."""
    handler = _Sentences(program, logging.ERROR if is_quiet else logging.WARNING)
    logger = logging.getLogger("launcher_recovery")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise `StoppedError` in the main thread, so that what has arrived is kept in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        raise StoppedError(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
