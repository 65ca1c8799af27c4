"""Numbers and states as words, like the page has them: plain functions from data to text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB")
_WAITING_FOR = {
    "retry_after": "the server asked us to wait",
    "breaker": "this server failed several times, so it gets a rest",
    "disk_space": "there is not enough free disk space",
    "program": "another program is writing to the file",
    "slot": "other downloads come first",
}
JOINED = "another process is downloading this file; joined"


def printable(text: str) -> str:
    """The text in one line, without what would steer a terminal: names of files and messages come from servers, too."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def amount(count: float) -> str:
    """Bytes as 0 B, 640 kB, 4.2 MB, 70 MB, 6.94 GB (powers of 1000, as download pages show them)."""
    value, unit = max(0.0, count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    digits = 0 if unit == 0 or value >= 100 else 2 if unit >= 3 else 1 if value < 10 else 0
    text = f"{value:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if digits else text} {_UNITS[unit]}"


def span(seconds: float) -> str:
    """Whole seconds as 7 s, 1 min 5 s, 2 h 10 min, 3 days."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    if whole < 172800:
        minutes = whole % 3600 // 60
        return f"{whole // 3600} h" + (f" {minutes} min" if minutes else "")
    return f"{whole // 86400} days"


def left(seconds: float) -> str:
    """Time left, rounded so that it does not flicker: exact below a minute, then to 10 s, then to minutes."""
    step = 60 if seconds >= 3600 else 10 if seconds >= 60 else 1
    return f"{span(max(1, round(seconds / step) * step))} left"


def how_far(update: Mapping[str, Any]) -> str:
    """Such as "1.2 GB of 4 GB, 30 %, 85 MB/s, 33 s left"; empty when nothing is known."""
    progress = update.get("progress")
    if not progress:
        return ""
    done, total = progress["done"], progress.get("total")
    parts = [f"{amount(done)} of {amount(total)}" if total else amount(done)]
    if total:
        parts.append(f"{math.floor(100 * min(done, total) / total)} %")
    if update["state"] == "in_progress":
        if progress.get("rate"):
            parts.append(f"{amount(progress['rate'])}/s")
        if progress.get("eta_s") is not None and math.isfinite(progress["eta_s"]):
            parts.append(left(progress["eta_s"]))
    return ", ".join(parts)


def what_goes_on(update: Mapping[str, Any], now: float) -> str:
    """The state in a few words, such as "waiting 12 s: the server asked us to slow down"; empty while bytes come.

    Args:
        update: the payload of a `recovery_update`.
        now: seconds since the epoch.
    """
    state = update["state"]
    if state == "recovering" or (state == "pending" and update.get("waiting_for")):
        due, why = update.get("next_attempt_at"), _why(update)
        seconds = 0 if due is None else math.ceil(datetime.fromisoformat(due).timestamp() - now)
        if due is not None and seconds <= 0:
            return "trying again"
        return f"waiting {span(seconds)}: {why}" if due is not None else f"waiting: {why}"
    if update.get("joined"):
        return JOINED
    if state == "pending":
        return "waiting to start"
    if state == "in_progress":
        return (update.get("progress") or {}).get("message") or ""
    return str(state).replace("_", " ")


def _why(update: Mapping[str, Any]) -> str:
    text = update.get("explanation") or _WAITING_FOR.get(update.get("waiting_for") or "") or "it failed"
    text = text.rstrip(".")
    return text[:1].lower() + text[1:]
