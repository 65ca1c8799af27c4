"""What foreign code, which asks for one address, heeds of what servers asked for, and what others learn by it."""

from __future__ import annotations

import requests

from launcher_recovery.transfer.sources.waits import WAITS, Waits


class Patience:
    """That of one request, and of those for its rest; see `Waits`.

    Args:
        url: the address that is asked for.
        operation_id: for whom.
        waits: what all downloads of this process share.
    """

    def __init__(self, url: str, operation_id: str, waits: Waits = WAITS) -> None:
        self._urls = [url]
        self._operation_id = operation_id
        self._waits = waits

    def left(self) -> float:
        """Seconds for which the server is to be left alone, or the one to which redirects led last; 0: it is not."""
        return max(map(self._left, self._urls))

    def waits_itself(self) -> requests.HTTPError:
        """The operation waits by itself for what was asked so far, or on the error that this gives."""
        error = self._waits.tell(max(self._urls, key=self._left), self._operation_id)
        for url in self._urls:
            self._waits.tell(url, self._operation_id)
        return error

    def heard(self, response: requests.Response, asked_at: float) -> None:
        """Take note of what an answer says, to a request that was made at that moment of `time.monotonic`."""
        self._urls = list(dict.fromkeys((self._urls[0], response.url)))
        if self._waits.heard(requests.HTTPError(response=response)):
            return
        if response.ok:
            for url in self._urls:
                self._waits.answered(url, asked_at)

    def _left(self, url: str) -> float:
        return self._waits.left(url, self._operation_id)
