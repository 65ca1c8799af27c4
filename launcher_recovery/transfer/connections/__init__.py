"""The connections of one download, and what they fetch."""
