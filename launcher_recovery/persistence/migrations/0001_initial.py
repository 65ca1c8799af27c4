"""Operations, attempts, steps, outbox and owners."""

STATEMENTS = (
    """CREATE TABLE recovery_data (
        operation_id TEXT NOT NULL PRIMARY KEY,
        function_name TEXT NOT NULL,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0,
        args TEXT,
        kwargs TEXT,
        error TEXT,
        metadata TEXT,
        created_at {double} NOT NULL,
        updated_at {double} NOT NULL,
        kind TEXT NOT NULL,
        key TEXT,
        project TEXT,
        parent_id TEXT,
        title TEXT NOT NULL DEFAULT '',
        max_attempts INTEGER,
        fruitless INTEGER NOT NULL DEFAULT 0,
        watermark {double} NOT NULL DEFAULT 0,
        category TEXT,
        explanation TEXT,
        fix TEXT,
        next_attempt_at {double},
        waiting_for TEXT,
        progress TEXT,
        result TEXT,
        owner TEXT,
        fence INTEGER NOT NULL DEFAULT 0,
        resumable {boolean} NOT NULL,
        completed_at {double},
        begun_at {double}
    )""",
    # One unfinished operation for each key: the second caller joins the first.
    """CREATE UNIQUE INDEX recovery_data_key ON recovery_data (key)
        WHERE key IS NOT NULL AND state IN ('pending', 'in_progress', 'recovering', 'paused')""",
    """CREATE INDEX recovery_data_by_key ON recovery_data (key, created_at) WHERE key IS NOT NULL""",
    """CREATE INDEX recovery_data_unfinished ON recovery_data (state, owner)
        WHERE state IN ('pending', 'in_progress', 'recovering', 'paused')""",
    """CREATE INDEX recovery_data_newest ON recovery_data (created_at, operation_id)""",
    """CREATE TABLE recovery_attempts (
        operation_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        started_at {double} NOT NULL,
        ended_at {double},
        outcome TEXT,
        category TEXT,
        error TEXT,
        delay_s {double},
        PRIMARY KEY (operation_id, number)
    )""",
    """CREATE TABLE recovery_steps (
        operation_id TEXT NOT NULL,
        name TEXT NOT NULL,
        finished_at {double} NOT NULL,
        result TEXT,
        PRIMARY KEY (operation_id, name)
    )""",
    """CREATE TABLE recovery_outbox (
        seq {serial},
        name TEXT NOT NULL,
        operation_id TEXT,
        payload TEXT NOT NULL,
        transient {boolean} NOT NULL
    )""",
    """CREATE INDEX recovery_outbox_operation ON recovery_outbox (operation_id, seq)""",
    """CREATE TABLE recovery_owners (
        owner_id TEXT NOT NULL PRIMARY KEY,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        started TEXT NOT NULL,
        heartbeat_at {double} NOT NULL
    )""",
)

TYPES = {
    "double": "DOUBLE PRECISION",
    "boolean": "BOOLEAN",
    # AUTOINCREMENT: a number is never given twice, also when the newest rows were deleted.
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
}


def up(migrator, db):
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**TYPES))
