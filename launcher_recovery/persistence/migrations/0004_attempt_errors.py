"""The type and the traceback of the error that ended an attempt, beside its message."""


def up(migrator, db):
    for name in ("error_type", "traceback"):
        db.execute_sql(f"ALTER TABLE recovery_attempts ADD COLUMN {name} TEXT")
