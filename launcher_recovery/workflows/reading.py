"""Reads a workflow from a file, bytes, text or objects, and says where it is wrong when it cannot."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Union

from launcher_recovery.workflows import exif, png
from launcher_recovery.workflows.errors import refusal
from launcher_recovery.workflows.limits import DEFAULT_LIMITS, Limits
from launcher_recovery.workflows.problems import Change, Fix, Pointer, Problem, name_of_number, problem, short
from launcher_recovery.workflows.streams import ImageStream

Source = Union["os.PathLike[str]", str, bytes, Mapping[str, Any]]
"""A file, JSON text, the bytes of a JSON file or an image, or what JSON text was read as."""

_STRING = re.compile(r'"[^"]*"')
_BRACKETS = re.compile(r"[\[\]{}]{1,1000}")
_JPEG = b"\xff\xd8\xff"

_OTHER_FILES = {
    b"RIFF": "a sound or a film",
    b"GIF8": "a GIF image",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a compressed file",
    b"%PDF": "a PDF document",
}


@dataclass(frozen=True)
class Document:
    """What was read.

    Args:
        content: as `json` gives it.
        problems: what is wrong with the text, though it can be read.
        text: where it was read from; None when it was given as objects.
    """

    content: Any
    problems: tuple[Problem, ...] = ()
    text: str | None = None


def read_workflow(source: Source, limits: Limits = DEFAULT_LIMITS) -> Document:
    """Read a workflow, or refuse what cannot be one.

    Raises:
        WorkflowError: it is not JSON, has none in it, or is larger than `limits`.
    """
    if isinstance(source, Mapping):
        content = source if isinstance(source, dict) else dict(source)
        walk = _Walk(limits, {})
        walk.enter(content, 1)
        return Document(content, tuple(walk.problems))
    problems: list[Problem] = []
    text = source if isinstance(source, str) else _text_of(source, limits)
    if len(text) > limits.text_bytes:
        raise refusal("too_large", limit=limits.text_bytes, what="characters")
    if text.startswith("\ufeff"):
        problems.append(problem("byte_order_mark"))
        text = text[1:]
    if not text.strip():
        raise refusal("empty")
    if text.lstrip().startswith("<"):
        raise refusal("web_page")
    content, doubles = _parsed(text, limits)
    walk = _Walk(limits, doubles)
    walk.enter(content, 1)
    return Document(content, (*problems, *walk.problems), text)


def dump(content: Any, like: str | None = None) -> str:
    """JSON text of a workflow, indented as the text `like` is."""
    indent = re.match(r"\s*\{\s*\n([ \t]+)", like or "")
    layout: dict[str, Any] = {"indent": indent[1]} if indent else {"separators": (",", ":")} if like else {}
    text = json.dumps(content, ensure_ascii=False, **layout)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates, which no encoding has
        text = json.dumps(content, **layout)
    return text


# -- from bytes to objects ----------------------------------------------------------------------------


def _text_of(source: os.PathLike[str] | bytes, limits: Limits) -> str:
    if isinstance(source, bytes):
        return _decoded(io.BytesIO(source), limits)
    try:
        with Path(source).open("rb") as file:
            return _decoded(file, limits)
    except OSError as error:
        raise refusal("unreadable", reason=error.strerror or str(error)) from error


def _decoded(file: BinaryIO, limits: Limits) -> str:
    start = file.read(12)
    image = _text_in_image(start, file, limits)
    if image is not None:
        return image
    for magic, what in _OTHER_FILES.items():
        if start.startswith(magic):
            raise refusal("other_file", what=what)
    data = start + file.read(limits.text_bytes + 1 - len(start))
    if len(data) > limits.text_bytes:
        raise refusal("too_large", limit=limits.text_bytes, what="bytes")
    # RFC 8259 §8.1 wants UTF-8; what editors on Windows write has a byte order mark.
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise refusal("bad_encoding", line=line, column=column, byte=f"0x{data[error.start]:02x}") from None


def _text_in_image(start: bytes, file: BinaryIO, limits: Limits) -> str | None:
    """The text of the workflow in an image of which the first 12 bytes have been read; None: it is no image."""
    for magic in (png.SIGNATURE, _JPEG):
        if start.startswith(magic):
            stream = ImageStream(start[len(magic) :], file, limits)
            return png.text_in_png(stream, limits) if magic == png.SIGNATURE else exif.text_in_jpeg(stream)
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return exif.text_in_webp(ImageStream(b"", file, limits), int.from_bytes(start[4:8], "little") - 4)
    return None


def _parsed(text: str, limits: Limits) -> tuple[Any, dict[int, list[str]]]:
    """The content, and the names that an object has twice by the identity of the object."""
    if _is_deeper(text, limits.depth):
        raise refusal("too_deep", limit=limits.depth)
    doubles: dict[int, list[str]] = {}
    kept = []  # so that no identity is given to another object meanwhile

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            seen: set[str] = set()
            doubles[id(made)] = [name for name, _ in pairs if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
            kept.append(made)
        return made

    try:
        return json.loads(text, object_pairs_hook=object_of), doubles
    except json.JSONDecodeError as error:
        raise refusal("bad_json", line=error.lineno, column=error.colno, reason=_lower(error.msg)) from None
    except RecursionError:
        raise refusal("too_deep", limit=limits.depth) from None
    except ValueError:  # an integer of more digits than Python reads
        at = max(re.finditer(r"\d+", text), key=lambda found: len(found[0])).start()
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        raise refusal("bad_json", line=line, column=column, reason="a number is too long") from None


def _is_deeper(text: str, limit: int) -> bool:
    """Whether brackets are nested deeper; known before parsing, for which the C stack may not be enough."""
    if text.count("[") + text.count("{") <= limit:
        return False
    depth = 0
    # Without escapes every quote begins or ends a string. Texts are replaced in C, also where they are hostile.
    without_escapes = text.replace("\\\\", "").replace('\\"', "")
    for found in _BRACKETS.finditer(_STRING.sub("", without_escapes)):
        for bracket in found[0]:
            depth += 1 if bracket in "[{" else -1
            if depth > limit:
                return True
    return False


class _Walk:
    """One look at every value: that there are not too many, and none that JSON does not have."""

    def __init__(self, limits: Limits, doubles: dict[int, list[str]]) -> None:
        self.problems: list[Problem] = []
        self._limits = limits
        self._doubles = doubles
        self._path: list[str | int] = []
        self._values = self._letters = 0

    def enter(self, value: Any, depth: int) -> None:
        self._values += 1
        if self._values > self._limits.values:
            raise refusal("too_large", limit=self._limits.values, what="values")
        if isinstance(value, (dict, list)):
            if depth > self._limits.depth:
                raise refusal("too_deep", limit=self._limits.depth)
            if id(value) in self._doubles:
                for key in self._doubles[id(value)]:
                    self._add("duplicate_key", key=key)
            for part, inner in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(value, dict):
                    self._see_name(part)
                self._path.append(part)
                self.enter(inner, depth + 1)
                self._path.pop()
        elif isinstance(value, float):
            name = name_of_number(value)
            if name is not None:
                self._add("not_a_number", (Change(tuple(self._path), value, None),), value=name)
        elif isinstance(value, str):
            self._letters += len(value)
            if self._letters > self._limits.text_bytes:
                raise refusal("too_large", limit=self._limits.text_bytes, what="characters")
        elif value is not None and not isinstance(value, int):
            raise refusal("not_a_workflow", reason=f"{self._where()} is a {type(value).__name__}")

    def _see_name(self, key: object) -> None:
        if not isinstance(key, str):
            raise refusal("not_a_workflow", reason=f"{self._where()} has the name {short(repr(key))}, which is no text")

    def _add(self, code: str, changes: tuple[Change, ...] = (), **details: Any) -> None:
        if len(self.problems) < self._limits.problems:
            fix = Fix("fix_workflow", changes=changes, safe=True) if changes else None
            self.problems.append(problem(code, pointer=tuple(self._path), where=self._where(), fix=fix, **details))

    def _where(self) -> str:
        return place(tuple(self._path))


def place(pointer: Pointer) -> str:
    """The pointer as words, such as nodes[3].widgets_values[0]; "the workflow" for the whole."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in pointer)
    return short(text.lstrip(".")) or "the workflow"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
