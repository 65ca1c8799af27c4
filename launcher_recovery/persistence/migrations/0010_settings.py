"""Settings that were changed while the launcher ran, and are kept over its restarts."""


def up(migrator, db):
    db.execute_sql(
        """CREATE TABLE recovery_settings (
            scope TEXT NOT NULL PRIMARY KEY,
            kept TEXT NOT NULL,
            updated_at DOUBLE PRECISION NOT NULL
        )"""
    )
