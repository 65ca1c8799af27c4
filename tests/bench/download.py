"""How fast a download is, beside those of others in the same run: from nginx on this machine, whole and verified.

    python -m tests.bench.download [--size 1G] [--runs 5] [--folder FOLDER] [--row ROW]... [--peers NAME,NAME]

The folder decides which disk is measured; default: a temporary one. It needs nginx, and as peers curl, wget, aria2c and
what the extra `bench` installs; who is missing is named. Rows:

    http      plain HTTP
    https     HTTPS, the certificate verified
    limited   plain HTTP at 100 MiB/s a connection
    restart   how long a download that was killed with 10 GiB there (--restart-size) takes to its first new byte

Runs are in turn, A B C A B C, medians are shown. Each is a fresh process: its time is that of the whole command, the
one "inside" that of the work alone, without the start of Python and the imports (of other programs: the whole command).
Ours syncs the file and its folder to the disk before it says that it is done, as `curl && sync FILE` does; curl, wget,
aria2, pypdl and huggingface_hub leave that to the system. For Linux; macOS lacks the bare splice.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import machine, measure, nginx, restart
from tests.bench.contenders import OURS, PEERS, Contender, Job
from tests.bench.measure import Usage

MIB, GIB = 1 << 20, 1 << 30
UNITS = {"K": 1 << 10, "M": MIB, "G": GIB}
ROWS = ("http", "https", "limited", "restart")
NAME = "model.safetensors"
# Who takes part in a row, where not all of them do: with limited connections those of the goal and what one connection
# has, at restarts those that go on without being told where.
ONLY = {"limited": ("curl", "aria2-x4"), "restart": ("curl", "wget", "aria2-x1")}


def size(text: str) -> int:
    """Bytes, of a number that may end with K, M or G (of 1024)."""
    unit = UNITS.get(text[-1:].upper(), 1)
    try:
        found = int(text[:-1] if unit > 1 else text) * unit
    except ValueError:
        found = 0
    if found < MIB:
        raise argparse.ArgumentTypeError(f"{text!r} is no size of at least 1 MiB, such as 256M or 1G")
    return found


def make_file(path: Path, length: int) -> str:
    """A file that nobody can compress; returns its SHA-256. It is in the system's cache afterwards."""
    source, digest = random.Random(4), hashlib.sha256()
    with path.open("wb") as file:
        while length > 0:
            block = source.randbytes(min(length, 4 * MIB))
            file.write(block)
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()


def measured(job: Job, contender: Contender, length: int) -> Usage:
    """One run; what it downloaded is checked and deleted.

    Raises:
        CommandFailedError: it failed, or left a file of another size.
    """
    measure.settle()
    try:
        used = measure.run(contender.command(job), measure.environment(**job.environ))
        found = job.destination.stat().st_size if job.destination.exists() else None
        if found != length:
            raise measure.CommandFailedError(f"left a file of {found} bytes")
    finally:
        for left in job.destination.parent.iterdir():
            left.unlink()
    return used


def median(runs: Sequence[Usage]) -> Usage:
    """The medians of everything; of memory the most."""
    inside = [run.seconds if run.inside is None else run.inside for run in runs]
    return Usage(
        statistics.median(run.seconds for run in runs),
        statistics.median(run.cpu_s for run in runs),
        max(run.peak_rss for run in runs),
        statistics.median(inside),
    )


def table(row: str, length: int, found: Mapping[str, Sequence[Usage]], contenders: Sequence[Contender]) -> list[str]:
    """The lines for one row: each contender beside the ratio of our time to its."""
    columns = f"{'s':>8}{'inside':>8}{'MiB/s':>8}{'CPU s/GiB':>11}{'RSS MiB':>9}{'ours/it':>9}{'inside':>8}"
    lines = [f"{'':32}{columns}  goal of ours/it"]
    ours = median(found[OURS.name]) if OURS.name in found else None
    for contender in contenders:
        if contender.name not in found:
            continue
        it = median(found[contender.name])
        assert it.inside is not None
        line = (
            f"{contender.label:32}{it.seconds:8.3f}{it.inside:8.3f}{length / MIB / it.seconds:8.0f}"
            f"{it.cpu_s / (length / GIB):11.2f}{it.peak_rss / MIB:9.1f}"
        )
        if ours is not None and contender is not OURS:
            assert ours.inside is not None
            line += f"{ours.seconds / it.seconds:9.2f}{ours.inside / it.inside:8.2f}"
            goal = dict(contender.goals).get(row)
            line += "" if goal is None else f"  at most {goal:.2f}"
        lines.append(line)
    return lines


def choose(names: Sequence[str], row: str) -> tuple[list[Contender], list[str]]:
    """Who takes part in a row, and a line for each of those who do not and why."""
    wanted = [peer for peer in PEERS if peer.name in names and peer.name in ONLY.get(row, names)]
    present, absent = [OURS], []
    for peer in wanted:
        if row == "https" and not peer.speaks_tls:
            absent.append(f"{peer.label}: not measured, it cannot do HTTPS")
        elif (missing := peer.missing()) is not None:
            absent.append(f"{peer.label}: not measured, {missing}")
        else:
            present.append(peer)
    return present, absent


def compare(row: str, given: argparse.Namespace, addresses: nginx.Addresses, sha256: str, folder: Path) -> None:
    contenders, absent = choose(given.peers, row)
    base, certificate = {
        "http": (addresses.http, None),
        "https": (addresses.https, addresses.certificate),
        "limited": (addresses.limited, None),
    }[row]
    found: dict[str, list[Usage]] = {}
    failed: list[str] = []
    for number in range(given.runs):
        for contender in list(contenders):
            target = folder / f"{row}-{number}-{contender.name}"
            target.mkdir()
            job = Job(base + NAME, target / NAME, sha256, folder, certificate)
            try:
                found.setdefault(contender.name, []).append(measured(job, contender, given.size))
            except measure.CommandFailedError as error:
                failed.append(f"{contender.label}: failed, {error}")
                found.pop(contender.name, None)
                contenders.remove(contender)
    print(f"\n{row}: {given.size / MIB:.0f} MiB, median of {given.runs}; load after it {os.getloadavg()[0]:.2f}")
    print("\n".join([*table(row, given.size, found, contenders), *failed, *absent]), flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    names = [peer.name for peer in PEERS]

    def peers(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        if unknown := [name for name in chosen if name not in names]:
            raise argparse.ArgumentTypeError(f"there is no peer {unknown[0]!r}; give some of {', '.join(names)}")
        return chosen

    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=size, default=GIB, help="of the file (default: 1G)")
    parser.add_argument("--runs", type=int, default=5, help="of each contender (default: 5)")
    parser.add_argument("--folder", type=Path, help="where files go (default: a temporary folder)")
    parser.add_argument("--row", action="append", choices=ROWS, help="may be given again (default: all)")
    parser.add_argument("--peers", type=peers, default=names, help=f"some of {','.join(names)} (default: all)")
    parser.add_argument("--restart-size", type=size, default=10 * GIB, help="bytes there at a restart (default: 10G)")
    given = parser.parse_args(arguments)
    if given.runs < 1:
        parser.error("--runs must be at least 1")
    given.row = given.row or list(ROWS)
    return given


def main() -> int:
    given = parse()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder) as name:
        folder = Path(name).resolve()
        print(machine.described(folder))
        measure.compile_package()
        compared = [row for row in given.row if row != "restart"]
        if compared:
            served = folder / "served"
            served.mkdir()
            sha256 = make_file(served / NAME, given.size)
            try:
                with nginx.serving(served, folder) as addresses:
                    print(f"{nginx.version()}; memory below {measure.floor() / MIB:.1f} MiB cannot be told")
                    for row in compared:
                        compare(row, given, addresses, sha256, folder)
            except nginx.NginxError as error:
                print(f"\n{', '.join(compared)}: not measured: {error}")
            (served / NAME).unlink()
        if "restart" in given.row:
            restart.compare(given, folder, *choose(given.peers, "restart"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
