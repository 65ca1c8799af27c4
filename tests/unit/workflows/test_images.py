"""WebP and JPEG images have the workflow in their EXIF data; whatever else they hold is read within limits."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest

from launcher_recovery.workflows import Limits, check_workflow, read_workflow
from tests.unit.workflows.samples import node, only, png, ui

WORKFLOW = ui(node(1, "KSampler", 5, "é"))
TEXT = json.dumps(WORKFLOW)
PROMPT = json.dumps({"1": {"class_type": "KSampler", "inputs": {}}})
MODEL, MAKE, DESCRIPTION, COMMENT = 0x0110, 0x010F, 0x010E, 0x9286


def exif(*fields: tuple[int, str | bytes], order: str = "<", kind: int = 2, head: bytes = b"") -> bytes:
    """EXIF data with these fields of text, as Pillow lays it out."""
    data = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(fields))
    texts = b""
    begin = len(data) + 12 * len(fields) + 4
    for tag, text in fields:
        value = (text if isinstance(text, bytes) else text.encode()) + b"\0"
        data += struct.pack(f"{order}HHII", tag, kind, len(value), begin + len(texts))
        texts += value
    return head + data + bytes(4) + texts


def webp(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    """A WebP file of these chunks (no picture is looked at)."""
    body = b"WEBP"
    for kind, data in ((b"VP8X", bytes(10)), (b"VP8 ", b"odd"), *chunks):
        body += kind + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)
    return b"RIFF" + (len(body) if size is None else size).to_bytes(4, "little") + body


def jpeg(*segments: tuple[int, bytes], rest: bytes = b"\xff\xda\0\2scan\xff\xd9") -> bytes:
    """A JPEG file of these segments."""
    parts = [b"\xff\xd8"]
    for marker, data in ((0xE0, b"JFIF\0"), *segments):
        parts.append(bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data)
    return b"".join(parts) + rest


SAVED = exif((MAKE, f"workflow:{TEXT}"), (MODEL, f"prompt:{PROMPT}"))


@pytest.mark.parametrize(
    "image",
    [
        webp((b"EXIF", SAVED)),
        webp((b"ANMF", b"frame"), (b"EXIF", b"Exif\0\0" + SAVED)),
        webp((b"EXIF", exif((MODEL, f"prompt:{PROMPT}"), (MAKE, f"workflow:{TEXT}"), order=">"))),
        webp((b"EXIF", exif((DESCRIPTION, f"Workflow:{TEXT}"), (MAKE, f"Prompt:{PROMPT}")))),
        webp((b"EXIF", exif((COMMENT, f"workflow:{TEXT}"), kind=7))),
        webp((b"EXIF", exif((MAKE, b"workflow:" + json.dumps(WORKFLOW, ensure_ascii=False).encode("latin-1"))))),
        jpeg((0xE1, b"Exif\0\0" + SAVED)),
        jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"), (0xE1, b"Exif\0\0" + SAVED)),
        b"\xff\xd8\xff\x01\xff\xff" + jpeg((0xE1, b"Exif\0\0" + SAVED))[2:],
        png((b"comf", b"prompt\0" + PROMPT.encode()), (b"comf", b"workflow\0" + TEXT.encode())),
    ],
)
def test_an_image_has_the_workflow_in_it(image: bytes, tmp_path: Path) -> None:
    file = tmp_path / "image"
    file.write_bytes(image)
    for source in (image, file):
        assert read_workflow(source).content == WORKFLOW


def test_an_image_with_what_runs_only() -> None:
    report = check_workflow(webp((b"EXIF", exif((MODEL, f"prompt:{PROMPT}")))))
    assert (report.format, report.node_types) == ("api", ("KSampler",))


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (webp(), "no_workflow_in_image"),
        (jpeg(), "no_workflow_in_image"),
        (jpeg(rest=b"\xff\xd9"), "no_workflow_in_image"),
        (webp((b"EXIF", b"")), "no_workflow_in_image"),
        (webp((b"EXIF", b"no TIFF at all")), "no_workflow_in_image"),
        (webp((b"EXIF", exif((MAKE, "Canon")))), "no_workflow_in_image"),
        (webp((b"EXIF", exif((MAKE, f"workflow:{TEXT}"), kind=3))), "no_workflow_in_image"),
        (webp((b"EXIF", SAVED[:12])), "no_workflow_in_image"),
        (webp((b"EXIF", SAVED[:4] + b"\xff\xff\xff\xff" + SAVED[8:])), "no_workflow_in_image"),
        (webp((b"EXIF", SAVED), size=20), "no_workflow_in_image"),
        (jpeg((0xE1, b"Exif\0\0MM")), "no_workflow_in_image"),
        (jpeg((0xE0, b"x" * 9))[:20], "bad_image"),
        (jpeg(rest=b"\xff\xe1\0\1"), "bad_image"),
        (jpeg(rest=b"no marker"), "bad_image"),
        (webp((b"EXIF", SAVED))[:200], "bad_image"),
        (webp((b"ANMF", b"frame"))[:-3], "bad_image"),
        (webp((b"EXIF", bytes(70_000))), "too_large"),
        (webp(*[(b"ANMF", bytes(60_000))] * 3), "too_large"),
        (png(*[(b"gAMA", bytes(60_000))] * 3), "too_large"),
        (webp((b"EXIF", exif((MAKE, "workflow:{")))), "bad_json"),
        (b"RIFF\x10\0\0\0AVI LIST", "other_file"),
    ],
)
def test_what_is_wrong_with_an_image(image: bytes, code: str) -> None:
    assert only(check_workflow(image, limits=Limits(text_bytes=65_000, image_bytes=150_000))).code == code


def test_many_fields_that_claim_the_same_bytes_cost_no_more_than_one() -> None:
    """65,535 fields of a megabyte each would be 64 gigabytes."""
    text = b"prompt:" + PROMPT.encode() + bytes(1 << 20)
    begin = 10 + 12 * 65_535
    entry = struct.pack("<HHII", MAKE, 2, len(text), begin)
    data = b"II*\0" + struct.pack("<IH", 8, 65_535) + entry * 65_535 + text
    assert check_workflow(webp((b"EXIF", data))).format == "api"


def test_damaged_images_are_told_and_never_raise() -> None:
    rng = random.Random(5)
    for whole in (webp((b"EXIF", SAVED)), jpeg((0xE1, b"Exif\0\0" + SAVED)), png((b"comf", b"workflow\0{}"))):
        for _ in range(300):
            image = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
            for _ in range(rng.randrange(1, 6)):
                if image:
                    image[rng.randrange(min(len(image), 80))] = rng.randrange(256)
            report = check_workflow(bytes(image))
            assert report.problems or report.format
