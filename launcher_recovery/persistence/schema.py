"""Brings the schema of a database up to date, or refuses one that is newer than this version."""

from __future__ import annotations

import os
from pathlib import Path

import peewee

from launcher_recovery.errors import StoreError

_DIRECTORY = Path(__file__).parent / "migrations"
_HISTORY = "recovery_migrations"
LOCK = "SELECT pg_advisory_xact_lock(1280460099, hashtext(current_schema()))"
"""What everybody who writes to a PostgreSQL database waits for; each schema has its own."""


def shipped() -> list[str]:
    """Names of the migrations that this version knows, in order."""
    return sorted(path.stem for path in _DIRECTORY.glob("[0-9]*.py"))


def applied(database: peewee.Database) -> list[str]:
    """Names of the migrations that the database has had, in order."""
    if not database.table_exists(_HISTORY):
        return []
    rows = database.execute_sql(f"SELECT name FROM {_HISTORY} ORDER BY name").fetchall()
    return [row[0] for row in rows]


def migrate(database: peewee.Database, where: str, other: str, file: Path | None = None) -> None:
    """Apply what is missing, serialised with other processes that start at the same time.

    Args:
        database: connected.
        where: what to call it in messages.
        other: what to do to use another one, as words of a sentence.
        file: what is copied before an older schema is changed; None: nothing, as on a server, which has backups of
            its own.

    Raises:
        StoreError: the schema is newer than this version of launcher-recovery.
        OSError: the copy that is kept of an older schema cannot be made.
    """
    known = shipped()
    done = applied(database)
    unknown = sorted(set(done) - set(known))
    if unknown:
        raise StoreError(
            f"{where} was written by a newer version of launcher-recovery (it has the schema change "
            f"{unknown[-1]!r}, this version knows up to {known[-1]!r}): install the newer version again, or {other}."
        )
    if done == known:
        return
    if done and file is not None:
        _back_up(database, file.with_name(f"{file.name}.before-{sorted(set(known) - set(done))[0]}"))
    from playhouse.migrations import Runner  # only now: most starts have nothing to migrate

    is_server = isinstance(database, peewee.PostgresqlDatabase)
    try:
        with database.atomic() if is_server else database.atomic("IMMEDIATE"):
            if is_server:
                database.execute_sql(LOCK)
            Runner(database, str(_DIRECTORY), table_name=_HISTORY).up()
    except peewee.OperationalError as error:
        raise _first(error) from error


def _first(error: peewee.OperationalError) -> BaseException:
    """Why it failed: a full disk makes SQLite undo the transaction, and then Peewee cannot undo it again."""
    found: BaseException | None = error
    while found is not None and "cannot rollback" in str(found):
        found = found.__context__
    return found if isinstance(found, peewee.DatabaseError) else error


def _back_up(database: peewee.Database, copy: Path) -> None:
    """A private copy of the database as it is, unless another process was faster."""
    if copy.exists():
        return
    unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)  # SQLite writes into an empty file, and leaves its mode as it is
    database.execute_sql("VACUUM INTO ?", (str(unfinished),))
    unfinished.replace(copy)
