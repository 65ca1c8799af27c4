"""What a command of the command line is, and how it says that it could not be done."""

from __future__ import annotations

import _thread
import argparse
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from launcher_recovery.cli.words import printable
from launcher_recovery.errors import RecoveryError

FAILED, WRONG_USAGE = 1, 2


class CommandLineError(RecoveryError):
    """What was asked for was not done; the message is the sentence for the person, `status` the exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


class StoppedError(KeyboardInterrupt):
    """A signal asked the process to end; raised in the main thread. `status` is the exit status, 128 + the signal."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.status = 128 + signal_number


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        name: the word that a person types.
        summary: what it does, in one line, for `--help`.
        add_arguments: adds its arguments to a parser.
        run: does it; returns when it is done, raises `CommandLineError` or the error that it ended with otherwise.
    """

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def stop_main_thread() -> None:
    """Raise `StoppedError` in the main thread as SIGTERM does, from any thread, whatever it waits for."""
    if not callable(signal.getsignal(signal.SIGTERM)):
        return  # nobody has asked for the error, and the signal itself would kill the process
    if sys.platform == "win32":
        _thread.interrupt_main(signal.SIGTERM)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


class OneSentenceParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Print `message` and end."""
        print_error(self.prog, f"{message.rstrip('.')}; see {self.prog} --help")
        sys.exit(WRONG_USAGE)


def print_error(program: str, sentence: str) -> None:
    """Print one sentence for the person on standard error."""
    line = " ".join(printable(sentence).split())
    print(f"{program}: {line}{'' if line.endswith(('.', '!', '?')) else '.'}", file=sys.stderr, flush=True)
