"""Responses of requests go on over dropped connections and from what is kept, within operations and nowhere else."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import gc
import gzip
import io
import json
import logging
import random
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import responses
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth, HTTPDigestAuth

from launcher_recovery import OperationCancelled, RecoveryTimeoutError
from launcher_recovery.operation import current_operation
from launcher_recovery.policy import Policy
from launcher_recovery.records import OBSERVED, RecoveryState
from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.transfer.healing import body_log, healed_body, healed_request, kept_bodies
from launcher_recovery.transfer.healing import switch as healing
from launcher_recovery.transfer.healing.healed_response import HealedResponse
from launcher_recovery.transfer.sources.waits import WAITS, Waits
from sample_launcher.hub import Drop, EtagChange, Hub, IgnoreRange, RateLimit, Stall, Status
from tests.faults import FaultServer, Reply, part, whole
from tests.unit.kit import Kit, says
from tests.unit.transfer.test_waits import refusal

MIB = 1 << 20
SIZE = 4 * MIB
DATA = random.Random(4).randbytes(300_000)
ETAG = '"v1"'
MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"
LATER = "Fri, 02 Jan 2026 00:00:00 GMT"
PLAIN = urllib3.HTTPResponse
BODIES = "bodies"


@pytest.fixture(autouse=True)
def installed(tmp_path: Path) -> Iterator[healing.Healing]:
    made = healing.install(tmp_path / BODIES, FixedDelayStrategy(1))
    yield made
    healing.uninstall(made)


def kept(folder: Path) -> list[Path]:
    return sorted((folder / BODIES).rglob("*.body"))


def cut(body: bytes, at: int, **headers: object) -> Reply:
    """An answer with all of `body` that breaks off at byte `at`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(headers={"Content-Length": len(body), **named}, parts=[body[:at]])


def rest(body: bytes, start: int, stop: int | None = None, **headers: object) -> Reply:
    """A faultless answer with the rest of `body`."""
    end = len(body) if stop is None else stop
    return part(f"bytes {start}-{end - 1}/{len(body)}", body[start:end], **headers)


# Handlers here close nothing, as those of others do: what they were at when they failed is collected later.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def naively(url: str, **kwargs: Any) -> bytes:
    """As handlers do it that know nothing of recovery."""
    with requests.get(url, stream=True, **kwargs) as response:
        response.raise_for_status()
        return b"".join(response.iter_content(8192))


ONCE = Policy(max_attempts=1, progress_renews=False)


def run(kit: Kit, handler: Callable[[], Any], policy: Policy | None = None) -> Any:
    """Run it as an operation, and give what it returned, which is not kept."""
    results: list[Any] = []
    kit.run(lambda: results.append(handler()), policy)
    return results[-1]


def in_attempts(kit: Kit, handler: Callable[[], Any], attempts: int = 9, **policy: Any) -> Any:
    """Run it as an operation whose attempts may fail that often."""
    return run(kit, handler, Policy(max_attempts=attempts, strategy=FixedDelayStrategy(0), classify=says(), **policy))


URL = [""]
"""What `breaking_after` asks for."""


class Refused(Exception):
    """Something of the handler's own."""


def breaking_after(handler: Callable[[], Any], *counts: int) -> Callable[[], Any]:
    """`handler`, but so many attempts before it only read so many bytes, and fail."""
    left = list(counts)

    def run() -> Any:
        if not left:
            return handler()
        count = left.pop(0)
        with contextlib.suppress(StopIteration), requests.get(URL[0], stream=True) as response:
            read = 0
            for chunk in response.iter_content(8192):
                read += len(chunk)
                if read >= count:
                    raise Refused("of the handler")
        raise AssertionError("it was shorter")

    return run


# -- over dropped connections -------------------------------------------------------------------------


def _iterated(url: str) -> bytes:
    return naively(url)


def _iterated_as_it_comes(url: str) -> bytes:
    return b"".join(requests.get(url, stream=True).iter_content(None))


def _copied(url: str) -> bytes:
    target = io.BytesIO()
    with requests.get(url, stream=True) as response:
        shutil.copyfileobj(response.raw, target)
    return target.getvalue()


def _at_once(url: str) -> bytes:
    return requests.get(url).content


def _streamed_then_at_once(url: str) -> bytes:
    with requests.Session() as session, session.get(url, stream=True) as response:
        return response.content


def _in_odd_pieces(url: str) -> bytes:
    response, found = requests.get(url, stream=True), b""
    while data := response.raw.read(700_001):
        assert len(data) == 700_001 or len(found) + len(data) == SIZE
        found += data
    return found


def _in_a_buffer(url: str) -> bytes:
    response, found, buffer = requests.get(url, stream=True), b"", bytearray(100_000)
    while count := response.raw.readinto(buffer):
        found += buffer[:count]
    return found


def _by_lines(url: str) -> bytes:
    return b"".join(requests.get(url, stream=True).raw)


def _all_of_raw(url: str) -> bytes:
    return requests.get(url, stream=True).raw.read()


def _data_of_raw(url: str) -> bytes:
    return requests.get(url, stream=True).raw.data


@pytest.mark.parametrize(
    "handler",
    [
        _iterated,
        _iterated_as_it_comes,
        _copied,
        _at_once,
        _streamed_then_at_once,
        _in_odd_pieces,
        _in_a_buffer,
        _by_lines,
        _all_of_raw,
        _data_of_raw,
    ],
)
def test_a_naive_handler_gets_all_bytes_over_drops_in_one_attempt_and_none_is_sent_twice(
    handler: Callable[[str], bytes], kit: Kit, hub: Hub
) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=MIB), Drop(after=MIB // 2)])
    assert run(kit, lambda: handler(url)) == hub.content("m")
    assert len(kit.attempts) == 1
    assert hub.stats("m")["bytes_sent"] == SIZE
    assert [one["range"] for one in hub.stats("m")["requests"]] == [None, f"bytes={MIB}-", f"bytes={MIB + MIB // 2}-"]
    assert kit.clock.slept == 2


def test_a_reset_connection_is_gone_on_with_where_bytes_ended(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=MIB, reset=True)])
    assert run(kit, lambda: naively(url)) == hub.content("m")
    assert len(hub.stats("m")["requests"]) == 2


def test_json_and_text_are_whole(kit: Kit) -> None:
    text = json.dumps({"nodes": ["Loader"] * 500}).encode()
    headers = {"ETag": ETAG, "Content_Type": "application/json"}
    with FaultServer(cut(text, 1000, **headers), rest(text, 1000, **headers)) as server:
        assert run(kit, lambda: requests.get(server.url()).json()) == json.loads(text)
        assert [one.range for one in server.asked] == [None, "bytes=1000-"]
        assert [one.if_range for one in server.asked] == [None, ETAG]


def test_a_hundred_drops_are_survived_as_long_as_each_connection_brings_something(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=SIZE // 101, times=100)])
    assert run(kit, lambda: naively(url)) == hub.content("m")
    assert hub.stats("m")["bytes_sent"] == SIZE


def test_the_date_is_enough_where_there_is_no_strong_etag(kit: Kit) -> None:
    headers = {"ETag": 'W/"v1"', "Last_Modified": MODIFIED, "Date": LATER}
    with FaultServer(cut(DATA, 1000, **headers), rest(DATA, 1000, **headers)) as server:
        assert run(kit, lambda: naively(server.url())) == DATA
        assert server.asked[1].if_range == MODIFIED


def test_a_part_of_the_rest_is_as_good(kit: Kit) -> None:
    replies = [cut(DATA, 1000, ETag=ETAG), rest(DATA, 1000, 5000, ETag=ETAG), rest(DATA, 5000, ETag=ETAG)]
    with FaultServer(*replies) as server:
        assert run(kit, lambda: naively(server.url())) == DATA
        assert server.asked[2].range == "bytes=5000-"
    assert kit.clock.slept == 1


def test_a_connection_that_falls_silent_is_left_after_the_time_that_the_handler_set(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Stall(after=MIB, seconds=60)])
    assert run(kit, lambda: naively(url, timeout=(5, 0.2))) == hub.content("m")


def test_without_a_limit_of_the_handler_there_is_one_for_silence(
    kit: Kit, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(healed_request, "SILENCE_S", 0.2)
    url = hub.add_model("m", SIZE, [Stall(after=MIB, seconds=60)])
    assert run(kit, lambda: naively(url)) == hub.content("m")


def test_a_compressed_body_goes_on_in_the_same_compressed_stream(kit: Kit) -> None:
    packed = gzip.compress(DATA, mtime=0)
    headers = {"ETag": ETAG, "Content_Encoding": "gzip"}
    with FaultServer(cut(packed, 1000, **headers), rest(packed, 1000, **headers)) as server:
        assert run(kit, lambda: naively(server.url())) == DATA
        assert len({one.headers["accept-encoding"] for one in server.asked}) == 1


@pytest.mark.parametrize("answer", [{"Content_Encoding": "identity"}, {"Content_Encoding": "br"}])
def test_a_compressed_body_does_not_go_on_in_another_encoding(kit: Kit, answer: dict[str, str]) -> None:
    packed = gzip.compress(DATA, mtime=0)
    first = cut(packed, 1000, ETag=ETAG, Content_Encoding="gzip")
    with FaultServer(first, rest(packed, 1000, ETag=ETAG, **answer)) as server:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            run(kit, lambda: naively(server.url()), ONCE)
        assert len(server.asked) == 2


def chunked(*pieces: bytes, ends: bool) -> list[bytes]:
    return [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces] + ([b"0\r\n\r\n"] if ends else [])


@pytest.mark.skipif(not hasattr(PLAIN, "read1"), reason="this urllib3 cannot give chunks as they come")
def test_a_body_in_chunks_goes_on_and_its_pieces_are_handed_out_as_they_come(kit: Kit) -> None:
    lines = [b'{"done": %d}\n' % number for number in range(6)]
    text = b"".join(lines)
    read = threading.Event()
    came: list[bool] = []
    headers = {"ETag": ETAG, "Transfer-Encoding": "chunked"}
    first = Reply(
        headers=headers,
        parts=[*chunked(lines[0], ends=False), lambda: came.append(read.wait(5)), b"", *chunked(lines[1], ends=False)],
    )
    position = len(lines[0] + lines[1])
    after = Reply(
        "206 Partial Content",
        {**headers, "Content-Range": f"bytes {position}-{len(text) - 1}/{len(text)}"},
        chunked(*lines[2:], ends=True),
    )
    found = []

    def handler() -> None:
        for line in requests.get(server.url(), stream=True).iter_lines(chunk_size=4096):
            found.append(json.loads(line))
            read.set()

    with FaultServer(first, after) as server:
        run(kit, handler)
        assert server.asked[1].range == f"bytes={position}-"
    assert found == [{"done": number} for number in range(6)]
    assert came == [True]


def test_the_rest_is_asked_for_at_the_address_of_the_handler_not_where_it_was_led_to(kit: Kit) -> None:
    def led(to: str) -> Reply:
        return Reply("302 Found", {"Location": to, "Content-Length": 0})

    replies = [led("/signed?sig=1"), cut(DATA, 1000, ETag=ETAG), led("/signed?sig=2"), rest(DATA, 1000, ETag=ETAG)]
    with FaultServer(*replies) as server:
        assert run(kit, lambda: naively(server.url("/m"))) == DATA
        assert [one.path for one in server.asked] == ["/m", "/signed?sig=1", "/m", "/signed?sig=2"]
        assert [one.range for one in server.asked] == [None, None, "bytes=1000-", "bytes=1000-"]


def test_the_rest_is_asked_for_as_the_handler_asked(kit: Kit) -> None:
    with FaultServer(cut(DATA, 1000, ETag=ETAG, Set_Cookie="seen=1"), rest(DATA, 1000, ETag=ETAG)) as server:

        def handler() -> bytes:
            with requests.Session() as session:
                session.auth = HTTPBasicAuth("ann", "secret")
                session.headers["X-Launcher"] = "1"
                response = session.get(server.url(), headers={"Accept": "model/x"}, stream=True)
                assert session.cookies["seen"] == "1"
                assert "Range" not in response.request.headers
                return response.content

        assert run(kit, handler) == DATA
        first, second = (dict(one.headers) for one in server.asked)
        assert {name: second.pop(name) for name in ("range", "if-range")} == {"range": "bytes=1000-", "if-range": ETAG}
        assert first == second
        assert first["authorization"].startswith("Basic ")


def test_what_else_the_handler_gave_holds_for_the_rest_too(kit: Kit) -> None:
    given: list[dict[str, Any]] = []

    class Noting(requests.adapters.HTTPAdapter):
        def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
            given.append(kwargs)
            return super().send(request, **kwargs)

    with FaultServer(cut(DATA, 1000, ETag=ETAG), rest(DATA, 1000, ETag=ETAG)) as server:

        def handler() -> bytes:
            with requests.Session() as session:
                session.mount("http://", Noting())
                return session.get(
                    server.url(), timeout=7, verify="/ca.pem", cert=__file__, proxies={"ftp": "x"}
                ).content

        assert run(kit, handler) == DATA
    assert len(given) == 2
    assert given[0] == given[1]
    assert given[1]["timeout"] == 7


def test_a_session_with_a_send_of_its_own_sends_the_rest_as_well(kit: Kit, hub: Hub) -> None:
    sent: list[str | None] = []
    lock = threading.Lock()

    class Session(requests.Session):
        def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
            sent.append(request.headers.get("Range"))
            assert lock.acquire(blocking=False), "it is called from within itself"
            try:
                return super().send(request, **kwargs)
            finally:
                lock.release()

    def handler() -> bytes:
        with session.get(url, stream=True) as response:
            return response.content

    url = hub.add_model("m", SIZE, [Drop(after=MIB), Status(404), Drop(after=MIB)])
    with Session() as session:
        assert in_attempts(kit, handler) == hub.content("m")
    assert sent == [None, f"bytes={MIB}-", None, f"bytes={2 * MIB}-"]
    assert [one["range"] for one in hub.stats("m")["requests"]][2:] == [f"bytes={MIB}-", f"bytes={2 * MIB}-"]


def test_an_adapter_of_the_handlers_session_sends_the_rest_as_well(kit: Kit, hub: Hub) -> None:
    sent: list[str | None] = []

    class Own(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            sent.append(request.headers.get("Range"))
            return super().send(request, *args, **kwargs)

    own = Own()

    def handler() -> bytes:
        with requests.Session() as session:
            session.mount("http://", own)
            with session.get(url, stream=True) as response:
                found = response.content
            assert session.get_adapter(url) is own
            return found

    url = hub.add_model("m", SIZE, [Drop(after=MIB)])
    assert run(kit, handler) == hub.content("m")
    assert sent == [None, f"bytes={MIB}-"]


def test_a_digest_that_is_out_of_date_is_made_anew(kit: Kit) -> None:
    refused = Reply(
        "401 Unauthorized", {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"', "Content-Length": 0}
    )
    replies = [refused, cut(DATA, 1000, ETag=ETAG), refused, refused, rest(DATA, 1000, ETag=ETAG)]
    with FaultServer(*replies) as server:
        auth = HTTPDigestAuth("ann", "secret")
        assert run(kit, lambda: naively(server.url(), auth=auth)) == DATA
        assert server.asked[-1].headers["authorization"].startswith("Digest ")


def test_an_empty_body_is_empty(kit: Kit) -> None:
    with FaultServer(whole(b"", ETag=ETAG)) as server:
        assert run(kit, lambda: (naively(server.url()), requests.get(server.url()).content)) == (b"", b"")
        assert len(server.asked) == 2


def test_a_hook_that_raises_for_an_error_does_not_end_it(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=MIB), Status(503, retry_after=5)])
    hooks = {"response": lambda response, *_, **__: response.raise_for_status()}
    assert run(kit, lambda: naively(url, hooks=hooks)) == hub.content("m")
    assert kit.clock.slept == 1 + 5


# -- when it cannot go on -----------------------------------------------------------------------------


def test_a_file_that_changed_is_never_mixed_and_the_next_attempt_begins_anew(
    kit: Kit, hub: Hub, tmp_path: Path
) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=2 * MIB), EtagChange()])
    errors: list[Exception] = []

    def handler() -> bytes:
        try:
            return naively(url)
        except Exception as error:
            errors.append(error)
            raise

    assert in_attempts(kit, handler) == hub.content("m")
    assert [type(error) for error in errors] == [requests.exceptions.ChunkedEncodingError]
    assert "IncompleteRead" in str(errors[0])


def test_a_server_that_overlooks_the_condition_is_not_believed(kit: Kit) -> None:
    other = bytes(reversed(DATA))
    replies = [cut(DATA, 1000, ETag=ETAG), rest(other, 1000, ETag='"v2"'), whole(other, ETag='"v2"')]
    with FaultServer(*replies) as server:
        assert in_attempts(kit, lambda: naively(server.url())) == other
    assert len(kit.attempts) == 2


@pytest.mark.parametrize(
    "answer",
    [
        whole(DATA, ETag=ETAG),
        rest(DATA, 1000),
        rest(DATA, 999, ETag=ETAG),
        rest(DATA + b"x", 1000, ETag=ETAG),
        Reply("416 Range Not Satisfiable", {"Content-Range": f"bytes */{len(DATA)}", "Content-Length": 0}),
        Reply("403 Forbidden", {"Content-Length": 0}),
        Reply("404 Not Found", {"Content-Length": 0}),
    ],
)
def test_after_an_answer_that_does_not_go_on_the_handler_gets_its_own_error_at_once(kit: Kit, answer: Reply) -> None:
    with FaultServer(cut(DATA, 1000, ETag=ETAG), answer) as server:
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            run(kit, lambda: naively(server.url()), ONCE)
        assert len(server.asked) == 2


def test_after_a_few_requests_in_a_row_that_bring_nothing_the_handler_gets_the_error(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=MIB), Status(503), Drop(after=MIB), Status(503, times=100)])
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        run(kit, lambda: naively(url), ONCE)
    assert len(hub.stats("m")["requests"]) == 3 + healed_body.TRIES
    assert kit.clock.slept == 2 + healed_body.TRIES


def test_connections_that_are_refused_are_tries_as_well(kit: Kit) -> None:
    def handler() -> bytes:
        with FaultServer(cut(DATA, 1000, ETag=ETAG)) as server:
            response = requests.get(server.url(), stream=True)
            assert response.raw.read(1000) == DATA[:1000]
        return response.raw.read()

    with pytest.raises(urllib3.exceptions.ProtocolError, match="IncompleteRead"):
        run(kit, handler, ONCE)
    assert kit.clock.slept == healed_body.TRIES


def test_what_the_server_asks_to_wait_is_waited(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=MIB), RateLimit(retry_after=20), Status(503)])
    assert run(kit, lambda: naively(url)) == hub.content("m")
    assert kit.clock.slept == 1 + 20 + 1


def test_a_wait_of_an_hour_is_left_to_the_operation(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=MIB), RateLimit(retry_after=3600)])
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        run(kit, lambda: naively(url), ONCE)
    assert kit.clock.slept == 1


def test_a_hook_that_refuses_a_part_has_the_handler_get_the_error_of_the_connection(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=MIB)])

    def strict(response: requests.Response, *_: Any, **__: Any) -> None:
        if response.status_code == 206:
            raise Refused("that is no whole file")

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        run(kit, lambda: naively(url, hooks={"response": strict}), ONCE)


def test_after_the_error_the_body_stays_at_its_end(kit: Kit) -> None:
    def handler() -> None:
        response = requests.get(server.url(), stream=True)
        for _ in range(2):
            with pytest.raises(urllib3.exceptions.ProtocolError, match="IncompleteRead"):
                shutil.copyfileobj(response.raw, io.BytesIO())
        assert response.raw.closed

    with FaultServer(cut(DATA, 1000, ETag=ETAG), Reply("404 Not Found")) as server:
        run(kit, handler)
        assert len(server.asked) == 2


# -- pause, cancel, time ------------------------------------------------------------------------------


def test_a_cancelled_operation_ends_its_naive_handler_at_the_next_read(kit: Kit, hub: Hub, tmp_path: Path) -> None:
    url = hub.add_model("m", SIZE)
    seen: list[BaseException] = []

    def handler() -> None:
        try:
            with requests.get(url, stream=True) as response:
                for number, _ in enumerate(response.iter_content(MIB)):
                    if number == 1:
                        assert kept(tmp_path)
                        kit.lifecycle.cancel(kit.data.operation_id)
        except Exception as error:
            seen.append(error)
            raise

    with pytest.raises(OperationCancelled):
        run(kit, handler)
    assert [type(error) for error in seen] == [OperationCancelled]
    assert kept(tmp_path) == []


def test_a_pause_ends_the_wait_and_the_next_attempt_goes_on_with_what_is_kept(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=2 * MIB)])
    original = kit.clock.wait

    def wait(wake: Any, seconds: float | None) -> bool:
        if len(hub.stats("m")["requests"]) == 1 and kit.now.state is RecoveryState.IN_PROGRESS:
            kit.lifecycle.pause(kit.data.operation_id)
            kit.lifecycle.resume(kit.data.operation_id)
        return original(wake, seconds)

    kit.clock.wait = wait  # type: ignore[method-assign]
    assert run(kit, lambda: naively(url)) == hub.content("m")
    assert len(kit.attempts) == 2
    assert hub.stats("m")["bytes_sent"] == SIZE


def test_the_end_of_the_time_is_told_as_such_and_not_as_an_error_of_the_connection(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=MIB), Status(503, times=100)])
    seen: list[BaseException] = []

    def handler() -> None:
        try:
            naively(url)
        except Exception as error:
            seen.append(error)
            raise

    with pytest.raises(RecoveryTimeoutError):
        run(kit, handler, Policy(max_attempts=1, progress_renews=False, timeout=2.5))
    assert [type(error) for error in seen] == [RecoveryTimeoutError]
    assert kit.clock.slept == 2.5


# -- what is left alone -------------------------------------------------------------------------------


def test_outside_of_operations_responses_are_those_of_requests(hub: Hub, tmp_path: Path) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=2 * MIB)])
    response = requests.get(url, stream=True)
    assert type(response.raw) is PLAIN
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = response.content
    assert len(hub.stats("m")["requests"]) == 1
    assert kept(tmp_path) == []


def _streamed(method: str, **kwargs: Any) -> Callable[[str], requests.Response]:
    return lambda url: requests.request(method, url, stream=True, **kwargs)


@pytest.mark.parametrize(
    "send",
    [
        _streamed("HEAD"),
        _streamed("POST", data=b"x"),
        _streamed("GET", data=b"x"),
        _streamed("GET", headers={"Range": "bytes=5-"}),
        _streamed("GET", headers={"range": "bytes=0-9"}),
        _streamed("GET", headers={"If-Range": ETAG}),
    ],
)
def test_other_requests_get_the_response_of_requests(send: Callable[[str], requests.Response], kit: Kit) -> None:
    with FaultServer(cut(DATA, 1000, ETag=ETAG)) as server:

        def handler() -> None:
            with send(server.url()) as response:
                assert type(response.raw) is PLAIN

        run(kit, handler)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "reply",
    [
        whole(DATA),
        whole(DATA, ETag='W/"v1"'),
        whole(DATA, Last_Modified=MODIFIED),
        whole(DATA, Last_Modified=MODIFIED, Date=MODIFIED),
        whole(DATA, ETag=ETAG, Accept_Ranges="none"),
        whole(gzip.compress(DATA), Content_Encoding="gzip", ETag='W/"v1"', Last_Modified=MODIFIED, Date=LATER),
        part(f"bytes 0-{len(DATA) - 1}/{len(DATA)}", DATA, ETag=ETAG),
        Reply("404 Not Found", {"ETag": ETAG, "Content-Length": 3}, [b"No."]),
        Reply("203 Non-Authoritative Information", {"ETag": ETAG, "Content-Length": 3}, [b"Yes"]),
    ],
)
def test_answers_that_could_not_go_on_are_left_as_they_are(kit: Kit, reply: Reply) -> None:
    with FaultServer(reply) as server:

        def handler() -> None:
            with requests.get(server.url(), stream=True) as response:
                assert type(response.raw) is PLAIN

        run(kit, handler)


def test_without_a_validator_a_broken_body_raises_as_ever_and_nothing_is_asked_for_again(kit: Kit) -> None:
    with FaultServer(cut(DATA, 1000)) as server:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            run(kit, lambda: requests.get(server.url()), ONCE)
        assert len(server.asked) == 1


def test_an_operation_that_is_only_observed_is_left_alone(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE)

    def handler() -> None:
        operation = current_operation()
        assert operation is not None
        operation.metadata[OBSERVED] = True
        with requests.get(url, stream=True) as response:
            assert type(response.raw) is PLAIN

    run(kit, handler)


def test_requests_of_code_that_goes_on_by_itself_are_left_alone(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE)

    def handler() -> None:
        with healing.ours(), requests.get(url, stream=True) as response:
            assert type(response.raw) is PLAIN
        with requests.get(url, stream=True) as response:
            assert type(response.raw) is HealedResponse

    run(kit, handler)


def test_a_response_is_what_it_would_be_without_healing(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE)

    def look() -> dict[str, Any]:
        with requests.get(url, stream=True) as response:
            raw = response.raw
            first = {
                "status": (response.status_code, response.reason, raw.status, raw.reason, raw.version),
                "headers": {name: value for name, value in response.headers.items() if name != "Date"},
                "raw headers": sorted(name for name in raw.headers if name != "Date"),
                "of raw": (
                    raw.chunked,
                    raw.decode_content,
                    raw.length_remaining,
                    raw.closed,
                    raw.tell(),
                    raw.isclosed(),
                ),
                "url": (response.url, raw.geturl(), raw._request_url, raw.headers["ETag"], raw.readable()),
                "sent": dict(response.request.headers),
                "about": (response.encoding, response.ok, response.history, response.is_redirect),
                "connected": raw.connection is not None and raw.fileno() > 2,
            }
            first["bytes"] = raw.read(1000)
            first["after"] = (raw.tell(), raw.length_remaining, raw.closed)
            first["rest"] = b"".join(response.iter_content(50_000))
            first["end"] = (raw.tell(), raw.length_remaining, raw.closed, raw.isclosed(), raw.read(10), raw.read())
            return first

    plain = look()
    assert run(kit, look) == plain


def test_a_connection_that_was_read_to_its_end_is_used_again_and_one_that_was_left_is_closed(kit: Kit) -> None:
    with Hub() as hub, requests.Session() as session:
        url = hub.add_model("m", SIZE)

        def handler() -> None:
            for _ in range(3):
                assert len(session.get(url, stream=True).content) == SIZE
            pools = session.get_adapter(url).poolmanager.pools  # type: ignore[attr-defined]
            (pool,) = map(pools.get, pools.keys())
            assert (pool.num_connections, pool.num_requests) == (1, 3)
            with session.get(url, stream=True) as response:
                assert response.raw.read(10)
                connection = response.raw.connection
            assert connection.sock is None
            assert session.get(url).ok

        run(kit, handler)


def test_an_early_close_asks_for_nothing_more(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=MIB)])

    def handler() -> bytes:
        with requests.get(url, stream=True) as response:
            start: bytes = response.raw.read(1000)
        assert response.raw.closed
        return start

    assert run(kit, handler) == hub.content("m", 0, 1000)
    assert len(hub.stats("m")["requests"]) == 1


def test_mocked_responses_work_within_operations(kit: Kit) -> None:
    def handler() -> list[Any]:
        with responses.RequestsMock() as mock:
            mock.get("https://hub.example/a", json={"a": 1}, headers={"ETag": ETAG})
            mock.get("https://hub.example/b", body=b"bytes")
            mock.get("https://hub.example/c", body=requests.ConnectionError("gone"))
            with pytest.raises(requests.ConnectionError, match="gone"):
                requests.get("https://hub.example/c")
            streamed = requests.get("https://hub.example/b", stream=True)
            return [requests.get("https://hub.example/a").json(), b"".join(streamed.iter_content(2))]

    assert run(kit, handler) == [{"a": 1}, b"bytes"]


def test_hooks_that_have_read_the_body_keep_it(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE)
    sizes: list[int] = []

    def hook(response: requests.Response, *_: Any, **__: Any) -> None:
        sizes.append(len(response.content))

    assert len(run(kit, lambda: requests.get(url, hooks={"response": hook}).content)) == SIZE
    assert sizes == [SIZE]


# -- in a later attempt -------------------------------------------------------------------------------


def test_a_later_attempt_gets_what_is_kept_and_only_the_rest_from_the_server(
    kit: Kit, hub: Hub, tmp_path: Path
) -> None:
    url = URL[0] = hub.add_model("m", SIZE, [Drop(after=2 * MIB)])
    assert in_attempts(kit, breaking_after(lambda: naively(url), 3 * MIB, 3 * MIB + 8192)) == hub.content("m")
    assert len(kit.attempts) == 3
    stats = hub.stats("m")
    assert [one["status"] for one in stats["requests"]] == [200, 206, 206, 206]
    # What a connection that was left had sent is lost with it.
    starts = [int(one["range"][6:-1]) for one in stats["requests"][1:]]
    assert starts[0] == 2 * MIB
    assert starts == sorted(starts)
    assert starts[1] >= 3 * MIB


def test_the_response_of_a_later_attempt_looks_like_one_of_the_first(kit: Kit) -> None:
    body = random.Random(1).randbytes(2 * MIB)
    headers = {"ETag": ETAG, "Content_Type": "text/plain; charset=latin-1", "Content_Disposition": "attachment"}
    replies = [
        cut(body, MIB, **headers, Set_Cookie="first=1", Date=MODIFIED),
        Reply("404 Not Found"),
        rest(body, MIB, ETag=ETAG, Set_Cookie="second=1", Date=LATER, Content_MD5="of the part"),
    ]
    seen: list[requests.Response] = []

    def handler() -> bytes:
        seen.append(requests.get(server.url(), stream=True))
        return seen[-1].content

    with FaultServer(*replies) as server:
        assert in_attempts(kit, handler) == body
        assert [one.range for one in server.asked] == [None, f"bytes={MIB}-", f"bytes={MIB}-"]
    first, second = seen
    expected = {**first.headers, "Date": LATER, "Set-Cookie": "second=1"}
    assert dict(second.headers) == expected
    assert dict(second.raw.headers) == expected
    for response in seen:
        assert (response.status_code, response.reason, response.raw.status, response.raw.reason) == (
            200,
            "OK",
            200,
            "OK",
        )
        assert response.encoding == "latin-1"
        assert not {"Range", "If-Range"} & set(response.request.headers)
    assert second.raw.tell() == len(body)
    assert second.cookies["second"] == "1"


def test_when_all_of_it_is_kept_one_byte_is_asked_for(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE)
    left = [Refused("later"), Refused("later")]

    def handler() -> bytes:
        found = naively(url)
        if left:
            raise left.pop()
        return found

    assert in_attempts(kit, handler) == hub.content("m")
    assert [one["range"] for one in hub.stats("m")["requests"]] == [None, *[f"bytes={SIZE - 1}-"] * 2]
    assert hub.stats("m")["bytes_sent"] == SIZE + 2


def test_the_same_address_again_in_one_attempt_comes_from_what_is_kept(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE)
    first, second = run(kit, lambda: (naively(url), requests.get(url).content))
    assert first == second == hub.content("m")
    assert hub.stats("m")["bytes_sent"] == SIZE + 1


@pytest.mark.parametrize("fault", [EtagChange(), IgnoreRange()])
def test_what_is_kept_is_dropped_when_the_server_sends_all_again(kit: Kit, hub: Hub, fault: Any) -> None:
    url = URL[0] = hub.add_model("m", SIZE, [Stall(after=SIZE - 1, seconds=0), fault])
    kit_run = breaking_after(lambda: naively(url), MIB)
    assert in_attempts(kit, kit_run) == hub.content("m")
    assert [one["status"] for one in hub.stats("m")["requests"]] == [200, 200]


def test_what_is_kept_is_deleted_also_when_nothing_is_kept_of_the_new_file(kit: Kit, tmp_path: Path) -> None:
    body = random.Random(1).randbytes(2 * MIB)
    replies = [cut(body, MIB, ETag=ETAG), Reply("404 Not Found"), whole(b"moved", ETag='"v2"')]
    with FaultServer(*replies) as server:
        assert in_attempts(kit, lambda: (naively(server.url()), kept(tmp_path))) == (b"moved", [])


@pytest.mark.parametrize(
    "answer",
    [
        Reply("400 Bad Request", {"Content-Length": 0}),
        Reply("416 Range Not Satisfiable", {"Content-Length": 0}),
        Reply("206 Partial Content", {"ETag": '"v2"', "Content-Range": "bytes 9-9/10", "Content-Length": 1}, [b"x"]),
    ],
)
def test_a_server_that_refuses_the_range_is_asked_without(kit: Kit, answer: Reply) -> None:
    body = random.Random(1).randbytes(2 * MIB)
    replies = [cut(body, MIB, ETag=ETAG), Reply("404 Not Found"), answer, whole(body, ETag=ETAG)]
    with FaultServer(*replies) as server:
        assert in_attempts(kit, lambda: naively(server.url())) == body
        assert [one.range for one in server.asked][2:] == [f"bytes={MIB}-", None]


def test_an_error_of_the_server_is_given_to_the_handler_and_what_is_kept_stays(kit: Kit, hub: Hub) -> None:
    url = URL[0] = hub.add_model("m", SIZE, [Drop(after=2 * MIB), Status(404), Status(503, retry_after=3600)])

    def handler() -> bytes:
        return naively(url)

    with pytest.raises(requests.HTTPError, match="503"):
        in_attempts(kit, handler, 2, progress_renews=False)
    assert [one["status"] for one in hub.stats("m")["requests"]] == [200, 404, 503]
    kit.lifecycle.retry(kit.data.operation_id)
    assert kit.engine.run(kit.now, Policy(), lambda: len(handler())) == SIZE
    assert hub.stats("m")["bytes_sent"] == SIZE


def test_a_hook_that_does_not_reckon_with_a_part_gets_the_whole(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=2 * MIB), Status(404)])

    def strict(response: requests.Response, *_: Any, **__: Any) -> None:
        if response.status_code == 206:
            raise Refused("that is no whole file")

    assert in_attempts(kit, lambda: naively(url, hooks={"response": strict})) == hub.content("m")


def test_a_connection_error_of_a_later_attempt_is_the_handlers(kit: Kit, hub: Hub, tmp_path: Path) -> None:
    URL[0] = hub.add_model("m", SIZE)

    def gone() -> None:
        hub.close()
        requests.get(URL[0])

    with pytest.raises(requests.ConnectionError):
        in_attempts(kit, breaking_after(gone, MIB), 2, progress_renews=False)
    assert len(kept(tmp_path)) == 1


def test_a_compressed_body_is_kept_as_it_was_sent(kit: Kit) -> None:
    noise = random.Random(1).randbytes(2 * MIB)
    packed = gzip.compress(noise, mtime=0)
    headers = {"ETag": ETAG, "Content_Encoding": "gzip"}
    with FaultServer(cut(packed, MIB, **headers), Reply("404 No"), rest(packed, MIB, ETag=ETAG)) as server:
        assert in_attempts(kit, lambda: naively(server.url())) == noise
        assert len(server.asked) == 3


def test_a_response_that_an_earlier_attempt_left_open_does_not_hold_up_the_next(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE)
    left_open: list[requests.Response] = []

    def handler() -> bytes:
        response = requests.get(url, stream=True)
        if not left_open:
            left_open.append(response)
            response.raw.read(2 * MIB)
            raise Refused("and the response is in its traceback")
        return response.content

    assert in_attempts(kit, handler) == hub.content("m")
    assert hub.stats("m")["requests"][1]["status"] == 206
    left_open[0].close()


def test_damage_on_the_disk_costs_what_is_behind_it(kit: Kit, hub: Hub, tmp_path: Path) -> None:
    url = URL[0] = hub.add_model("m", SIZE, [Drop(after=3 * MIB), Status(404)])
    first = True

    def handler() -> bytes:
        nonlocal first
        if not first:
            (path,) = kept(tmp_path)
            content = bytearray(path.read_bytes())
            content[-MIB] ^= 1
            path.write_bytes(content)
        first = False
        return naively(url)

    assert in_attempts(kit, handler) == hub.content("m")
    asked = [one["range"] for one in hub.stats("m")["requests"]]
    assert asked[:3] == [None, f"bytes={3 * MIB}-", f"bytes={3 * MIB}-"]
    assert MIB < int(asked[3][6:-1]) <= 2 * MIB


def test_two_responses_of_one_address_at_a_time_are_both_right_and_one_is_kept(
    kit: Kit, hub: Hub, tmp_path: Path
) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=MIB, times=4)])
    found: list[bytes] = []
    both = threading.Barrier(2)

    def fetch() -> None:
        with requests.get(url, stream=True) as response:
            start = response.raw.read(1000)
            both.wait(10)
            found.append(start + response.raw.read())
            both.wait(10)

    def handler() -> None:
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(fetch,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(kept(tmp_path)) == 1

    run(kit, handler)
    assert found == [hub.content("m")] * 2


def _spoil(rng: random.Random, folder: Path) -> None:
    """What a crash, or a bad disk, makes of what is kept."""
    for path in kept(folder):
        content = bytearray(path.read_bytes())
        if rng.random() < 0.5:
            del content[rng.randrange(len(content)) :]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_a_handler_that_ends_well_has_all_of_one_version(
    seed: int, kit: Kit, hub: Hub, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    size = rng.randrange(MIB, 2 * MIB)
    makes: list[Callable[[], Any]] = [
        lambda: Drop(after=rng.randrange(size), reset=rng.random() < 0.5, times=rng.randrange(1, 4)),
        lambda: Status(rng.choice([404, 500, 503]), times=rng.randrange(1, 8)),
        lambda: EtagChange(),
        lambda: IgnoreRange(),
        lambda: RateLimit(retry_after=rng.choice([0, 5, 3600])),
    ]
    url = hub.add_model("m", size, [rng.choice(makes)() for _ in range(rng.randrange(3, 20))])
    shapes = [_iterated, _copied, _at_once, _in_a_buffer, _all_of_raw]

    def handler() -> bytes:
        if rng.random() < 0.3:
            _spoil(rng, tmp_path)
        with requests.get(url, stream=True) as response:
            response.raise_for_status()
            if rng.random() < 0.3:
                response.raw.read(rng.randrange(size))
                raise Refused("of the handler")
        found = rng.choice(shapes)(url)
        if len(found) != size:
            raise Refused("an error document")
        return found

    assert in_attempts(kit, handler, 200) == hub.content("m")


def test_small_bodies_are_healed_but_not_kept(kit: Kit, tmp_path: Path) -> None:
    with FaultServer(cut(DATA, 1000, ETag=ETAG), rest(DATA, 1000, ETag=ETAG)) as server:
        assert run(kit, lambda: naively(server.url())) == DATA
    assert not (tmp_path / BODIES).exists()


def test_where_nothing_can_be_kept_it_is_healed_all_the_same(
    kit: Kit, hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / BODIES).write_bytes(b"a file")
    url = hub.add_model("m", SIZE, [Drop(after=MIB)])
    assert run(kit, lambda: naively(url)) == run(kit, lambda: naively(url)) == hub.content("m")
    assert len([one for one in caplog.records if "is not kept" in one.message]) == 1


def test_on_a_disk_that_fills_up_it_is_healed_all_the_same(
    kit: Kit, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_log, "_LOOK_BYTES", MIB)
    looks = iter([1 << 40, body_log.SPARE_BYTES])
    monkeypatch.setattr(body_log, "free_bytes", lambda folder: next(looks))
    url = hub.add_model("m", SIZE, [Drop(after=2 * MIB)])
    assert run(kit, lambda: (naively(url), kept(tmp_path))) == (hub.content("m"), [])


# -- when it goes -------------------------------------------------------------------------------------


def test_what_is_kept_goes_when_the_operation_went_well(kit: Kit, hub: Hub, tmp_path: Path) -> None:
    url = hub.add_model("m", SIZE)
    assert len(run(kit, lambda: (naively(url), kept(tmp_path))[1])) == 1
    assert kept(tmp_path) == []


def test_what_is_kept_stays_when_it_failed_until_it_is_old(
    kit: Kit, hub: Hub, tmp_path: Path, installed: healing.Healing
) -> None:
    URL[0] = hub.add_model("m", SIZE)
    with pytest.raises(Refused):
        run(kit, breaking_after(lambda: None, MIB), ONCE)
    assert len(kept(tmp_path)) == 1
    installed.clean(datetime.now(timezone.utc) - timedelta(days=1))
    assert len(kept(tmp_path)) == 1
    installed.clean(datetime.now(timezone.utc) + timedelta(days=1))
    assert kept(tmp_path) == []


def test_no_secret_of_an_address_or_an_answer_is_written_or_told(
    kit: Kit, hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "launcher_recovery")
    hub.add_model("m", SIZE, [Drop(after=2 * MIB), Status(404), Drop(after=1), Status(503, times=9)])
    url = f"http://ann:hunter2@127.0.0.1:{hub.port}/models/m?token=hunter2"
    with pytest.raises(requests.RequestException):
        in_attempts(kit, lambda: naively(url), 2)
    (path,) = kept(tmp_path)
    assert b"hunter2" not in path.read_bytes()
    told = [one.getMessage() for one in caplog.records if one.name == "launcher_recovery"]
    assert any("goes on at byte" in one for one in told)
    assert "hunter2" not in " ".join(told)


# -- what counts as progress --------------------------------------------------------------------------


def test_an_attempt_whose_kept_body_grew_has_moved_whatever_its_handler_says(kit: Kit, hub: Hub) -> None:
    faults = [fault for _ in range(5) for fault in (Drop(after=MIB // 2), Status(404))]
    url = hub.add_model("m", SIZE, faults)
    assert in_attempts(kit, lambda: naively(url), 2) == hub.content("m")
    assert len(kit.attempts) == 6
    assert kit.now.progress is None


def test_an_attempt_that_brought_nothing_new_has_not_moved(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE, [Drop(after=MIB), Status(404, times=9)])
    with pytest.raises(requests.RequestException):
        in_attempts(kit, lambda: naively(url), 3)
    assert len(kit.attempts) == 4


def test_a_file_that_is_another_one_each_time_does_not_move_for_ever(kit: Kit) -> None:
    bodies = [random.Random(number).randbytes(2 * MIB) for number in range(9)]
    replies = [
        reply
        for number, body in enumerate(bodies)
        for reply in (cut(body, MIB, ETag=f'"{number}"'), Reply("404 Not Found", {"Content-Length": 0}))
    ]
    del replies[3::2]  # the first request of a later attempt is answered with all of another file

    def handler() -> bytes:
        return naively(server.url())

    with FaultServer(*replies) as server, pytest.raises(requests.RequestException):
        in_attempts(kit, handler, 3)
    assert len(kit.attempts) == 4


def test_what_the_handler_reports_is_what_is_shown(kit: Kit, hub: Hub) -> None:
    url = hub.add_model("m", SIZE)

    def handler() -> None:
        operation = current_operation()
        assert operation is not None
        naively(url)
        operation.progress(1, 3, "steps")

    run(kit, handler)
    progress = kit.now.progress
    assert progress is not None
    assert (progress.done, progress.total, progress.unit) == (1, 3, "steps")


# -- in and out ---------------------------------------------------------------------------------------


def test_uninstalling_leaves_requests_exactly_as_it_was(installed: healing.Healing, tmp_path: Path) -> None:
    now = requests.Session.__dict__["send"]
    second = healing.install(tmp_path / "second")
    assert requests.Session.__dict__["send"] is now
    healing.uninstall(installed)
    healing.uninstall(installed)
    assert requests.Session.__dict__["send"] is now
    healing.uninstall(second)
    original = requests.Session.__dict__["send"]
    assert original is now.__wrapped__
    assert original.__module__ == "requests.sessions"
    assert not hasattr(original, "healed")
    healing.uninstall(second)
    assert requests.Session.__dict__["send"] is original


def test_the_last_one_that_is_installed_counts(kit: Kit, hub: Hub, tmp_path: Path) -> None:
    url = hub.add_model("m", SIZE)
    second = healing.install(tmp_path / "second")
    try:
        found = run(kit, lambda: (naively(url), kept(tmp_path), list((tmp_path / "second").rglob("*.body"))))
    finally:
        healing.uninstall(second)
    assert (found[1], len(found[2])) == ([], 1)


def test_after_uninstalling_operations_get_what_requests_gives(kit: Kit, hub: Hub, installed: healing.Healing) -> None:
    url = hub.add_model("m", SIZE)
    healing.uninstall(installed)

    def handler() -> None:
        with requests.get(url, stream=True) as response:
            assert type(response.raw) is PLAIN

    run(kit, handler)


def test_who_has_wrapped_it_since_keeps_the_wrapping(
    kit: Kit, hub: Hub, installed: healing.Healing, tmp_path: Path
) -> None:
    url = hub.add_model("m", SIZE)
    ours = requests.Session.send

    @functools.wraps(ours)
    def theirs(session: requests.Session, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        calls.append(str(request.url))
        return ours(session, request, **kwargs)

    def look() -> type:
        with requests.get(url, stream=True) as response:
            return type(response.raw)

    calls: list[str] = []
    requests.Session.send = theirs  # type: ignore[method-assign]
    try:
        healing.uninstall(installed)
        assert requests.Session.send is theirs
        assert run(kit, look) is PLAIN
        again = healing.install(tmp_path / "again")
        assert run(kit, look) is HealedResponse
        healing.uninstall(again)
        assert requests.Session.send is theirs
        assert calls == [url, url]
    finally:
        requests.Session.send = ours.__wrapped__  # type: ignore[attr-defined,method-assign]


def test_installing_from_many_threads_wraps_once(installed: healing.Healing, tmp_path: Path) -> None:
    healing.uninstall(installed)
    original = requests.Session.__dict__["send"]
    go = threading.Barrier(8)

    def work() -> None:
        go.wait(10)
        for number in range(50):
            made = healing.install(tmp_path / str(number))
            assert requests.Session.__dict__["send"].__wrapped__ is original
            healing.uninstall(made)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert requests.Session.__dict__["send"] is original


def connections_to(port: int | None) -> int:
    """How many sockets of this process are connected to a port."""
    sockets = [found for found in gc.get_objects() if isinstance(found, socket.socket) and found.fileno() >= 0]
    found = 0
    for one in sockets:
        with contextlib.suppress(OSError):
            found += one.getpeername()[1] == port
    return found


# A socket that is collected before what would have closed it says so, as it does with requests alone.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_a_response_that_is_dropped_leaves_no_file_and_no_connection_open(kit: Kit, hub: Hub, tmp_path: Path) -> None:
    url = hub.add_model("m", SIZE)
    port = urlsplit(url).port

    def handler() -> None:
        response = requests.get(url, stream=True)
        response.raw.read(2 * MIB)
        assert connections_to(port) == 1
        del response
        gc.collect()
        assert connections_to(port) == 0
        assert kept_bodies.KeptBodies(tmp_path / BODIES).find(kit.data.operation_id, url, 1) is not None

    run(kit, handler)


# -- servers that are to be left alone ----------------------------------------------------------------


@pytest.fixture
def waits() -> Iterator[Waits]:
    """What all of this process share."""
    yield WAITS
    WAITS._waits.clear()


def tell(waits: Waits, url: str, seconds: int) -> None:
    """The server of an address has asked somebody else for that."""
    assert waits.heard(refusal(503, url=url, Retry_After=str(seconds)))


@pytest.mark.parametrize("has_hook", [False, True])
def test_what_a_server_asks_of_a_handler_others_heed_as_well(kit: Kit, hub: Hub, waits: Waits, has_hook: bool) -> None:
    """Another handler is told what the server said, and the server is not asked."""
    url = hub.add_model("m", SIZE, [Status(503, retry_after=3600)])
    hooks = {"response": lambda response, **_: response.raise_for_status()} if has_hook else {}
    for said in ("503 Server Error", "asked a moment ago to be left alone"):
        with pytest.raises(requests.HTTPError, match=said) as raised:
            run(kit, lambda: naively(url, hooks=hooks), ONCE)
        assert raised.value.response is not None
        assert int(raised.value.response.headers["Retry-After"]) > 3500
    assert len(hub.stats("m")["requests"]) == 1
    assert waits.left(url, "a download") > 3500


def test_whoever_was_told_is_not_held_up_again_and_when_it_is_served_nobody_is(
    kit: Kit, hub: Hub, waits: Waits
) -> None:
    url = hub.add_model("m", SIZE, [Status(503, retry_after=3600)])
    assert in_attempts(kit, lambda: naively(url)) == hub.content("m")
    assert len(hub.stats("m")["requests"]) == 2
    assert waits.left(url, "a download") == 0


def test_a_short_wait_for_the_server_is_made_before_it_is_asked(kit: Kit, hub: Hub, waits: Waits) -> None:
    url = hub.add_model("m", SIZE)
    tell(waits, url, 30)
    assert run(kit, lambda: naively(url)) == hub.content("m")
    assert kit.clock.slept == pytest.approx(30, abs=1)


@pytest.mark.parametrize("is_led", [False, True])
@pytest.mark.parametrize("seconds", [30, 3600])
def test_what_others_were_asked_meanwhile_holds_for_the_rest_too(
    kit: Kit, hub: Hub, waits: Waits, seconds: int, is_led: bool
) -> None:
    """Also by the server to which a redirect has led; a long wait is left to the operation."""
    there = hub.add_model("m", SIZE, [Drop(after=MIB)])

    def handler(url: str) -> bytes:
        with requests.get(url, stream=True) as response:
            first = response.raw.read(1000)
            tell(waits, there, seconds)
            return first + response.raw.read()

    with FaultServer(*[Reply("302 Found", {"Location": there, "Content-Length": 0})] * 2) as server:
        url = server.url() if is_led else there
        if seconds == 30:
            assert run(kit, lambda: handler(url)) == hub.content("m")
            assert kit.clock.slept == pytest.approx(30, abs=1)
        else:
            with pytest.raises(urllib3.exceptions.ProtocolError, match="IncompleteRead"):
                run(kit, lambda: handler(url), ONCE)
            assert len(hub.stats("m")["requests"]) == 1
            assert waits.left(there, "op") > 3500
