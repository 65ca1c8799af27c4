"""The workflow in the EXIF data of WebP and JPEG images.

ComfyUI has no field for it there: it writes "workflow:" or "prompt:" and the JSON into Make, Model and the fields with
smaller numbers (SaveAnimatedWEBP), others into whichever they like, so that every field of text is looked at.
"""

from __future__ import annotations

import struct

from launcher_recovery.workflows.errors import refusal
from launcher_recovery.workflows.streams import KEYWORDS, ImageStream, chosen, decoded

_HEADER = b"Exif\0\0"
_BYTES, _ASCII, _UNDEFINED = 1, 2, 7  # types of a field with a byte for each value (TIFF 6.0 §2)
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def text_in_webp(stream: ImageStream, length: int) -> str:
    """The text of the workflow in a WebP image, whose first 12 bytes have been read (RFC 9649 §2.3).

    Args:
        length: of the rest, as the image says.

    Raises:
        WorkflowError: there is none, or the image is damaged.
    """
    found: dict[str, str] = {}
    while length >= 8 and not found:
        kind, size = struct.unpack("<4sI", stream.read(8))
        length -= 8 + size + size % 2
        if kind == b"EXIF":
            found = workflows_in(stream.text(size))
        else:
            stream.skip(size + (size % 2 if length >= 0 else 0))
    return chosen(found)


def text_in_jpeg(stream: ImageStream) -> str:
    """The text of the workflow in a JPEG image, whose signature has been read (ITU T.81, annex B).

    Raises:
        WorkflowError: there is none, or the image is damaged.
    """
    found: dict[str, str] = {}
    while not found:
        marker = stream.read(1)[0]
        while marker == 0xFF:  # before a marker there may be any number of these
            marker = stream.read(1)[0]
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            break
        if marker not in _WITHOUT_LENGTH:
            size = int.from_bytes(stream.read(2), "big") - 2
            if size < 0:
                raise refusal("bad_image", reason="a part of it has no length")
            if marker == _APP1:
                data = stream.read(size)
                found = workflows_in(data) if data.startswith(_HEADER) else {}
            else:
                stream.skip(size)
        if stream.read(1) != b"\xff":
            raise refusal("bad_image", reason="its parts do not follow one another")
    return chosen(found)


def workflows_in(data: bytes) -> dict[str, str]:
    """The texts of workflows in EXIF data (a TIFF file), by keyword; none where the data is damaged."""
    data = data.removeprefix(_HEADER)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return {}
    found: dict[str, str] = {}
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            _, kind, size, offset = struct.unpack_from(f"{order}HHII", data, place)
            if kind not in (_BYTES, _ASCII, _UNDEFINED) or size <= 4:
                continue
            # No more than a keyword is copied before it is one, however many fields claim the same bytes.
            name, colon, _ = data[offset : offset + min(size, 20)].partition(b":")
            keyword = name.decode("latin-1").lower()
            if colon and keyword in KEYWORDS and keyword not in found:
                found[keyword] = decoded(data[offset + len(name) + 1 : offset + size].rstrip(b"\0"))
    except struct.error:  # it ends too early; what was found before is whole
        pass
    return found
