"""Checksums, and what is done about a file that does not have its own."""
