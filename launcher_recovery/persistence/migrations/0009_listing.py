"""What lists and totals need of the finished, so that they do not look through the whole history."""

STATEMENTS = (
    """DROP INDEX recovery_data_finished""",
    # The rest of the columns spares totals a look at the rows themselves.
    """CREATE INDEX recovery_data_finished ON recovery_data (updated_at, state, attempt, created_at, completed_at)
        WHERE state IN ('success', 'failed', 'exhausted', 'cancelled')""",
    """CREATE INDEX recovery_data_given_up ON recovery_data (created_at, operation_id)
        WHERE state IN ('failed', 'exhausted')""",
)


def up(migrator, db):
    for statement in STATEMENTS:
        db.execute_sql(statement)
