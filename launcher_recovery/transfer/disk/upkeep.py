"""Upkeep of transfers: deletes partials that nobody goes on with, and forgets files that are gone."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from datetime import datetime

from launcher_recovery.errors import StoreError
from launcher_recovery.persistence.base import Store, keeps_transfers
from launcher_recovery.records import UNFINISHED, Transfer

logger = logging.getLogger("launcher_recovery")

_SUFFIX = ".part"
_GONE = (FileNotFoundError, NotADirectoryError)


def clean(store: Store, older_than: datetime, kept_key: Callable[[str], str] = lambda key: key) -> list[str]:
    """Delete the partials of downloads that are over, and forget what is known of files that are no longer there.

    A file is deleted only if it is a regular file, its name ends with ".part", and neither it nor what is kept of it
    was changed since `older_than`. What fails is logged, and tried again the next time.

    Args:
        store: where transfers are kept; one that keeps none is left alone.
        older_than: what was changed since then stays.
        kept_key: from the key of an operation to the key as the store has it, without secrets.

    Returns:
        The paths of the files that were deleted.
    """
    if not keeps_transfers(store):
        return []
    deleted: list[str] = []
    try:
        for transfer in store.partials():
            if transfer.updated_at >= older_than:
                break  # so are the others
            if not transfer.is_folder and not _is_under_way(store, transfer, kept_key):
                _clean_one(store, transfer, older_than, deleted)
        for destination in store.published(older_than):
            if _is_gone(destination):
                store.forget_transfer(destination)
    except StoreError as error:
        logger.warning("old partial files cannot be looked for at the moment: %s", error)
    return deleted


def _is_under_way(store: Store, transfer: Transfer, kept_key: Callable[[str], str]) -> bool:
    data = store.latest_with_key(kept_key(f"download:{transfer.destination}"))
    return data is not None and data.state in UNFINISHED


def _clean_one(store: Store, transfer: Transfer, older_than: datetime, deleted: list[str]) -> None:
    partial = transfer.partial
    assert partial is not None
    try:
        status = os.lstat(partial)
        if not stat.S_ISREG(status.st_mode) or not partial.endswith(_SUFFIX):
            logger.warning("%s is no partial file of a download any more: it is left as it is", partial)
        elif status.st_mtime >= older_than.timestamp():
            return  # somebody writes to it without a word to the store
        else:
            os.unlink(partial)
            deleted.append(partial)
            logger.info("%s was deleted: nobody has gone on with its download since %s", partial, older_than.date())
    except _GONE:
        pass
    except OSError as error:
        logger.warning("%s cannot be deleted (%s): delete it yourself, or give this user the right to", partial, error)
        return
    store.forget_transfer(transfer.destination)


def _is_gone(destination: str) -> bool:
    try:
        os.stat(destination)
    except _GONE:
        return True
    except OSError:
        return False  # it may be there, only not for this user
    return False
