"""What a body is, by its first bytes: the file, or a page, a message, a pointer that came in its place."""
