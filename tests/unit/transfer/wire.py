"""Responses of requests whose other end is in the hands of a test."""

from __future__ import annotations

import http.client
import socket
import struct
from types import TracebackType

import requests
import urllib3

URL = "https://hub.example/model.bin?token=0123456789abcdef"


class Wire:
    """A connection over TCP: `near` is the client's end, `far` the server's."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.near = socket.create_connection(listener.getsockname())
            self.far = listener.accept()[0]

    def answers(self, *headers: str, body: bytes = b"", status: str = "206 Partial Content") -> requests.Response:
        """The response that has this head and, so far, these bytes of its body."""
        self.far.sendall("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body)
        reader = http.client.HTTPResponse(self.near, method="GET")
        reader.begin()
        response = requests.Response()
        response.status_code, response.url = reader.status, URL
        response.headers.update(reader.getheaders())
        response.raw = urllib3.HTTPResponse(reader, headers=reader.getheaders(), preload_content=False)
        return response

    def reset(self) -> None:
        """End it by an RST."""
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.far.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.near.close()
        self.far.close()
