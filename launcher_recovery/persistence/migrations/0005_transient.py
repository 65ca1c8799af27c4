"""Only events that are replaced are found by their operation in an index: every other one costs a page a commit."""

STATEMENTS = (
    """DROP INDEX recovery_outbox_operation""",
    """CREATE INDEX recovery_outbox_transient ON recovery_outbox (operation_id) WHERE transient""",
)


def up(migrator, db):
    for statement in STATEMENTS:
        db.execute_sql(statement)
