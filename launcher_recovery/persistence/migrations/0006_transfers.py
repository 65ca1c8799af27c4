"""What is kept of files that are or were downloaded."""

import peewee

STATEMENTS = (
    # The journal comes last: it is large, and lists are made without it.
    """CREATE TABLE recovery_transfers (
        destination {destination},
        partial TEXT,
        content TEXT,
        size {integer},
        updated_at DOUBLE PRECISION NOT NULL,
        journal TEXT NOT NULL
    )""",
    """CREATE INDEX recovery_transfers_content ON recovery_transfers (content, updated_at) WHERE partial IS NULL""",
    """CREATE INDEX recovery_transfers_partial ON recovery_transfers (updated_at) WHERE partial IS NOT NULL""",
)

SQLITE = {"destination": "TEXT NOT NULL PRIMARY KEY", "integer": "INTEGER"}

# Ordered as SQLite and Python do. A path may be longer than what a b-tree takes, a hash takes any.
POSTGRES = {"destination": 'TEXT COLLATE "C" NOT NULL', "integer": "BIGINT"}

POSTGRES_STATEMENTS = (
    """ALTER TABLE recovery_transfers ADD CONSTRAINT recovery_transfers_destination
        EXCLUDE USING hash (destination WITH =)""",
)


def up(migrator, db):
    is_postgres = isinstance(db, peewee.PostgresqlDatabase)
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**(POSTGRES if is_postgres else SQLITE)))
    for statement in POSTGRES_STATEMENTS if is_postgres else ():
        db.execute_sql(statement)
