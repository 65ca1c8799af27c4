"""The workflow in the PNG images that ComfyUI makes: PNG specification, section 11.3.3 (tEXt, zTXt, iTXt)."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from launcher_recovery.workflows.errors import refusal
from launcher_recovery.workflows.limits import Limits

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORDS = ("workflow", "prompt")  # the first one has more: what the page shows, not only what runs
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")


def embedded_text(file: BinaryIO, limits: Limits) -> str:
    """The text of the workflow in an image, whose signature has been read.

    Raises:
        WorkflowError: there is none, or the image is damaged.
    """
    found: dict[str, str] = {}
    while _KEYWORDS[0] not in found:
        header = _read(file, 8)
        length, kind = int.from_bytes(header[:4], "big"), header[4:]
        if kind == b"IEND":
            break
        if kind not in _TEXT_CHUNKS:
            _skip(file, length + 4)
            continue
        if length > limits.text_bytes:
            raise refusal("too_large", limit=limits.text_bytes, what="bytes of text")
        data, crc = _read(file, length), _read(file, 4)
        if zlib.crc32(kind + data) != int.from_bytes(crc, "big"):
            raise refusal("bad_image", reason="the checksum of a text in it is wrong")
        keyword, _, rest = data.partition(b"\0")
        name = keyword.decode("latin-1")
        if name in _KEYWORDS:
            found[name] = _text(kind, rest, limits)
    for name in _KEYWORDS:
        if name in found:
            return found[name]
    raise refusal("no_workflow_in_image")


def _text(kind: bytes, rest: bytes, limits: Limits) -> str:
    if kind == b"zTXt":
        rest = _inflated(rest[1:], limits)
    elif kind == b"iTXt":
        flags, rest = rest[:2], rest[2:]
        for _ in range(2):  # the language, and the keyword in it
            _, _, rest = rest.partition(b"\0")
        if flags[:1] == b"\1":
            rest = _inflated(rest, limits)
    try:
        return rest.decode()  # programs write UTF-8 into all three, whatever the specification says
    except UnicodeDecodeError:
        return rest.decode("latin-1")


def _inflated(data: bytes, limits: Limits) -> bytes:
    try:
        text = zlib.decompressobj().decompress(data, limits.text_bytes + 1)
    except zlib.error:
        raise refusal("bad_image", reason="a text in it cannot be unpacked") from None
    if len(text) > limits.text_bytes:
        raise refusal("too_large", limit=limits.text_bytes, what="bytes of text")
    return text


def _read(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise refusal("bad_image", reason="it ends too early")
    return data


def _skip(file: BinaryIO, count: int) -> None:
    while count > 0:
        step = min(count, 1 << 20)
        _read(file, step)
        count -= step
