"""Where a download goes: the file that was typed, or a name from the address or the server in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from email.message import Message
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from launcher_recovery.cli.command import WRONG_USAGE, CommandLineError
from launcher_recovery.cli.sentences import sentence_of

_MOST_REDIRECTS = 10
_TIMEOUT_S = (10.0, 30.0)
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f<>:"|?*]' if os.name == "nt" else r"[\x00-\x1f\x7f]")


def destination_of(
    typed: str,
    urls: Sequence[str],
    headers: Mapping[str, str] | None = None,
    metalink: Path | None = None,
    asked_by: tuple[str | None, str | None] = (None, None),
) -> Path:
    """The file to download to.

    Args:
        typed: a file, or a folder: one that is there, or whose name ends with a slash.
        urls: addresses of the file; the first one names it in a folder. One that ends without a suffix, such as a
            number, does not: the server is asked then.
        headers: for that request; dropped when it is redirected to another server.
        asked_by: the proxy and the file of certificates for that request, if there are any.
        metalink: a Metalink file, which names it by its own name when there is no address.

    Raises:
        CommandLineError: nothing names the file, or the server cannot be asked.
    """
    path = Path(typed).absolute()
    if not (path.is_dir() or typed.endswith(("/", os.sep))):
        return path
    if urls:
        name = base_name(unquote(urlsplit(urls[0]).path))
        if not Path(name).suffix:
            name = _asked_name(urls[0], headers or {}, typed, asked_by) or name
    else:
        name = "" if metalink is None else base_name(metalink.stem)
    if not name:
        raise CommandLineError(
            f"nothing tells the name of the file; give it as well, such as {path / 'model.safetensors'}", WRONG_USAGE
        )
    return path / name


def base_name(text: str) -> str:
    """The last part of a path or a name that a server gave, as a visible file in the very folder; empty: there is none.

    Dots in front are left out: what a server says is not to become a `.bashrc`.
    """
    last = re.split(r"[/\\]", text)[-1]
    return _NOT_IN_NAMES.sub("", last).strip().lstrip(".").rstrip(". ").strip()


def name_of_disposition(value: str | None) -> str:
    """The file name in a Content-Disposition header (RFC 6266), cleaned; empty when there is none."""
    if not value:
        return ""
    message = Message()
    message["Content-Disposition"] = value
    name = message.get_filename() or ""
    try:  # many servers send UTF-8 where the header has Latin-1
        name = name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        pass
    return base_name(name)


def _asked_name(url: str, headers: Mapping[str, str], typed: str, asked_by: tuple[str | None, str | None]) -> str:
    """The name that the server gives in the answer to a request for the first byte."""
    import requests

    from launcher_recovery.transfer.http.session import way
    from launcher_recovery.transfer.sources.hubs import asked_at, given_first, headers_for

    url = asked_at(url)
    headers = given_first(headers, headers_for(url))
    sent = {**headers, "Range": "bytes=0-0", "Accept-Encoding": "identity"}
    try:
        with way(*asked_by)() as session:
            for _ in range(_MOST_REDIRECTS):
                # With a header that says who asks, a .netrc has nothing to say.
                auth = (lambda request: request) if any(name.lower() == "authorization" for name in sent) else None
                with session.get(
                    url, headers=sent, auth=auth, stream=True, allow_redirects=False, timeout=_TIMEOUT_S
                ) as answer:
                    if not answer.is_redirect:
                        answer.raise_for_status()
                        return name_of_disposition(answer.headers.get("Content-Disposition"))
                    target = urljoin(url, answer.headers["Location"])
                if _origin(target) != _origin(url):
                    sent = {name: value for name, value in sent.items() if name not in headers}
                url = target
        raise requests.TooManyRedirects(f"more than {_MOST_REDIRECTS} redirects")
    except (requests.RequestException, OSError, ValueError) as error:
        why = sentence_of(error).rstrip(".")
        raise CommandLineError(
            f"the name of the file could not be asked for: {why}; give it as well, such as {typed.rstrip('/')}/NAME"
        ) from error


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()
