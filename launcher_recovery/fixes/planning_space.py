"""Plan that makes room on a disk: what can be deleted without a loss that matters, with sizes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from launcher_recovery.fixes.file_actions import Remove
from launcher_recovery.fixes.fix import Case, Plan, Say
from launcher_recovery.fixes.places import QUARANTINE, folder_of
from launcher_recovery.fixes.trees import print_of
from launcher_recovery.persistence.base import keeps_transfers
from launcher_recovery.records import UNFINISHED
from launcher_recovery.room import amount, device_of, free_bytes

_MOST = 100
# What pip's cache consists of; other files in that folder are not pip's.
_PIP_FOLDERS = ("http", "http-v2", "wheels", "selfcheck")


def free_disk_space(case: Case) -> Plan:
    """Old partials, what pip keeps and what is in quarantine, on the disk that is full, largest first."""
    found: list[Remove] = []
    if case.given["partials"]:
        found += _partials(case)
    if case.given["pip_cache"]:
        found += _pip_cache(case)
    if case.given["quarantine"]:
        found += _quarantined(case)
    found = [action for action in found if action.seen.size > 0 and _is_on_that_disk(action.path, case)]
    found = sorted(found, key=lambda action: (-action.seen.size, action.path))[:_MOST]
    total = sum(action.seen.size for action in found)
    says = (_needs(case), Say("space.offer", {"size": amount(total)}) if found else Say("space.nothing"))
    return Plan(tuple(found), says)


def purge_pip_cache(case: Case) -> Plan:
    """What pip keeps of what it fetched, so that it fetches all again."""
    found = tuple(action for action in _pip_cache(case) if action.seen.files)
    return Plan(found, (Say("then.fetch_again"),) if found else (Say("space.no_cache"),))


def _needs(case: Case) -> Say:
    """What the operation still needs, and what the disk has."""
    folder = folder_of(case) or case.tools.folder
    try:
        have = amount(free_bytes(folder))
    except OSError:
        have = "?"
    progress = case.data.progress
    if progress is None or progress.unit != "bytes" or progress.total is None:
        return Say("space.have", {"have": have, "folder": str(folder)})
    need = amount(max(0.0, progress.total - progress.done))
    return Say("space.need", {"need": need, "have": have, "folder": str(folder)})


def _is_on_that_disk(path: str, case: Case) -> bool:
    folder = folder_of(case)
    try:
        return folder is None or device_of(path) == device_of(folder)
    except OSError:
        return False


def _partials(case: Case) -> Iterator[Remove]:
    """Partials of downloads that are over, but for the one of this operation."""
    lifecycle = case.tools.lifecycle
    if not keeps_transfers(lifecycle.store):
        return
    destination = case.path("destination")
    mine = None if destination is None else os.path.realpath(destination)
    for transfer in lifecycle.store.partials():
        partial = Path(transfer.partial or "")
        if transfer.destination == mine or partial.suffix != ".part":
            continue
        latest = lifecycle.store.latest_with_key(lifecycle.kept_key(f"download:{transfer.destination}"))
        if (latest is None or latest.state not in UNFINISHED) and partial.is_file() and not partial.is_symlink():
            yield Remove(str(partial), print_of(partial), transfer.destination)


def _pip_cache(case: Case) -> Iterator[Remove]:
    folder = case.tools.pip_cache(case.data)
    for name in _PIP_FOLDERS if folder is not None else ():
        assert folder is not None
        if (path := folder / name).is_dir() and not path.is_symlink():
            yield Remove(str(path), print_of(path))


def _quarantined(case: Case) -> Iterator[Remove]:
    """What we moved away in the folders beside that of the operation."""
    folder = folder_of(case)
    if folder is None:
        return
    for quarantine in {
        *folder.glob(QUARANTINE),
        *folder.glob(f"*/{QUARANTINE}"),
        *folder.parent.glob(f"*/{QUARANTINE}"),
    }:
        if quarantine.is_dir() and not quarantine.is_symlink():
            yield Remove(str(quarantine), print_of(quarantine))
