"""Secrets that this process has given away, known by value: no text that is kept or told repeats them.

A server or a program that was given a secret may print it again, in a form that tells nobody what it is.
"""

from __future__ import annotations

from launcher_recovery.redaction import MASK

# What is shorter would be found in words that have nothing to do with it.
_SHORTEST = 6

_known: set[str] = set()


def know(*secrets: str) -> None:
    """Remember secrets in the forms in which they are given away."""
    _known.update(secret for secret in secrets if len(secret) >= _SHORTEST)


def without_known(text: str) -> str:
    """`text` with `***` for each of them."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
