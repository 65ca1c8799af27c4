"""Web pages that come in place of a file: whether it is one, and why it came."""

from __future__ import annotations

import html
import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from launcher_recovery.errors import (
    BrowserCheckError,
    CaptivePortalError,
    ErrorDocumentError,
    LoginRequiredError,
    UnexpectedContentError,
)
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.content.error_documents import quoted, status_of_phrase

# WHATWG MIME Sniffing §7.1, the patterns of text/html.
_TAG = re.compile(
    rb"<(?:!DOCTYPE\s+HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B|BODY|BR|P|META|LINK)[\s>/]",
    re.IGNORECASE,
)
_PROLOG = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?")
# WHATWG MIME Sniffing §3, "binary data bytes".
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
# Bytes of a page that are looked into.
_ENOUGH = 1 << 16
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_STATUS_IN_TITLE = re.compile(r"(?:^|\berror |\bhttp |\bstatus )([45]\d\d)\b", re.IGNORECASE)

# Pages that try out whether a browser asks: of Cloudflare, AWS, DDoS-Guard and Anubis.
_BROWSER_CHECK = re.compile(
    r"/cdn-cgi/challenge-platform/|_cf_chl_opt|__cf_chl_|\bcf-challenge|<title>Just a moment\.\.\.</title>"
    r"|<title>Attention Required! \| Cloudflare</title>|awsWafCookieDomainList|\.awswaf\.com/|<title>DDoS-Guard</title>"
    r"|\banubis_challenge\b",
    re.IGNORECASE,
)
# The smart client part of WISPr, by which programs know the page of a captive portal.
_PORTAL = re.compile(r"WISPAccessGatewayParam|<title>[^<]{0,80}\bcaptive portal\b", re.IGNORECASE)
_LOGIN_ADDRESS = re.compile(r"\b(?:log-?in|sign-?in|sso|oauth2?|openid|saml|auth|accounts?)\b", re.IGNORECASE)

# Addresses of a page about the file, which people copy in place of that of the file.
_ABOUT = (
    (re.compile(r"//(?:www\.)?github\.com/[^/]+/[^/]+/blob/"), "put /raw/ in place of /blob/"),
    (re.compile(r"//[^/]+/.+/-/blob/"), "put /-/raw/ in place of /-/blob/"),
    (re.compile(r"//[^/]+/.+/blob/"), "put /resolve/ in place of /blob/"),
    (
        re.compile(r"//(?:www\.)?civitai\.[a-z]+/models/\d+"),
        "use the address of the download button, https://civitai.com/api/download/models/…",
    ),
    (
        re.compile(r"//(?:drive|docs|drive\.usercontent)\.google\.com/"),
        "use https://drive.usercontent.google.com/download?id=…&confirm=t, and let everyone see the file",
    ),
    (re.compile(r"//(?:www\.)?dropbox\.com/.*[?&]dl=0"), "put dl=1 in place of dl=0"),
)


def is_page(first: bytes) -> bool:
    """Whether these bytes begin a web page; bytes that no text has make it something else."""
    if not is_text(first):
        return False
    prolog = _PROLOG.match(first)
    start = prolog.end() if prolog else 0
    while first.startswith(b"<!--", start):
        end = first.find(b"-->", start)
        start = len(first) if end < 0 else _after_space(first, end + 3)
        if start == len(first):
            return True
    return _TAG.match(first, start) is not None


def is_text(first: bytes) -> bool:
    """Whether these bytes can be text."""
    return _BINARY.search(first) is None


def why_it_came(first: bytes, name: str, where: str, asked: str) -> UnexpectedContentError:
    """The error for a web page that came in place of the file `name`.

    Args:
        first: its first bytes.
        where: the address that it came from, after all redirects.
        asked: the address that was asked for.
    """
    text = first[:_ENOUGH].decode("utf-8", "replace")
    found = _TITLE.search(text)
    title = quoted(html.unescape(found[1])) if found else ""
    page = f"a web page (“{title}”)" if title else "a web page"
    came = f"{redact_url(where)} answered with {page} instead of {name}"
    for pattern, advice in _ABOUT:
        if pattern.search(asked):
            return UnexpectedContentError(f"{came}: the address is that of a page about the file; {advice}")
    if _BROWSER_CHECK.search(text):
        return BrowserCheckError(f"{came}: it lets only browsers pass; try later, or download the file in a browser")
    if _is_foreign(_split(where), _split(asked)) or _PORTAL.search(text):
        return CaptivePortalError(
            f"{redact_url(asked)} was answered by {_split(where).hostname or 'another host'} with {page} instead of "
            f"{name}; does the network want you to log in?"
        )
    status = _status(title)
    if status is not None:
        return ErrorDocumentError(came, status)
    return LoginRequiredError(f"{came}; it probably wants an access token, or its licence accepted")


def _is_foreign(where: SplitResult, asked: SplitResult) -> bool:
    """Whether a page came from another site, other than for a login there.

    Nobody in between can answer for a host over TLS: there a page to log in on is where the host itself sent us.
    """
    if _site(where.hostname) == _site(asked.hostname):
        return False
    is_login = _LOGIN_ADDRESS.search(f"{where.hostname}{where.path}") is not None
    return not (is_login and asked.scheme == "https")


def _site(host: str | None) -> str:
    """The last two labels of a name: `cdn.hub.example` and `hub.example` are one site."""
    host = (host or "").lower()
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ".".join(host.split(".")[-2:])


def _after_space(text: bytes, start: int) -> int:
    while start < len(text) and text[start : start + 1].isspace():
        start += 1
    return start


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _status(title: str) -> int | None:
    number = _STATUS_IN_TITLE.search(title)
    if number is not None:
        return int(number[1])
    return next((status for part in re.split(r"[|:·\u2013\u2014-]", title) if (status := status_of_phrase(part))), None)
