"""Operations, attempts, steps, outbox and owners."""

import peewee

STATEMENTS = (
    """CREATE TABLE recovery_data (
        operation_id {id} NOT NULL PRIMARY KEY,
        function_name TEXT NOT NULL,
        state TEXT NOT NULL,
        attempt {integer} NOT NULL DEFAULT 0,
        args TEXT,
        kwargs TEXT,
        error TEXT,
        metadata TEXT,
        created_at {double} NOT NULL,
        updated_at {double} NOT NULL,
        kind TEXT NOT NULL,
        key TEXT,
        project TEXT,
        parent_id {id},
        title TEXT NOT NULL DEFAULT '',
        max_attempts {integer},
        fruitless {integer} NOT NULL DEFAULT 0,
        watermark {double} NOT NULL DEFAULT 0,
        category TEXT,
        explanation TEXT,
        fix TEXT,
        next_attempt_at {double},
        waiting_for TEXT,
        progress TEXT,
        result TEXT,
        owner TEXT,
        fence {integer} NOT NULL DEFAULT 0,
        resumable {boolean} NOT NULL,
        completed_at {double},
        begun_at {double}
    )""",
    # One unfinished operation for each key: the second caller joins the first.
    """{unique_key} key IS NOT NULL AND state IN ('pending', 'in_progress', 'recovering', 'paused'){unique_key_end}""",
    """CREATE INDEX recovery_data_by_key ON recovery_data {by_key} WHERE key IS NOT NULL""",
    """CREATE INDEX recovery_data_unfinished ON recovery_data (state, owner)
        WHERE state IN ('pending', 'in_progress', 'recovering', 'paused')""",
    """CREATE INDEX recovery_data_newest ON recovery_data (created_at, operation_id)""",
    """CREATE TABLE recovery_attempts (
        operation_id {id} NOT NULL,
        number {integer} NOT NULL,
        started_at {double} NOT NULL,
        ended_at {double},
        outcome TEXT,
        category TEXT,
        error TEXT,
        delay_s {double},
        PRIMARY KEY (operation_id, number)
    )""",
    """CREATE TABLE recovery_steps (
        operation_id {id} NOT NULL,
        name TEXT NOT NULL,
        finished_at {double} NOT NULL,
        result TEXT,
        PRIMARY KEY (operation_id, name)
    )""",
    """CREATE TABLE recovery_outbox (
        seq {serial},
        name TEXT NOT NULL,
        operation_id {id},
        payload TEXT NOT NULL,
        transient {boolean} NOT NULL
    )""",
    """CREATE INDEX recovery_outbox_operation ON recovery_outbox (operation_id, seq)""",
    """CREATE TABLE recovery_owners (
        owner_id TEXT NOT NULL PRIMARY KEY,
        host TEXT NOT NULL,
        pid {integer} NOT NULL,
        started TEXT NOT NULL,
        heartbeat_at {double} NOT NULL
    )""",
)

SQLITE = {
    "id": "TEXT",
    "integer": "INTEGER",
    "double": "DOUBLE PRECISION",
    "boolean": "BOOLEAN",
    # AUTOINCREMENT: a number is never given twice, also when the newest rows were deleted.
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "unique_key": "CREATE UNIQUE INDEX recovery_data_key ON recovery_data (key) WHERE",
    "unique_key_end": "",
    "by_key": "(key, created_at)",
}

# Identifiers are ordered as SQLite and Python do. A key may be longer than what a b-tree takes, a hash takes any.
POSTGRES = {
    "id": 'TEXT COLLATE "C"',
    "integer": "BIGINT",
    "double": "DOUBLE PRECISION",
    "boolean": "BOOLEAN",
    "serial": "BIGINT PRIMARY KEY",
    "unique_key": "ALTER TABLE recovery_data ADD CONSTRAINT recovery_data_key EXCLUDE USING hash (key WITH =) WHERE (",
    "unique_key_end": ")",
    "by_key": "USING hash (key)",
}

POSTGRES_STATEMENTS = (
    # What SQLite has by itself: the order in which rows were entered, and the newest number of an event.
    """ALTER TABLE recovery_data ADD COLUMN entered BIGINT GENERATED ALWAYS AS IDENTITY""",
    """ALTER TABLE recovery_steps ADD COLUMN entered BIGINT GENERATED ALWAYS AS IDENTITY""",
    """CREATE TABLE recovery_outbox_number (seq BIGINT NOT NULL)""",
    """INSERT INTO recovery_outbox_number (seq) VALUES (0)""",
)


def up(migrator, db):
    is_postgres = isinstance(db, peewee.PostgresqlDatabase)
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**(POSTGRES if is_postgres else SQLITE)))
    for statement in POSTGRES_STATEMENTS if is_postgres else ():
        db.execute_sql(statement)
