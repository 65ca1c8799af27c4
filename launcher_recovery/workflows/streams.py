"""Reads parts of an image of which nothing is believed: neither its lengths nor that it is all there."""

from __future__ import annotations

from typing import BinaryIO

from launcher_recovery.workflows.errors import refusal
from launcher_recovery.workflows.limits import Limits

KEYWORDS = ("workflow", "prompt")
"""Under what ComfyUI puts workflows into images; the first has more: what the page shows, not only what runs."""


class ImageStream:
    """An image from some place on.

    Args:
        begun: what was read of it already and is to be read again.
        file: where the rest is read from.
        limits: how much of it is looked at.
    """

    def __init__(self, begun: bytes, file: BinaryIO, limits: Limits) -> None:
        self._begun = begun
        self._file = file
        self._limits = limits
        self._left = limits.image_bytes

    def read(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            WorkflowError: there are not so many, or more than are looked at.
        """
        self._left -= count
        if self._left < 0:
            raise refusal("too_large", limit=self._limits.image_bytes, what="bytes")
        data, self._begun = self._begun[:count], self._begun[count:]
        data += self._file.read(count - len(data))
        if len(data) < count:
            raise refusal("bad_image", reason="it ends too early")
        return data

    def text(self, count: int) -> bytes:
        """The next bytes, which are text.

        Raises:
            WorkflowError: as `read`; or it is too much for a text.
        """
        if count > self._limits.text_bytes:
            raise refusal("too_large", limit=self._limits.text_bytes, what="bytes of text")
        return self.read(count)

    def skip(self, count: int) -> None:
        """Leave out the next bytes.

        Raises:
            WorkflowError: as `read`.
        """
        while count > 0:
            step = min(count, 1 << 20)
            self.read(step)
            count -= step


def chosen(found: dict[str, str]) -> str:
    """Of what was found by keyword, the best.

    Raises:
        WorkflowError: there is none.
    """
    for name in KEYWORDS:
        if name in found:
            return found[name]
    raise refusal("no_workflow_in_image")


def decoded(data: bytes) -> str:
    """The text of a workflow; programs write UTF-8 whatever the specification says, but for those that keep to it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
