"""Circuit breakers and retry budgets that all processes share."""

STATEMENTS = (
    """CREATE TABLE recovery_breakers (
        scope TEXT NOT NULL,
        operation_type TEXT NOT NULL,
        state TEXT NOT NULL,
        failure_count INTEGER NOT NULL DEFAULT 0,
        last_failure_time {double},
        opened_at {double},
        generation INTEGER NOT NULL DEFAULT 0,
        probe_owner TEXT,
        recent TEXT NOT NULL DEFAULT '[]',
        updated_at {double} NOT NULL,
        PRIMARY KEY (scope, operation_type)
    )""",
    """CREATE TABLE recovery_budgets (
        scope TEXT NOT NULL PRIMARY KEY,
        tokens {double} NOT NULL,
        next_probe_at {double},
        updated_at {double} NOT NULL
    )""",
)

TYPES = {"double": "DOUBLE PRECISION"}


def up(migrator, db):
    for statement in STATEMENTS:
        db.execute_sql(statement.format(**TYPES))
