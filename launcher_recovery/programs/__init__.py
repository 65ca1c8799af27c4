"""Child programs of operations: how they are run, watched and ended."""
