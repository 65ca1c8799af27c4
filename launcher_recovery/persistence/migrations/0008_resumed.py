"""The bytes that an attempt did not fetch again, because an earlier one had."""

STATEMENTS = ("""ALTER TABLE recovery_attempts ADD COLUMN resumed DOUBLE PRECISION""",)


def up(migrator, db):
    for statement in STATEMENTS:
        db.execute_sql(statement)
