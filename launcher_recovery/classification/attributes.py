"""Attributes of objects that are not ours: whatever happens when they are asked for, an error stays an error."""

from __future__ import annotations

from typing import Any


def attribute(owner: Any, name: str) -> Any:
    """The attribute, or None when there is none or asking for it raises."""
    try:
        return getattr(owner, name, None)
    except Exception:
        return None
