"""Upkeep of staging folders: each is known by its place, and deleted when nobody can go on with it any more."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Callable
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path

from launcher_recovery.errors import StoreError
from launcher_recovery.nodes.staging import Staging
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.base import Store, keeps_transfers
from launcher_recovery.records import RecoveryState, Transfer

logger = logging.getLogger("launcher_recovery")

_MOST_LOOKED_AT = 2000


def is_begun(operation: Operation, staging: Staging) -> None:
    """Remember the folder, so that it is found when the operation has been forgotten."""
    _keep(operation, staging, str(staging.folder))


def is_over(operation: Operation, staging: Staging) -> None:
    """There is no such folder any more."""
    if operation.kept_transfer(str(staging.destination)) is not None:
        _keep(operation, staging, None)


def _keep(operation: Operation, staging: Staging, partial: str | None) -> None:
    now = datetime.now(timezone.utc)
    operation.keep_transfer(Transfer(str(staging.destination), Transfer.FOLDER, partial, None, None, now))


def clean(store: Store, older_than: datetime, kept_key: Callable[[str], str] = lambda key: key) -> list[str]:
    """Delete the staging folders of installs that are forgotten, or that came to a good end.

    As long as an install is known and may be retried, its folder stays. So does one in which something was written
    since `older_than`, and whatever is no folder with the name that we gave it. What fails is logged, and tried again
    the next time.

    Args:
        store: where transfers are kept; one that keeps none is left alone.
        older_than: what was changed since then stays.
        kept_key: from the key of an operation to the key as the store has it, without secrets.

    Returns:
        The paths of the folders that were deleted.
    """
    if not keeps_transfers(store):
        return []
    deleted: list[str] = []
    try:
        for transfer in store.partials():
            if transfer.updated_at >= older_than:
                break  # so are the others
            if transfer.is_folder and _is_left(store, transfer, kept_key):
                _clean_one(store, transfer, older_than, deleted)
    except StoreError as error:
        logger.warning("old folders of nodes cannot be looked for at the moment: %s", error)
    return deleted


def _is_left(store: Store, transfer: Transfer, kept_key: Callable[[str], str]) -> bool:
    data = store.latest_with_key(kept_key(f"install_node:{transfer.destination}"))
    return data is None or data.state is RecoveryState.SUCCESS


def _clean_one(store: Store, transfer: Transfer, older_than: datetime, deleted: list[str]) -> None:
    staging = Staging(Path(transfer.destination), "")
    folder, doomed = staging.folder, staging.doomed
    try:
        if str(folder) != transfer.partial or not _is_folder(folder):
            logger.info("%s is no folder of a node that was begun any more", transfer.partial)
        elif _changed_at(folder) >= older_than.timestamp():
            return  # somebody works in it without a word to the store
        else:
            # Under another name first: who begins an install now finds nothing, and not a half of it.
            shutil.rmtree(doomed, ignore_errors=True)
            os.rename(folder, doomed)
            deleted.append(str(folder))
            logger.info("%s was deleted: nobody has gone on with the node since %s", folder, older_than.date())
        if _is_folder(doomed):
            shutil.rmtree(doomed)
    except OSError as error:
        logger.warning("%s cannot be deleted (%s): delete it yourself, or give this user the right to", folder, error)
        return
    store.forget_transfer(transfer.destination)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _changed_at(folder: Path) -> float:
    """When something was written in a folder, or in its repository, which git writes to before anything else."""
    looked_at = chain([folder], folder.iterdir(), (folder / ".git").glob("**/*"))
    return max(os.lstat(path).st_mtime for path, _ in zip(looked_at, range(_MOST_LOOKED_AT), strict=False))
