"""Readers of what is typed on the command line; each says what was expected when it cannot use it."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from urllib.parse import urlsplit

from launcher_recovery import ways
from launcher_recovery.config_values import amount
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.redaction import redact_url

# Hexadecimal digits of the checksums whose length is known here; which algorithms there are, the transfer says.
_DIGITS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128, "blake3": 64, "crc32": 8}
# RFC 9110, sections 5.1 and 5.5: a token, then anything that can be printed.
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*([^\x00-\x08\x0a-\x1f\x7f]*)")


def byte_count(text: str) -> int:
    """Bytes: 1048576, 10M or 10MiB (of 1024, as curl and wget have them), 10MB (of 1000)."""
    count = amount(text)
    if count is None:
        raise ArgumentTypeError(f"{text!r} is no number of bytes; give one such as 1048576, 10M or 1.5G")
    return count


def limit(text: str) -> int:
    """Bytes a second, more than none."""
    count = byte_count(text)
    if count < 1:
        raise ArgumentTypeError(f"{text!r} would let nothing through; give a number such as 10M, or leave it out")
    return count


def connection_count(text: str) -> int:
    """A whole number from 1 to 16."""
    if not text.isdecimal() or not 1 <= int(text) <= 16:
        raise ArgumentTypeError(f"{text!r} is no number of connections; give one from 1 to 16")
    return int(text)


def sha256(text: str) -> str:
    """64 hexadecimal digits, in lower case."""
    return checksum(f"sha256:{text}").partition(":")[2]


def checksum(text: str) -> str:
    """ALGO:HEX (or ALGO=HEX, as aria2 has it) as algorithm:digits in lower case, such as sha256:9f86…"""
    algorithm, _, digits = text.strip().lower().replace("=", ":", 1).rpartition(":")
    algorithm = algorithm.replace("sha-", "sha")
    if not algorithm or not re.fullmatch(r"[0-9a-f]+", digits):
        raise ArgumentTypeError(
            f"{text!r} is no checksum; give the algorithm and hexadecimal digits, such as sha256:9f86d0…"
        )
    length = _DIGITS.get(algorithm)
    if length is not None and len(digits) != length:
        raise ArgumentTypeError(f"a {algorithm} has {length} hexadecimal digits, but {len(digits)} were given")
    return f"{algorithm}:{digits}"


def add_checksum(parser: ArgumentParser) -> None:
    """Add `--sha256 HEX` and `--checksum ALGO:HEX`, of which one may be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--sha256", type=sha256, metavar="HEX", help="the SHA-256 that the file has to have")
    group.add_argument(
        "--checksum", type=checksum, metavar="ALGO:HEX", help="or another checksum of it, such as blake3:… or md5:…"
    )


def web_address(text: str) -> str:
    """An address with http or https and a host."""
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_usable = False
    if not is_usable:
        shown = redact_url(text)
        raise ArgumentTypeError(f"{shown!r} is no web address; give one that begins with https:// or http://")
    return text


def header(text: str) -> tuple[str, str]:
    """A header as its name and its value, of "Name: value". The value may be a secret, so that it is not repeated."""
    found = _HEADER.fullmatch(text.strip())
    if found is None:
        raise ArgumentTypeError("a header is not usable; give it as 'Name: value'")
    return found[1], found[2]


def proxy(text: str) -> str:
    """The address of a proxy. It may have a password in it, so that it is not repeated whole."""
    from launcher_recovery.transfer.http.session import usable_proxy  # which loads requests

    try:
        return usable_proxy(text) or ""
    except RecoveryConfigError as error:
        raise ArgumentTypeError(str(error)) from None


def ca_bundle(text: str) -> str:
    """The path of a file with certificates."""
    if not ways.has_certificates(text):
        raise ArgumentTypeError(f"{text!r} is no file of certificates; give one with certificates in it (PEM)")
    return text


def add_way(parser: ArgumentParser) -> None:
    """Add `--proxy URL` and `--ca-bundle FILE`."""
    parser.add_argument(
        "--proxy",
        type=proxy,
        metavar="URL",
        help="the proxy to go through (default: as HTTPS_PROXY and HTTP_PROXY say)",
    )
    parser.add_argument(
        "--ca-bundle", type=ca_bundle, metavar="FILE", help="check servers by the certificates in this file (PEM)"
    )


def add_header(parser: ArgumentParser) -> None:
    """Add `--header 'NAME: VALUE'`, which may be given again."""
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        type=header,
        metavar="'NAME: VALUE'",
        help="sent to the server of URL only; may be given again",
    )
