"""launcher-recovery verify: whether a file is right, which bytes of it are not, and these fetched again."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from launcher_recovery.cli import values
from launcher_recovery.cli.command import WRONG_USAGE, Command, CommandLineError
from launcher_recovery.cli.words import amount, printable

if TYPE_CHECKING:
    from launcher_recovery.transfer import Verified


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path)
    values.add_checksum(parser)
    parser.add_argument("--repair", action="store_true", help="fetch the bytes that are wrong again")
    parser.add_argument(
        "--url", type=values.web_address, metavar="URL", help="where from (default: where it was downloaded from)"
    )
    values.add_header(parser)
    values.add_way(parser)
    parser.add_argument("--quiet", action="store_true", help="show nothing but an error")
    parser.add_argument("--json", action="store_true", help="tell the result as JSON")


def _run(options: argparse.Namespace) -> None:
    from launcher_recovery.transfer import verify

    if options.url and not options.repair:
        raise CommandLineError("--url is where --repair fetches from; give both", WRONG_USAGE)
    if not options.file.is_file():
        raise CommandLineError(f"{options.file} is not there, or no file")
    found = verify(
        options.file.absolute(),
        sha256=options.sha256,
        checksum=options.checksum,
        url=options.url,
        headers=dict(options.header) or None,
        repair=options.repair,
        proxy=options.proxy,
        ca_bundle=options.ca_bundle,
    )
    if options.json:
        print(json.dumps(_members(options.file, found)), flush=True)
    if not found.ok:
        raise CommandLineError(_what_is_wrong(options.file, found, options.repair))
    if not options.quiet and not options.json:
        done = "was damaged and is right again" if found.repaired else "is right"
        print(printable(f"{options.file} {done}: {amount(found.size)}, {found.checked}"))


def _members(path: Path, found: Verified) -> dict[str, object]:
    return {
        "path": str(path),
        "ok": found.ok,
        "size": found.size,
        "checked": found.checked,
        "bad": [[start, end] for start, end in found.bad],
        "repaired": found.repaired,
        "problem": found.problem,
    }


def _what_is_wrong(path: Path, found: Verified, was_to_repair: bool) -> str:
    parts = [f"{path} is not right: {(found.problem or 'its content differs').rstrip('.')}"]
    if found.bad:
        wrong = sum(end - start for start, end in found.bad)
        places = "one place" if len(found.bad) == 1 else f"{len(found.bad)} places"
        parts.append(f"{amount(wrong)} in {places} are damaged, from byte {found.bad[0][0]} on")
    if not was_to_repair:
        parts.append("--repair fetches the damaged bytes again")
    elif found.bad:
        parts.append("they could not be repaired")
    return "; ".join(parts)


COMMAND = Command("verify", "Check a file, and fetch what is damaged in it again.", _add_arguments, _run)
