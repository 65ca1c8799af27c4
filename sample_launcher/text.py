"""Short texts for people: an error on one line, a project's name as a folder's name."""

from __future__ import annotations

import re
import unicodedata

SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
LONGEST_NAME = 80
"""Characters that a project's name may have."""


def one_line(problem: BaseException, limit: int = 300) -> str:
    """An exception in one line of at most `limit` characters, without a full stop at its end.

    What is too long loses its middle: the start says what was tried, the end what went wrong.
    """
    text = " ".join(str(problem).split()).rstrip(".") or type(problem).__name__
    return text if len(text) <= limit else f"{text[: limit // 3]} … {text[3 - limit + limit // 3 :]}"


def slug(name: str) -> str:
    """The project id for a name: small letters, digits and single dashes; empty when nothing is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
