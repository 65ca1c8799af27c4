"""The workflow in the PNG images that ComfyUI makes: PNG specification, section 11.3.3 (tEXt, zTXt, iTXt)."""

from __future__ import annotations

import zlib

from launcher_recovery.workflows.errors import refusal
from launcher_recovery.workflows.limits import Limits
from launcher_recovery.workflows.streams import KEYWORDS, ImageStream, chosen, decoded

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"comf")  # the last is ComfyUI's own, in animated images


def text_in_png(stream: ImageStream, limits: Limits) -> str:
    """The text of the workflow in an image, whose signature has been read.

    Raises:
        WorkflowError: there is none, or the image is damaged.
    """
    found: dict[str, str] = {}
    while KEYWORDS[0] not in found:
        header = stream.read(8)
        length, kind = int.from_bytes(header[:4], "big"), header[4:]
        if kind == b"IEND":
            break
        if kind not in _TEXT_CHUNKS:
            stream.skip(length + 4)
            continue
        data, crc = stream.text(length), stream.read(4)
        if zlib.crc32(kind + data) != int.from_bytes(crc, "big"):
            raise refusal("bad_image", reason="the checksum of a text in it is wrong")
        keyword, _, rest = data.partition(b"\0")
        name = keyword.decode("latin-1")
        if name in KEYWORDS:
            found[name] = _text(kind, rest, limits)
    return chosen(found)


def _text(kind: bytes, rest: bytes, limits: Limits) -> str:
    if kind == b"zTXt":
        rest = _inflated(rest[1:], limits)
    elif kind == b"iTXt":
        flags, rest = rest[:2], rest[2:]
        for _ in range(2):  # the language, and the keyword in it
            _, _, rest = rest.partition(b"\0")
        if flags[:1] == b"\1":
            rest = _inflated(rest, limits)
    return decoded(rest)


def _inflated(data: bytes, limits: Limits) -> bytes:
    try:
        text = zlib.decompressobj().decompress(data, limits.text_bytes + 1)
    except zlib.error:
        raise refusal("bad_image", reason="a text in it cannot be unpacked") from None
    if len(text) > limits.text_bytes:
        raise refusal("too_large", limit=limits.text_bytes, what="bytes of text")
    return text
