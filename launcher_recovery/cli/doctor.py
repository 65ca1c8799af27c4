"""launcher-recovery doctor: whether recovery is in order on this machine, and what is to be done if not."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher_recovery.cli.command import Command, CommandLineError
from launcher_recovery.cli.words import printable

if TYPE_CHECKING:
    from launcher_recovery.weave.report import Process, Report


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="tell it as JSON")


def _run(options: argparse.Namespace) -> None:
    from launcher_recovery.weave.report import examine

    report = examine()
    if options.json:
        print(json.dumps(report.to_json()), flush=True)
    else:
        for line in lines(report):
            print(printable(line), flush=True)
    if report.problems:
        more = len(report.problems) - 1
        raise CommandLineError(report.problems[0].rstrip(".") + (f" (and {more} more)" if more else ""))


def lines(report: Report) -> Iterator[str]:
    """The report for a person."""
    yield f"recovery: {'on' if report.enabled else 'off, unless it is started with launcher-recovery run'}"
    for name, setting in report.settings.items():
        yield f"setting: {name} = {setting['value']} ({setting['source']})"
    if report.store:
        state = report.store["problem"] or ("well" if report.store["is_there"] else "not there yet")
        yield f"store: {report.store['where']}: {state}"
    yield f"launchers known: {', '.join(report.hosts) or 'none'}"
    if not report.processes:
        yield "processes: none runs"
    for process in report.processes:
        yield from _process(process)
    for sentence in report.elsewhere:
        yield f"elsewhere: {sentence}"
    for problem in report.problems:
        yield f"problem: {problem}"


def _process(process: Process) -> Iterator[str]:
    of = f" of {', '.join(process.hosts)}" if process.hosts else ""
    woven = "woven" if process.is_woven else "not woven"
    yield f"process {process.pid}: {process.role}{of}, {woven}: {' '.join(process.argv)}".rstrip(": ")
    if process.live:
        yield f"  live: {', '.join(process.live)}"
    for point, reason in process.off.items():
        yield f"  off: {point}: {reason}"


COMMAND = Command(
    "doctor", "Tell whether recovery is in order here, and which processes are woven.", _add_arguments, _run
)
