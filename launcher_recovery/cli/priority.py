"""launcher-recovery priority: how important an operation is that is under way, in whichever process it runs."""

from __future__ import annotations

import argparse

from launcher_recovery.cli.command import Command, CommandLineError
from launcher_recovery.cli.words import printable


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="FILE", help="the file that is downloaded, or the id of any operation")
    parser.add_argument("priority", metavar="N", type=int, help="higher ones go first; 0 is usual")
    parser.add_argument("--quiet", action="store_true", help="show nothing but an error")


def _run(options: argparse.Namespace) -> None:
    from launcher_recovery.downloads import find
    from launcher_recovery.errors import RecoveryStateError
    from launcher_recovery.integration import get_recovery_integrator

    found = find(options.target)
    if found is None:
        raise CommandLineError(f"there is no download to {options.target}, and no operation of that id")
    try:
        data = get_recovery_integrator().set_priority(found.operation_id, options.priority)
    except RecoveryStateError as error:
        raise CommandLineError(
            f"{found.title} is over, so that its priority counts for nothing: its state is {error.state}"
        ) from error
    if not options.quiet:
        print(printable(f"{data.title} has the priority {options.priority} now"), flush=True)


COMMAND = Command("priority", "Say how important a download or another operation is.", _add_arguments, _run)
