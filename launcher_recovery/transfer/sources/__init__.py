"""Where a file can be had from, and which of these places is asked next."""
