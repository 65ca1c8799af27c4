"""Which lines of a requirements file an import may bring: packages, and nothing that changes what pip does elsewhere.

A requirements file can include others, name another index, and have pip put variables of the environment into addresses
(https://pip.pypa.io/en/stable/reference/requirements-file-format/). From outside none of that is taken.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from launcher_recovery.errors import RefusedError
from launcher_recovery.redaction import Redactor

_LONGEST = 2000
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = rf"(?:\s*\[\s*(?:{_NAME}(?:\s*,\s*{_NAME})*)?\s*\])?"
_VERSION = r"(?:===|[<>=!~]=|[<>])\s*[A-Za-z0-9._*+!-]+"
_VERSIONS = rf"(?:\s*\(?\s*{_VERSION}(?:\s*,\s*{_VERSION})*\s*,?\s*\)?)?"
# PEP 508; what is wrong with a marker is for pip to say.
_PACKAGE = re.compile(rf"{_NAME}{_EXTRAS}(?:\s*@\s*(?P<url>\S+)|{_VERSIONS})\s*(?:;.*)?")
_HASH = re.compile(r"--hash=[a-z0-9]+:[0-9a-fA-F]+")
_COMMENT = re.compile(r"(?:^|\s+)#.*")  # as pip finds it
_SCHEMES = ("https", "http", "file", "git+https", "git+http", "git+ssh", "git+file")


def is_blank(line: str) -> bool:
    """Whether the line asks for nothing: it is empty, or a comment."""
    return not _COMMENT.sub("", line).strip()


def check(line: str) -> None:
    """Return if the line asks for one package, as PEP 508 writes that, or by an address.

    Raises:
        RefusedError: it does not, or holds an option other than `--hash`, a variable, or an address of a kind that
            nodes may not have either.
    """
    if not line.isprintable() or len(line) > _LONGEST or line.rstrip().endswith("\\") or "${" in line:
        raise _refused(line)
    words = _COMMENT.sub("", line).split()
    package = " ".join(word for word in words if not _HASH.fullmatch(word))
    if any(word.startswith("-") for word in package.split()):
        raise RefusedError(
            f"{_told(line)} is or has an option of pip, which an import must not set; ask for packages only, such as "
            "name==1.0"
        )
    found = _PACKAGE.fullmatch(package)
    url = package.partition(" ;")[0] if found is None else found["url"]
    if url is not None and not _is_usable(url):
        raise _refused(line)


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    # What begins with a dash would be an option of git.
    is_option = parts.path.rpartition("@")[2].startswith("-") or (host or "").startswith("-")
    return parts.scheme in _SCHEMES and not is_option and (bool(host) or parts.scheme.endswith("file"))


def _refused(line: str) -> RefusedError:
    return RefusedError(
        f"{_told(line)} is no package that can be asked for: it must be a name with or without a version, such as "
        "name==1.0, or an address that begins with https:// or git+https://, git+ssh:// or git+file://"
    )


def _told(line: str) -> str:
    return f"{Redactor().text(line)!r:.100}"
