"""An index of the finished by age, so that cleaning up does not look through the whole history."""

STATEMENT = """CREATE INDEX recovery_data_finished ON recovery_data (updated_at)
    WHERE state IN ('success', 'failed', 'exhausted', 'cancelled')"""


def up(migrator, db):
    db.execute_sql(STATEMENT)
