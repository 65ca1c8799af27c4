"""launcher-recovery download: one file, over whatever happens, verified."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from launcher_recovery.cli import values
from launcher_recovery.cli.command import (
    WRONG_USAGE,
    Command,
    CommandLineError,
    StoppedError,
    stop_main_thread,
)
from launcher_recovery.cli.destination import destination_of
from launcher_recovery.cli.display import Update, display
from launcher_recovery.cli.sentences import sentence_of
from launcher_recovery.cli.words import amount, span
from launcher_recovery.errors import IntegrityError, OperationCancelled


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("urls", nargs="*", metavar="URL", type=values.web_address, help="addresses of the same file")
    parser.add_argument("destination", metavar="DEST", help="the file, or a folder for it")
    values.add_checksum(parser)
    parser.add_argument("--size", type=values.byte_count, metavar="BYTES", help="how large it has to be")
    parser.add_argument(
        "--mirror",
        action="append",
        default=[],
        type=values.web_address,
        metavar="URL",
        help="a further address, which joins when it has the same file; may be given again",
    )
    parser.add_argument("--metalink", type=Path, metavar="FILE", help="a Metalink file with addresses and checksums")
    values.add_header(parser)
    values.add_way(parser)
    parser.add_argument(
        "--connections", type=values.connection_count, metavar="N", help="at most so many (default: as it gets faster)"
    )
    parser.add_argument("--limit-rate", type=values.limit, metavar="BYTES", help="bytes a second, such as 10M")
    parser.add_argument("--priority", type=int, default=0, metavar="N", help="higher ones go first (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="show nothing but an error")
    parser.add_argument("--json", action="store_true", help="tell everything as JSON, one object a line")


def _run(options: argparse.Namespace) -> None:
    from launcher_recovery.transfer import download

    if not options.urls and options.metalink is None:
        raise CommandLineError("give the address of the file, and then where it is to be saved", WRONG_USAGE)
    if options.metalink is not None and not options.metalink.is_file():
        raise CommandLineError(f"the Metalink file {options.metalink} is not there", WRONG_USAGE)
    headers = dict(options.header) or None
    asked_by = (options.proxy, options.ca_bundle)
    destination = destination_of(options.destination, options.urls, headers, options.metalink, asked_by)
    watch = _Watch()
    begun = time.monotonic()
    try:
        with display(destination.name, sys.stderr, sys.stdout, quiet=options.quiet, as_json=options.json) as show:
            path = download(
                options.urls[0] if len(options.urls) == 1 else options.urls,
                destination,
                sha256=options.sha256,
                checksum=options.checksum,
                size=options.size,
                sources=options.mirror,
                metalink=options.metalink,
                headers=headers,
                connections=options.connections,
                limit_rate=options.limit_rate,
                priority=options.priority,
                proxy=options.proxy,
                ca_bundle=options.ca_bundle,
                resume=True,  # who types it wants it now, whoever paused it before
                on_update=lambda update: watch.see(update, show),
            )
    except (StoppedError, Exception) as error:
        problem = watch.ended(destination.name, error)
        if options.json:
            print(json.dumps({"event": "failed", "error": str(problem)}))
        raise problem from error
    _tell(options, path, time.monotonic() - begun)


def _tell(options: argparse.Namespace, path: Path, seconds: float) -> None:
    """Say that it is done: the path on standard output, for scripts; the rest for people."""
    size = path.stat().st_size
    if options.json:
        print(json.dumps({"event": "done", "path": str(path), "size": size}))
    elif not options.quiet:
        checked = options.checksum or (options.sha256 and "sha256")
        verified = f", {checked.partition(':')[0]} as expected" if checked else ""
        print(f"{amount(size)} in {span(seconds)}{verified}", file=sys.stderr, flush=True)
        print(path)


class _Watch:
    """Remembers how the operation was last, for the sentence at the end."""

    def __init__(self) -> None:
        self._last: Update = {}

    def see(self, update: Update, show: Callable[[Update], None]) -> None:
        """Keep and show an update."""
        self._last = update
        show(update)
        if update["state"] == "paused":
            stop_main_thread()  # else this would wait for a person

    def ended(self, name: str, error: BaseException) -> CommandLineError:
        """The sentence for a download that was not done."""
        if isinstance(error, StoppedError) and self._last.get("state") == "paused":
            return CommandLineError(f"{name} was paused by somebody{self._kept('; ')}: the same command goes on")
        if isinstance(error, StoppedError):
            if self._last.get("joined"):
                return CommandLineError(f"stopped; the other process goes on downloading {name}", error.status)
            kept = self._kept("; ") or "; nothing had arrived yet"
            return CommandLineError(f"{name} was stopped{kept}: the same command goes on", error.status)
        if isinstance(error, OperationCancelled):
            return CommandLineError(f"{name} was cancelled")
        gave_up = self._last.get("state") in ("failed", "exhausted")
        why = sentence_of(error, self._last.get("explanation") if gave_up else None)
        tried = self._last.get("attempt") or 0
        after = f" after {tried} attempts" if tried > 1 else ""
        kept = "" if isinstance(error, IntegrityError) else self._kept("; ")
        again = ", and the same command goes on from there" if kept else ""
        return CommandLineError(f"{name} was not downloaded{after}: {why.rstrip('.')}{kept}{again}")

    def _kept(self, before: str) -> str:
        progress = self._last.get("progress") or {}
        done, total = progress.get("done") or 0, progress.get("total")
        if done <= 0:
            return ""
        return f"{before}what has arrived ({amount(done)}{f' of {amount(total)}' if total else ''}) is kept"


COMMAND = Command("download", "Download a file that goes on after any interruption.", _add_arguments, _run)
