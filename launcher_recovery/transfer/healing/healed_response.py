"""What takes the place of urllib3's response: it has the body of a healed one, and otherwise is as what came."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import urllib3

from launcher_recovery.transfer.healing.body_log import BodyLog
from launcher_recovery.transfer.healing.healed_body import HealedBody

# In an answer with a part they are about the part, or about how it is sent.
_ABOUT_THE_PART = frozenset(
    {
        "content-digest",
        "content-length",
        "content-md5",
        "content-range",
        "transfer-encoding",
    }
)


class HealedResponse(urllib3.HTTPResponse):
    """A response of urllib3 with such a body; all that reads, decodes and counts is urllib3's own.

    Args:
        body: what it reads from.
        like: the response that came; what is not about the body is as there.
        headers: of the whole body.
    """

    def __init__(self, body: HealedBody, like: Any, headers: Any) -> None:
        self._healed = body
        super().__init__(
            body=body,  # type: ignore[arg-type]  # as if it came from http.client
            headers=headers,
            status=200,
            version=like.version,
            reason=like.reason if like.status == 200 else "OK",
            preload_content=False,
            decode_content=like.decode_content,
            original_response=like._original_response,
            retries=like.retries,
            enforce_content_length=True,
            request_method="GET",
        )
        self.version_string = getattr(like, "version_string", "HTTP/?")
        self._request_url = getattr(like, "_request_url", None)

    def read(self, *args: Any, **kwargs: Any) -> bytes:
        try:
            return super().read(*args, **kwargs)
        except Exception:
            self._raise_interruption()
            raise

    def read1(self, *args: Any, **kwargs: Any) -> bytes:
        try:
            return super().read1(*args, **kwargs)
        except Exception:
            self._raise_interruption()
            raise

    def _raise_interruption(self) -> None:
        # One of them is a TimeoutError, which urllib3 takes for one of the socket.
        if self._healed.interruption is not None:
            raise self._healed.interruption from None

    def stream(self, amt: int | None = 1 << 16, decode_content: bool | None = None) -> Generator[bytes, None, None]:
        if not self.chunked:
            yield from super().stream(amt, decode_content)
            return
        # As it comes, however little: it may be lines that somebody waits for.
        while amt != 0 and (data := self.read1(amt, decode_content)):
            yield data

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Generator[bytes, None, None]:
        yield from self.stream(amt, decode_content)

    @property
    def connection(self) -> Any:
        return getattr(self._healed.raw, "connection", None)

    def release_conn(self) -> None:
        """Nothing: a connection is given back when its body was read, and not while it is being read."""

    def drain_conn(self) -> None:
        self.close()

    def fileno(self) -> int:
        if self._healed.raw is None:
            raise OSError("there is no connection at the moment")
        return int(self._healed.raw.fileno())

    def shutdown(self) -> None:
        if self._healed.raw is not None:
            self._healed.raw.shutdown()


def headers_of_whole(log: BodyLog, of_part: Any) -> Any:
    """The headers of the answer that was kept, where those of the new one with a part of it say nothing else."""
    headers = type(of_part)()
    told = {name.lower() for name in of_part} - _ABOUT_THE_PART
    for name, value in log.head.headers:
        if name.lower() not in told:
            headers.add(name, value)
    for name, value in of_part.items():
        if name.lower() in told:
            headers.add(name, value)
    headers["Content-Length"] = str(log.head.size)
    return headers
