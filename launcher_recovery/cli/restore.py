"""launcher-recovery restore: the Python environment of a project as it was before a node, or an import."""

from __future__ import annotations

import argparse
import json
import sys

from launcher_recovery.cli.command import Command, CommandLineError
from launcher_recovery.cli.words import printable


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", metavar="NODE", help="the folder of the node, or the id of its install or of an import"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--quiet", action="store_true", help="show nothing but an error")
    parser.add_argument("--json", action="store_true", help="tell the result as JSON")


def _run(options: argparse.Namespace) -> None:
    from launcher_recovery.defaults.git import key_of
    from launcher_recovery.errors import RecoveryStateError
    from launcher_recovery.integration import get_recovery_integrator

    integrator = get_recovery_integrator()
    store = integrator.persistence
    key = integrator.lifecycle.kept_key(key_of({"destination": options.target}))
    found = store.get(options.target) or store.latest_with_key(key)
    if found is None:
        raise CommandLineError(f"there is no install of a node to {options.target}, and no operation of that id")
    is_shown = not options.quiet and not options.json
    try:
        if is_shown and not options.dry_run:
            print(f"{found.title}: putting the Python environment back", file=sys.stderr, flush=True)
        done = integrator.restore_environment(found.operation_id, dry_run=options.dry_run)
    except RecoveryStateError as error:
        raise CommandLineError(str(error)) from error
    if options.json:
        print(json.dumps({**done.as_json(), "done": not options.dry_run}), flush=True)
    elif is_shown:
        print(printable(f"{'It would be done: ' if options.dry_run and not done.is_nothing else ''}{done.sentence()}"))


COMMAND = Command("restore", "Put a Python environment back as it was before a node.", _add_arguments, _run)
