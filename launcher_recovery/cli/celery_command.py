"""The command `celery recovery`, which Celery loads whenever it starts: that is when a worker is woven.

Every entry point of the group `celery.commands` is loaded before the command line is read and the app is imported
(https://docs.celeryq.dev/en/stable/userguide/extending.html), so that a worker needs no prefix. There must be a setting
that says that recovery is on: being installed is no reason to change a worker.
"""

from __future__ import annotations

import sys

import click

from launcher_recovery.weave.process import weave


@click.command(name="recovery")
@click.option("--json", "as_json", is_flag=True, help="Tell it as JSON.")
def recovery(as_json: bool) -> None:
    """Tell whether launcher-recovery is in order here, and which workers are woven."""
    from launcher_recovery.cli import main

    sys.exit(main(["doctor", "--json"] if as_json else ["doctor"]))


weave(default=False)
