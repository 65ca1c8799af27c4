"""Puts a script that shows what recovery does into the launcher's own pages; all other answers stay as they are.

An answer is a page of the launcher when it is a whole HTML document with status 200 (RFC 9110 §15.3.1). Its validators
are changed with it: a browser that keeps the page from before would otherwise be told that it is still the same, and
one that keeps ours would be told so after recovery was switched off.
"""

from __future__ import annotations

import logging
import re

from flask import Response, request
from markupsafe import escape

from launcher_recovery.web.security import HostNames

logger = logging.getLogger("launcher_recovery")

SCRIPT = "/recovery/banner.js"
MAX_PAGE = 4 << 20
"""Bytes of a page; a larger one is left as it is."""

_MARK = "-recovery"
_DOCUMENT = re.compile(rb"<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
_WITHIN = 1024  # what stands before may be comments
_END = re.compile(rb"</body\s*>", re.IGNORECASE)
# Hashes of the bytes; who gives one wants them as they are.
_HASHES = ("Content-MD5", "Digest", "Content-Digest", "Repr-Digest")


class Banner:
    """For `Flask.after_request`.

    Args:
        names: under which the script is given away.
    """

    def __init__(self, names: HostNames) -> None:
        self._names = names
        self._failed = False

    def put(self, response: Response) -> Response:
        """The answer with the script in it, if it is a page of the launcher, else as it is."""
        try:
            if self._may_be_page(response):
                _put(response)
        except Exception as error:  # the launcher's page is worth more than what is put into it
            if not self._failed:
                self._failed = True
                logger.warning("a page of the launcher was left as it is: %s: %s", type(error).__name__, error)
        return response

    def _may_be_page(self, response: Response) -> bool:
        return (
            response.status_code in (200, 304)
            and response.mimetype == "text/html"
            and request.method in ("GET", "HEAD")
            and not (request.endpoint or "").startswith("launcher_recovery_")
            and (response.is_sequence or response.direct_passthrough)
            and (response.content_length or 0) <= MAX_PAGE
            and "Content-Encoding" not in response.headers
            and "no-transform" not in response.cache_control  # RFC 9111 §5.2.2.6
            and not any(name in response.headers for name in _HASHES)
            and _is_ascii_inside(response.mimetype_params.get("charset", "utf-8"))
            and self._names.accepts(request.host)
        )


def _is_ascii_inside(charset: str) -> bool:
    try:
        return "</body>".encode(charset) == b"</body>"
    except (LookupError, UnicodeError):
        return False


def _put(response: Response) -> None:
    is_file = response.direct_passthrough
    if is_file and response.content_length is None:
        return  # of unknown length
    response.direct_passthrough = False  # else it cannot be read
    try:
        page = response.get_data()
    except BaseException:
        response.direct_passthrough = is_file
        raise
    if _DOCUMENT.search(page[:_WITHIN]) is None:
        return  # a fragment, or an answer without a type of its own
    tag = f'<script type="module" src="{escape(request.script_root)}{SCRIPT}"></script>'.encode()
    ends = list(_END.finditer(page))
    place = ends[-1].start() if ends else len(page)
    response.set_data(page[:place] + tag + page[place:])
    _change_validators(response)


def _change_validators(response: Response) -> None:
    """Have the page count as another one than that of the launcher alone."""
    response.headers.pop("Last-Modified", None)
    response.headers.pop("Accept-Ranges", None)
    # The launcher has looked whether its own was known to the browser; that is not what is sent now.
    response.status_code = 200
    etag, is_weak = response.get_etag()
    if etag is not None:
        response.set_etag(f"{etag}{_MARK}", bool(is_weak))
        if request.if_none_match.contains_weak(f"{etag}{_MARK}"):
            response.status_code = 304
