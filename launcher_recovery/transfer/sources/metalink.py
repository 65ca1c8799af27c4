"""Metalink: one description of a file with its checksums and mirrors, as a document or as response headers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from xml.parsers import expat

from launcher_recovery.errors import RefusedError
from launcher_recovery.transfer.integrity.checksums import Checksum

LONGEST_DOCUMENT = 10 << 20
"""Bytes; one with hashes of 64 Ki pieces has less than 8 MiB."""

# Metalink 4 (RFC 5854) and Metalink 3 (http://www.metalinker.org/Metalink_3.0_Spec.pdf).
_VERSION_4, _VERSION_3 = "urn:ietf:params:xml:ns:metalink", "http://www.metalinker.org/"
# Names of RFC 5854 (IANA "Hash Function Textual Names"), Metalink 3, RFC 3230 and RFC 9530; others are left out, as all
# of these allow. `id-` is the digest without a content coding, which is never asked for.
_ALGORITHMS = {
    "sha-512": "sha512", "sha512": "sha512", "id-sha-512": "sha512", "sha-256": "sha256", "sha256": "sha256",
    "id-sha-256": "sha256", "sha-1": "sha1", "sha1": "sha1", "sha": "sha1", "md5": "md5",
}  # fmt: skip
_STRONGEST_FIRST = ("sha512", "sha256", "sha1", "md5")
_DEEPEST = 16
# RFC 5854 §4.2.16.2 and RFC 6249 §3.1: from 1, the first to be tried; without one it is the last.
_LAST = 999_999

# What is longer than any Link header of a server that means well is not read to its end.
_LONGEST_HEADER = 1 << 16
_TARGET = re.compile(r"\s*<([^<>\s]*)>")
_PARAMETER = re.compile(r"\s*;\s*([\w!#$&+.^`|~-]+)(?:\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;,\"]*)))?")
_COMMA = re.compile(r"\s*,[\s,]*")


@dataclass(frozen=True)
class Pieces:
    """Checksums of the pieces of a file, in order; `length` is in bytes, the last piece may be shorter."""

    length: int
    checksums: tuple[Checksum, ...]


@dataclass(frozen=True)
class MetalinkFile:
    """A file of a Metalink document.

    `name` is a relative path with `/`, without `..`; `size` is in bytes; `urls` are those with http and https, the one
    to be tried first at the beginning.
    """

    name: str
    size: int | None = None
    checksums: tuple[Checksum, ...] = ()
    pieces: Pieces | None = None
    urls: tuple[str, ...] = ()


def from_file(path: Path) -> tuple[MetalinkFile, ...]:
    """The files of the Metalink document at `path`; raises as `parse` does, and `OSError`."""
    with path.open("rb") as file:
        return parse(file.read(LONGEST_DOCUMENT + 1))


def parse(data: bytes) -> tuple[MetalinkFile, ...]:
    """The files of a Metalink document, version 4 or 3.

    Raises:
        RefusedError: it is none, is longer than `LONGEST_DOCUMENT`, has a DOCTYPE, or says something impossible.
    """
    if len(data) > LONGEST_DOCUMENT:
        raise RefusedError(f"the Metalink file is longer than {LONGEST_DOCUMENT >> 20} MiB; is it one?")
    reader = _Reader()
    try:
        reader.read(data)
    except RefusedError:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise RefusedError(f"this is not a Metalink file: {error}") from None
    if not reader.files:
        raise RefusedError("this is not a Metalink file, or one that describes no file")
    return tuple(reader.files)


def from_headers(headers: Mapping[str, str], base: str = "") -> tuple[tuple[str, ...], tuple[Checksum, ...]]:
    """The mirrors and the checksums that the headers of a response announce; what cannot be read is left out.

    Args:
        headers: the headers, with their names in any case.
        base: the address that the response came from, for relative links.

    Returns:
        Addresses of mirrors (RFC 6249, `Link: <…>; rel=duplicate; pri=1`), the one to be tried first at the beginning;
        checksums of the whole file (RFC 9530 `Repr-Digest`, RFC 3230 `Digest`, and `X-Linked-ETag` of Hugging Face,
        which for large files is their SHA-256).
    """
    named = {name.lower(): value[:_LONGEST_HEADER] for name, value in headers.items()}
    mirrors = [
        (_priority(parameters.get("pri", "")), _absolute(target, base))
        for target, parameters in _links(named.get("link", ""))
        if "duplicate" in parameters.get("rel", "").lower().split() and "anchor" not in parameters
    ]
    checksums = [
        checksum
        for header in ("repr-digest", "digest")
        for member in named.get(header, "").split(",")
        if (checksum := _digest(*member.partition("=")[::2])) is not None
    ]
    linked = named.get("x-linked-etag", "").strip('" ')
    if len(linked) == 64:
        checksums += filter(None, [_digest("sha-256", linked)])
    return _in_order(mirrors), tuple(dict.fromkeys(checksums))


def _links(value: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Targets and parameters of a Link header (RFC 8288 §3)."""
    position = 0
    while (target := _TARGET.match(value, position)) is not None:
        position = target.end()
        parameters: dict[str, str] = {}
        while (found := _PARAMETER.match(value, position)) is not None:
            position = found.end()
            text = found[3] or "" if found[2] is None else re.sub(r"\\(.)", r"\1", found[2])
            parameters.setdefault(found[1].lower(), text)
        yield target[1], parameters
        comma = _COMMA.match(value, position)
        if comma is None:
            return
        position = comma.end()


def _digest(name: str, value: str) -> Checksum | None:
    algorithm = _ALGORITHMS.get(name.strip().lower())
    if algorithm is None:
        return None
    try:
        return Checksum.parse(f"{algorithm}={value.strip().strip(':')}")
    except RefusedError:
        return None


def _absolute(target: str, base: str) -> str:
    try:
        return urljoin(base, target)
    except ValueError:
        return ""


def _priority(text: str) -> int:
    return max(1, min(_LAST, int(text))) if text.isascii() and text.isdecimal() and len(text) < 10 else _LAST


def _in_order(urls: list[tuple[int, str]]) -> tuple[str, ...]:
    """Each usable address once, by its number; those with the same stay as they were."""
    return tuple(dict.fromkeys(url for _, url in sorted(urls, key=lambda one: one[0]) if _is_web(url)))


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
    except ValueError:
        return False


@dataclass
class _Found:
    """What has been read of one file so far."""

    name: str
    size: int | None = None
    checksums: list[Checksum] = field(default_factory=list)
    pieces: list[Pieces] = field(default_factory=list)
    urls: list[tuple[int, str]] = field(default_factory=list)

    def finished(self) -> MetalinkFile:
        for pieces in self.pieces:
            if self.size is not None and len(pieces.checksums) != -(-self.size // pieces.length):
                raise RefusedError(
                    f"the Metalink file has {len(pieces.checksums)} hashes of pieces of {pieces.length} bytes for "
                    f"{self.name!r}, which does not go with its size of {self.size} bytes"
                )
        best = min(self.pieces, key=lambda one: _STRONGEST_FIRST.index(one.checksums[0].algorithm), default=None)
        checksums = tuple(dict.fromkeys(self.checksums))
        return MetalinkFile(self.name, self.size, checksums, best, _in_order(self.urls))


class _Reader:
    """Reads a document as it is parsed, without keeping it."""

    def __init__(self) -> None:
        self.files: list[MetalinkFile] = []
        self._path: list[str] = []
        self._attributes: list[dict[str, str]] = []
        self._text: list[str] = []
        self._namespace = ""
        self._file: _Found | None = None
        self._hashes: list[tuple[int, str]] = []

    def read(self, data: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.CharacterDataHandler = self._text.append
        parser.EndElementHandler = self._end
        parser.Parse(data, True)

    def _doctype(self, *declared: object) -> None:
        raise RefusedError("the Metalink file has a DOCTYPE, which such files do not need and which is not safe")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        namespace, _, name = tag.rpartition(" ")
        if not self._path:
            if name != "metalink" or namespace not in (_VERSION_4, _VERSION_3):
                raise RefusedError("this is XML, but not a Metalink file")
            self._namespace = namespace
        if len(self._path) >= _DEEPEST:
            raise RefusedError("the Metalink file is nested too deeply")
        self._path.append(name if namespace == self._namespace else "")
        self._attributes.append(attributes)
        self._text.clear()
        if self._path in (["metalink", "file"], ["metalink", "files", "file"]):
            self._file = _Found(_confined(attributes.get("name", "")))
        elif self._path[-1] == "pieces":
            self._hashes = []

    def _end(self, tag: str) -> None:
        parent = self._path[-2] if len(self._path) > 1 else ""
        name, attributes = self._path.pop(), self._attributes.pop()
        text = "".join(self._text).strip()
        self._text.clear()
        if self._file is None:
            return
        if name == "file" and parent in ("metalink", "files"):
            self.files.append(self._file.finished())
            self._file = None
        elif name == "size" and parent == "file":
            self._file.size = _number(text, "size")
        elif name == "hash" and parent == "pieces":
            number = attributes.get("piece") if self._namespace == _VERSION_3 else None
            self._hashes.append((len(self._hashes) if number is None else _number(number, "number of a piece"), text))
        elif name == "hash" and parent in ("file", "verification"):
            algorithm = _ALGORITHMS.get(attributes.get("type", "").lower())
            self._file.checksums += [Checksum(algorithm, text)] if algorithm else []
        elif name == "pieces":
            self._end_pieces(attributes)
        elif name == "url" and parent in ("file", "resources"):
            self._file.urls.append((self._order(attributes), text))

    def _end_pieces(self, attributes: dict[str, str]) -> None:
        algorithm = _ALGORITHMS.get(attributes.get("type", "").lower())
        length = _number(attributes.get("length", ""), "length of pieces")
        if length == 0:
            raise RefusedError("the Metalink file has pieces of no length")
        hashes = sorted(self._hashes)
        if [number for number, _ in hashes] != list(range(len(hashes))):
            raise RefusedError("the Metalink file has no hash, or several, for one of its pieces")
        if algorithm is not None and hashes and self._file is not None:
            checksums = tuple(Checksum(algorithm, digits) for _, digits in hashes)
            self._file.pieces.append(Pieces(length, checksums))

    def _order(self, attributes: dict[str, str]) -> int:
        if self._namespace == _VERSION_4:
            return _priority(attributes.get("priority", ""))
        # The other way round: 100 is the best.
        preference = _priority(attributes.get("preference", ""))
        return _LAST if preference == _LAST else _LAST - min(preference, 100)


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise RefusedError(f"the Metalink file has a {what} that is no number: {text[:20]!r}")
    return int(text)


def _confined(name: str) -> str:
    """The name, if it is one below the folder where it is put (RFC 5854 §4.1.2.1)."""
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or ":" in name or any(part.strip(" .") == "" for part in parts):
        raise RefusedError(f"the Metalink file names a file {name[:80]!r}, which is no relative path below a folder")
    return name
