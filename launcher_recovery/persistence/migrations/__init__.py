"""Schema migrations, forward only: numbered scripts with a frozen copy of what they create."""
