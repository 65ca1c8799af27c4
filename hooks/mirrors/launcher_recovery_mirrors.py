"""An extension of launcher-recovery: further addresses for a download, by replacing the beginning of its address."""

from __future__ import annotations

import os
from collections.abc import Sequence

from launcher_recovery import RecoveryConfigError, hookimpl

VARIABLE = "LAUNCHER_MIRRORS"


def parse(text: str) -> list[tuple[str, str]]:
    """(original, mirror) pairs from `https://a.example/=https://b.example/,...`, in order of preference.

    Raises:
        RecoveryConfigError: an entry is not two web addresses with `=` between.
    """
    pairs = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        original, _, mirror = entry.partition("=")
        if not all(address.startswith(("http://", "https://")) for address in (original, mirror)):
            raise RecoveryConfigError(
                f"{VARIABLE} has the entry {entry!r}, but an entry is two web addresses with = between, "
                "such as https://huggingface.co/=https://hf-mirror.example/"
            )
        pairs.append((original, mirror))
    return pairs


@hookimpl
def recovery_startup() -> None:
    """Say at once when the setting cannot be used, rather than at the first download."""
    parse(os.environ.get(VARIABLE, ""))


@hookimpl
def recovery_sources(url: str) -> Sequence[str]:
    """The mirrors of `url`."""
    pairs = parse(os.environ.get(VARIABLE, ""))
    return [mirror + url[len(original) :] for original, mirror in pairs if url.startswith(original)]
