"""Responses of foreign code that go on over dropped connections."""
