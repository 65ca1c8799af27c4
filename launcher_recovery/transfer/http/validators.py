"""What identifies one version of a file on a server (RFC 9110 §8.8, §13.1.5)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Validators:
    """What identifies one version of a file on a server; `size` is in bytes."""

    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None

    @property
    def condition(self) -> str | None:
        """The value for If-Range: a strong ETag, else the date; weak ETags must not be used for it (§13.1.5)."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def same_file(self, other: Validators) -> bool:
        """Whether nothing that both know differs."""
        pairs = ((self.etag, other.etag), (self.last_modified, other.last_modified), (self.size, other.size))
        return all(mine is None or theirs is None or mine == theirs for mine, theirs in pairs)
