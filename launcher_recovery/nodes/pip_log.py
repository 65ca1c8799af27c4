"""What pip keeps to its log: that an index did not answer, and why.

An index that answers 503, 403 or nothing is passed over without a word, and then pip says that there is no such
package. That is another thing for those who look at it: it passes, or a token is missing.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from launcher_recovery.errors import CommandError

# pip _internal/index/collector.py, `_handle_get_simple_fail`; before it the time of the log.
_SKIPPED = re.compile(r"^(?:\S{10,40} )?[ \t]*(Could not fetch URL \S+: .+) - skipping$")
# That an index has no such package.
_NOT_THERE = re.compile(r": 4(?:04|10) Client Error: ")
_NO_MATCH = ("No matching distribution found", "Could not find a version that satisfies")
_MOST, _LONGEST = 3, 1000


class PipLog:
    """A log of one run of pip, in a folder of its own that is gone afterwards."""

    def __enter__(self) -> PipLog:
        self._folder = Path(tempfile.mkdtemp(prefix="launcher-recovery-"))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def words(self) -> list[str]:
        """The option with which pip writes it."""
        return [f"--log={self._folder / 'pip.log'}"]

    def explained(self, error: CommandError) -> CommandError:
        """The error with the reasons for which indexes were passed over, where that is what it comes from."""
        if not any(text in error.output for text in _NO_MATCH):
            return error
        reasons = self._reasons()
        return (
            error if not reasons else CommandError(error.argv, error.returncode, f"{error.output.rstrip()}\n{reasons}")
        )

    def _reasons(self) -> str:
        found: dict[str, None] = {}
        try:
            with (self._folder / "pip.log").open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    match = _SKIPPED.match(line.rstrip("\n"))
                    if match is not None and not _NOT_THERE.search(line) and len(found) < _MOST:
                        found[match[1][:_LONGEST]] = None
        except OSError:
            return ""  # pip did not come that far
        return "".join(f"ERROR: {reason}\n" for reason in found)
