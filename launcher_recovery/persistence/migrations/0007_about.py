"""What a process tells of itself in its row among the owners."""

STATEMENTS = ("""ALTER TABLE recovery_owners ADD COLUMN about TEXT""",)


def up(migrator, db):
    for statement in STATEMENTS:
        db.execute_sql(statement)
