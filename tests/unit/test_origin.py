"""The scripted origin server: true files truly, faults exactly as told, and an account that can be trusted."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests

from tests.origin import Answer, Authority, Behaviour, End, File, Origin, Request, Silence, Span, honest
from tests.origin import behaviours as act
from tests.support import wait_for

MIB = 1 << 20
FILE = File(3 * MIB + 12_345)
SMALL = File(1000)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as running:
        yield running


@dataclass(frozen=True)
class Seen:
    """What came over one connection: the lines of the head, all bytes behind it, and how the connection ended."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes
    ended: str

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known == name]


def rest_of(connection: socket.socket, at_a_time: int = MIB) -> tuple[bytes, str]:
    """Every byte that comes, and "FIN" or "RST"."""
    received = bytearray()
    try:
        while data := connection.recv(at_a_time):
            received += data
    except ConnectionResetError:
        return bytes(received), "RST"
    return bytes(received), "FIN"


def raw(origin: Origin, target: str = "/model.bin", method: str = "GET", **headers: str) -> tuple[bytes, str]:
    """`rest_of` a connection with one request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", origin.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return rest_of(connection)


def greeted(origin: Origin) -> tuple[bytes, str]:
    """`rest_of` a connection on which nothing is said; it may be reset before it is known to be there."""
    try:
        with socket.create_connection(("127.0.0.1", origin.port), timeout=20) as connection:
            return rest_of(connection)
    except ConnectionResetError:
        return b"", "RST"


def ask(origin: Origin, target: str = "/model.bin", method: str = "GET", **headers: str) -> Seen:
    """`raw`, taken apart."""
    data, ended = raw(origin, target, method, **headers)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in rest)]
    return Seen(first.removeprefix("HTTP/1.1 "), pairs, body, ended)


# -- the files ------------------------------------------------------------------------------------------------


def test_the_bytes_of_a_file_are_those_of_its_name_and_version() -> None:
    assert FILE.content() == replace(FILE, label=9, etag=None).content()
    assert FILE.content()[MIB - 3 : MIB + 7] == FILE.content(MIB - 3, MIB + 7)
    assert replace(FILE, size=MIB).content() == FILE.content(0, MIB)
    for other in (replace(FILE, version=1), replace(FILE, name="other")):
        same = sum(a == b for a, b in zip(FILE.content(0, 4096), other.content(0, 4096), strict=True))
        assert same < 64


def test_a_wrong_byte_of_a_file_is_the_only_difference() -> None:
    wrong = replace(FILE, wrong=frozenset({MIB, FILE.size - 1}))
    differing = [at for at, (a, b) in enumerate(zip(FILE.content(), wrong.content(), strict=True)) if a != b]
    assert differing == [MIB, FILE.size - 1]
    assert wrong.content(MIB - 1, MIB + 1)[1:] != FILE.content(MIB, MIB + 1)


def test_the_digest_is_that_of_all_bytes() -> None:
    assert FILE.sha256 == hashlib.sha256(FILE.content()).hexdigest()
    assert FILE.digest("md5") == hashlib.md5(FILE.content()).hexdigest()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (SMALL, replace(SMALL, version=1), False),
        (SMALL, replace(SMALL, version=1, label=0), True),
        (SMALL, replace(SMALL, label=1), False),
        (SMALL, replace(SMALL, size=1001), False),
    ],
)
def test_validators_follow_the_version_unless_told_otherwise(one: File, other: File, same: bool) -> None:
    assert (one.entity_tag == other.entity_tag) is same
    assert replace(one, dated=False).modified is None
    assert str(replace(one, etag="weak").entity_tag) == f"W/{one.entity_tag}"
    assert replace(one, etag=None).entity_tag is None


# -- honesty --------------------------------------------------------------------------------------------------


def test_a_whole_file_comes_with_all_that_is_told_of_it(origin: Origin) -> None:
    origin.add(FILE)
    seen = ask(origin)
    assert (seen.status, seen.ended) == ("200 OK", "FIN")
    assert seen.body == FILE.content()
    assert dict(seen.headers) == {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(FILE.size),
        "Accept-Ranges": "bytes",
        "ETag": FILE.entity_tag,
        "Last-Modified": FILE.modified,
    }


@pytest.mark.parametrize(
    ("range_", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=999-", 999, 1000), ("bytes=-1", 999, 1000), ("bytes=5-5000", 5, 1000)],
)
def test_a_part_is_exactly_the_one_asked_for(origin: Origin, range_: str, start: int, end: int) -> None:
    origin.add(SMALL)
    seen = ask(origin, Range=range_)
    assert (seen.status, seen.body) == ("206 Partial Content", SMALL.content(start, end))
    assert seen.values("Content-Range") == [f"bytes {start}-{end - 1}/1000"]
    assert seen.values("Content-Length") == [str(end - start)]


def test_what_lies_behind_the_file_cannot_be_had(origin: Origin) -> None:
    origin.add(SMALL)
    seen = ask(origin, Range="bytes=1000-")
    assert (seen.status, seen.body) == ("416 Range Not Satisfiable", b"")
    assert seen.values("Content-Range") == ["bytes */1000"]


@pytest.mark.parametrize("etag", ["strong", "weak", None])
def test_if_range_holds_for_a_strong_etag_or_the_date_of_the_same_version(origin: Origin, etag: str | None) -> None:
    file = replace(SMALL, etag=etag)
    origin.add(file)

    def status(condition: str | None) -> str:
        return ask(origin, Range="bytes=1-", If_Range=str(condition)).status[:3]

    assert status(file.modified) == "206"
    assert status(file.entity_tag) == ("206" if etag == "strong" else "200")
    assert status(replace(file, version=1).entity_tag) == "200"
    assert status(replace(file, version=1).modified) == "200"


def test_a_file_without_ranges_comes_whole(origin: Origin) -> None:
    origin.add(replace(SMALL, ranges=False))
    seen = ask(origin, Range="bytes=1-")
    assert (seen.status, len(seen.body), seen.values("Accept-Ranges")) == ("200 OK", 1000, ["none"])


def test_head_has_the_same_head_and_no_body(origin: Origin) -> None:
    origin.add(SMALL)
    seen = ask(origin, method="HEAD")
    assert (seen.headers, seen.body) == (ask(origin).headers, b"")
    assert origin.settled().sent() == 1000


def test_other_paths_and_methods_are_refused(origin: Origin) -> None:
    origin.add(SMALL)
    assert ask(origin, "/other").status == "404 Not Found"
    assert ask(origin, method="DELETE").status == "405 Method Not Allowed"


def test_a_connection_is_kept_for_the_next_request_until_the_client_has_enough(origin: Origin) -> None:
    origin.add(SMALL)
    connection = http.client.HTTPConnection("127.0.0.1", origin.port)
    for start in (0, 500):
        connection.request("GET", "/model.bin", headers={"Range": f"bytes={start}-{start + 499}"})
        assert connection.getresponse().read() == SMALL.content(start, start + 500)
    connection.close()
    assert origin.connections == 1
    assert origin.settled().sent_by_connection() == {1: 1000}
    assert [(one.request.number, one.start, one.sent, one.done) for one in origin.exchanges()] == [
        (1, 0, 500, True),
        (2, 500, 500, True),
    ]


def test_a_request_is_entered_as_it_came(origin: Origin) -> None:
    origin.add(SMALL, path="/a b")
    ask(origin, "/a%20b?token=x", X_Api_Key="secret", Range="bytes=5-")
    [request] = origin.requests("/a b")
    assert (request.method, request.target, request.path, request.query) == ("GET", "/a%20b?token=x", "/a b", "token=x")
    assert (request.headers["x-api-key"], request.range, request.if_range) == ("secret", "bytes=5-", None)
    assert (request.peer[0], request.connection, request.number) == ("127.0.0.1", 1, 1)


def test_many_connections_are_served_at_a_time_and_counted() -> None:
    with Origin() as origin:
        origin.add(SMALL, act.stall(500, 60, resume=True))
        origin.add(FILE, path="/other")
        threads = [threading.Thread(target=ask, args=(origin,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: origin.sent() == 4 * 500)
        assert ask(origin, "/other").body == FILE.content()
    for thread in threads:
        thread.join(20)
    assert (origin.most_at_once(), origin.most_at_once("/other")) == (4, 1)
    assert (origin.sent("/model.bin"), origin.sent("/other")) == (2000, FILE.size)


def test_closing_the_server_ends_every_connection() -> None:
    with Origin() as origin:
        origin.add(SMALL, act.stall(500, 3600))
        seen: list[Seen] = []
        client = threading.Thread(target=lambda: seen.append(ask(origin)))
        client.start()
        wait_for(lambda: origin.sent() == 500)
    client.join(20)
    assert seen[0].body == SMALL.content(0, 500)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", origin.port))


def test_what_goes_wrong_in_a_behaviour_is_told() -> None:
    def broken(request: Request, file: File, due: Answer) -> Answer:
        raise KeyError("a mistake in a test")

    origin = Origin().__enter__()
    origin.add(SMALL, broken)
    assert raw(origin) == (b"", "FIN")
    with pytest.raises(KeyError, match="a mistake in a test"):
        origin.__exit__(None, None, None)


def test_over_tls_it_is_who_it_says_for_those_who_trust_the_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Origin(authority.context()) as origin:
        url = origin.add(FILE)
        for address in (url, origin.url(host="localhost")):
            assert address.startswith("https://")
            assert requests.get(address, verify=str(authority.bundle)).content == FILE.content()
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url)
    assert origin.sent() == 2 * FILE.size


# -- when -----------------------------------------------------------------------------------------------------


def test_a_script_is_followed_get_by_get_and_ends_in_honesty(origin: Origin) -> None:
    origin.add(SMALL, act.script(act.drop(5), None, act.drop(7)))
    assert ask(origin, method="HEAD").status == "200 OK"
    assert [len(ask(origin).body) for _ in range(4)] == [5, 1000, 7, 1000]


def test_behaviours_combine_each_on_the_answer_of_the_one_before(origin: Origin) -> None:
    origin.add(SMALL, act.changed(version=1), act.flip(3))
    wanted = replace(SMALL, version=1, wrong=frozenset({3}))
    assert ask(origin).body == wanted.content()
    origin.add(SMALL, act.combined(act.changed(version=1), act.drop(5)))
    assert ask(origin).body == wanted.content()[:3] + replace(SMALL, version=1).content(3, 5)


def test_a_behaviour_may_be_for_some_requests_only(origin: Origin) -> None:
    origin.add(SMALL, act.when(lambda request: request.range is not None, act.drop(5)))
    assert [len(ask(origin).body), len(ask(origin, Range="bytes=1-").body)] == [1000, 5]
    origin.add(SMALL, act.since(5, act.changed(version=1)))
    bodies = [ask(origin).body for _ in range(3)]
    assert bodies == [SMALL.content(), SMALL.content(), replace(SMALL, version=1).content()]


# -- the connection in the body -------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, MIB, 2 * MIB + 5])
def test_a_drop_comes_after_exactly_so_many_bytes(origin: Origin, after: int) -> None:
    origin.add(FILE, act.drop(after))
    seen = ask(origin)
    assert (seen.body, seen.ended) == (FILE.content(0, after), "FIN")
    assert seen.values("Content-Length") == [str(FILE.size)]
    assert origin.settled().sent() == after


def test_after_a_reset_only_what_left_is_counted(origin: Origin) -> None:
    """The client gets as much as is counted, although the rest was handed to the server's kernel as well."""
    after = 200_000
    origin.add(FILE, act.drop(after, reset=True))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
        client.connect(("127.0.0.1", origin.port))
        client.sendall(b"GET /model.bin HTTP/1.1\r\n\r\n")
        wait_for(lambda: origin.exchanges())
        counted = origin.settled().sent()
        received, ended = rest_of(client)
    body = received.partition(b"\r\n\r\n")[2]
    assert ended == "RST"
    assert body == FILE.content(0, counted)
    assert 0 < counted < after


@pytest.mark.parametrize("clients", [1, 3])
def test_drops_come_wherever_all_connections_together_have_sent_so_many_bytes(origin: Origin, clients: int) -> None:
    origin.add(FILE, act.drops(1000, MIB, MIB + 1, 2 * MIB))
    lengths: list[int] = []

    def client() -> None:
        while len(lengths) < 4:
            lengths.append(len(ask(origin).body))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    cut = [length for length in lengths if length < FILE.size]
    assert len(cut) == 4
    if clients == 1:
        assert cut == [1000, MIB - 1000, 1, MIB - 1]
    assert origin.settled().sent() == sum(lengths)


def test_a_stall_says_nothing_and_then_the_rest_or_nothing_more(origin: Origin) -> None:
    origin.add(SMALL, act.script(act.stall(400, 0.3), act.stall(400, 0.3, resume=True), act.stall(400, 3600)))
    for length in (400, 1000):
        before = time.monotonic()
        assert ask(origin).body == SMALL.content(0, length)
        assert time.monotonic() - before >= 0.3
    with socket.create_connection(("127.0.0.1", origin.port)) as client:
        client.sendall(b"GET /model.bin HTTP/1.1\r\n\r\n")
        wait_for(lambda: origin.sent() == 1800)
    wait_for(lambda: not any(thread.name == "origin-3" for thread in threading.enumerate()))


def test_a_slow_connection_keeps_its_rate_over_several_answers(origin: Origin) -> None:
    origin.add(SMALL, act.slow(4000))
    connection = http.client.HTTPConnection("127.0.0.1", origin.port)
    before = time.monotonic()
    for _ in range(2):
        connection.request("GET", "/model.bin")
        assert connection.getresponse().read() == SMALL.content()
    connection.close()
    assert 0.4 <= time.monotonic() - before < 5


def test_a_flipped_byte_is_flipped_as_often_as_told_where_it_is_sent(origin: Origin) -> None:
    at = MIB + 7
    origin.add(FILE, act.flip(at, times=2))
    wrong = replace(FILE, wrong=frozenset({at}))
    assert ask(origin, Range=f"bytes=0-{at - 1}").body == FILE.content(0, at)
    assert ask(origin).body == wrong.content()
    assert ask(origin, Range=f"bytes={at}-").body == wrong.content(at)
    assert ask(origin).body == FILE.content()


# -- which bytes ----------------------------------------------------------------------------------------------


def test_another_version_has_other_bytes_with_its_own_or_the_old_validators(origin: Origin) -> None:
    changed = replace(SMALL, version=1)
    origin.add(SMALL, act.script(act.changed(version=1), act.changed(version=1, label=0), act.changed(size=900)))
    first, second, third = ask(origin), ask(origin), ask(origin)
    assert first.body == second.body == changed.content()
    assert (first.values("ETag"), second.values("ETag")) == ([changed.entity_tag], [SMALL.entity_tag])
    assert third.body == SMALL.content(0, 900)


def test_a_server_may_not_know_if_range(origin: Origin) -> None:
    changed = replace(SMALL, version=1)
    origin.add(SMALL, act.changed_carelessly(version=1))
    seen = ask(origin, Range="bytes=5-", If_Range=str(SMALL.entity_tag))
    assert (seen.status[:3], seen.body, seen.values("ETag")) == ("206", changed.content(5), [changed.entity_tag])


def test_a_range_can_be_ignored(origin: Origin) -> None:
    origin.add(SMALL, act.ignores_range)
    seen = ask(origin, Range="bytes=5-")
    assert (seen.status, seen.body, seen.values("Content-Range")) == ("200 OK", SMALL.content(), [])


def test_what_is_said_of_a_range_may_be_anything(origin: Origin) -> None:
    origin.add(SMALL, act.content_range(lambda start, last, total: f"bytes {start + 1}-{last}/{total * 2}"))
    seen = ask(origin, Range="bytes=5-9")
    assert (seen.values("Content-Range"), seen.body) == (["bytes 6-9/2000"], SMALL.content(5, 10))
    assert ask(origin).body == SMALL.content()
    origin.add(SMALL, act.content_range(lambda *_: None))
    assert ask(origin, Range="bytes=5-9").values("Content-Range") == []


@pytest.mark.parametrize("says_so", [True, False])
def test_another_part_comes_than_was_asked_for(origin: Origin, says_so: bool) -> None:
    origin.add(SMALL, act.another_part(100, says_so=says_so))
    seen = ask(origin, Range="bytes=5-9")
    assert seen.body == SMALL.content(105, 110)
    assert seen.values("Content-Range") == ["bytes 105-109/1000" if says_so else "bytes 5-9/1000"]


def test_a_part_in_several_parts_has_the_form_of_the_rfc(origin: Origin) -> None:
    origin.add(SMALL, act.multipart)
    seen = ask(origin, Range="bytes=5-9")
    assert seen.values("Content-Type") == ["multipart/byteranges; boundary=THIS_STRING_SEPARATES"]
    assert seen.values("Content-Length") == [str(len(seen.body))]
    assert seen.body.split(b"\r\n") == [
        b"",
        b"--THIS_STRING_SEPARATES",
        b"Content-Type: application/octet-stream",
        b"Content-Range: bytes 5-9/1000",
        b"",
        SMALL.content(5, 10),
        b"--THIS_STRING_SEPARATES--",
        b"",
    ]
    assert origin.settled().sent() == 5


@pytest.mark.parametrize("said", ["bytes */900", "bytes 1-2/3", None])
def test_every_range_can_be_called_unsatisfiable(origin: Origin, said: str | None) -> None:
    origin.add(SMALL, act.unsatisfiable(said))
    seen = ask(origin, Range="bytes=5-9")
    assert (seen.status[:3], seen.values("Content-Range")) == ("416", [] if said is None else [said])
    assert ask(origin).status == "200 OK"
    origin.add(SMALL, act.unsatisfiable(lambda start: f"bytes */{start}"))
    assert ask(origin, Range="bytes=5-9").values("Content-Range") == ["bytes */5"]


# -- how many bytes, and in which form ------------------------------------------------------------------------


def test_a_body_may_be_shorter_or_longer_than_its_range(origin: Origin) -> None:
    origin.add(SMALL, act.script(act.shorter(10), act.longer(10), act.longer(10, announced=False)))
    seen = [ask(origin, Range="bytes=500-") for _ in range(3)]
    assert [(len(one.body), one.values("Content-Length")) for one in seen] == [
        (490, ["490"]),
        (510, ["510"]),
        (510, ["500"]),
    ]
    assert {value for one in seen for value in one.values("Content-Range")} == {"bytes 500-999/1000"}
    assert seen[1].body[:500] == SMALL.content(500)
    assert origin.settled().sent() == 490 + 500 + 500


@pytest.mark.parametrize("values", [(), ("900",), ("1000", "1000"), ("1000", "900"), ("-1",)])
def test_a_length_may_be_missing_wrong_or_told_twice(origin: Origin, values: tuple[str, ...]) -> None:
    origin.add(SMALL, act.content_length(*values))
    seen = ask(origin)
    assert (seen.values("Content-Length"), seen.body) == (list(values), SMALL.content())


@pytest.mark.parametrize("range_", [None, "bytes=100-"])
def test_chunks_are_those_of_http(origin: Origin, range_: str | None) -> None:
    url = origin.add(SMALL, act.chunked(300))
    response = requests.get(url, headers={} if range_ is None else {"Range": range_})
    assert response.content == SMALL.content(0 if range_ is None else 100)
    assert "Content-Length" not in response.headers


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ("no end", b"\r\n"),
        ("bad size", SMALL.content(900) + b"\r\n0\r\n\r\n"),
        ("cut", SMALL.content(600, 750)),
    ],
)
def test_chunks_can_be_broken(origin: Origin, fault: str, end: bytes) -> None:
    url = origin.add(SMALL, act.chunked(300, fault))
    seen = ask(origin)
    assert seen.body.startswith(b"12c\r\n" + SMALL.content(0, 300) + b"\r\n")
    assert seen.body.endswith(end)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(url)


def test_a_compressed_file_says_so_and_is_the_file(origin: Origin) -> None:
    origin.add(SMALL, act.gzipped)
    seen = ask(origin)
    assert seen.values("Content-Encoding") == ["gzip"]
    assert gzip.decompress(seen.body) == SMALL.content()
    assert seen.values("Content-Length") == [str(len(seen.body))]


def test_any_header_may_say_anything(origin: Origin) -> None:
    origin.add(SMALL, act.said("ETag", '"x"', '"y"'), act.said("Accept-Ranges"))
    seen = ask(origin)
    assert (seen.values("ETag"), seen.values("Accept-Ranges")) == (['"x"', '"y"'], [])


# -- before the body ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_can_end_without_an_answer_or_within_the_head(origin: Origin, reset: bool) -> None:
    ended = "RST" if reset else "FIN"
    origin.add(SMALL, act.script(act.no_answer(reset=reset), act.cut_head(20, reset=reset)))
    assert raw(origin) == (b"", ended)
    assert raw(origin) == (b"HTTP/1.1 200 OK\r\nCon", ended)


def test_an_answer_may_come_late_or_byte_by_byte(origin: Origin) -> None:
    origin.add(SMALL, act.script(act.silence(0.2), act.dribbled(0.001)))
    for _ in range(2):
        before = time.monotonic()
        assert ask(origin).body == SMALL.content()
        assert time.monotonic() - before >= 0.2


@pytest.mark.parametrize("endless", [act.endless_headers, act.endless_line, act.endless_interim()])
def test_a_head_can_go_on_for_ever(origin: Origin, endless: Behaviour) -> None:
    origin.add(SMALL, endless)
    with socket.create_connection(("127.0.0.1", origin.port), timeout=20) as client:
        client.sendall(b"GET /model.bin HTTP/1.1\r\n\r\n")
        received = 0
        while received < 4 * MIB:
            data = client.recv(MIB)
            assert data
            received += len(data)
    wait_for(lambda: not any(thread.name == "origin-1" for thread in threading.enumerate()))


def test_interim_answers_can_come_slowly_for_ever(origin: Origin) -> None:
    origin.add(SMALL, act.endless_interim(0.01))
    with socket.create_connection(("127.0.0.1", origin.port), timeout=20) as client, client.makefile("rb") as lines:
        client.sendall(b"GET /model.bin HTTP/1.1\r\n\r\n")
        for _ in range(5):
            assert lines.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert lines.readline() == b"\r\n"


def test_it_may_speak_something_else(origin: Origin) -> None:
    url = origin.add(SMALL, act.garbage(b"220 ready\r\n"))
    assert raw(origin) == (b"220 ready\r\n", "FIN")
    with pytest.raises(requests.ConnectionError):
        requests.get(url)
    assert origin.exchanges()[0].status == 0


@pytest.mark.parametrize(
    ("greeting", "ended"), [(End.FIN, (b"", "FIN")), (End.RST, (b"", "RST")), (b"hello", (b"hello", "FIN"))]
)
def test_a_connection_can_be_ended_before_it_is_heard(greeting: End | bytes, ended: tuple[bytes, str]) -> None:
    with Origin(greeting=lambda number: greeting if number == 1 else None) as origin:
        origin.add(SMALL)
        assert greeted(origin) == ended
        assert ask(origin).body == SMALL.content()
        assert len(origin.requests()) == 1


def test_a_handshake_can_be_broken_off(tmp_path: Path) -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x28"  # fatal, handshake_failure (RFC 8446 §6)
    authority = Authority(tmp_path)
    with Origin(authority.context(), greeting={1: End.FIN, 2: alert}.get) as origin:
        url = origin.add(SMALL)
        trusting = ssl.create_default_context(cafile=str(authority.bundle))
        for _ in range(2):
            with (
                socket.create_connection(("127.0.0.1", origin.port), timeout=20) as client,
                pytest.raises((ssl.SSLError, ConnectionError)),
            ):
                trusting.wrap_socket(client, server_hostname="127.0.0.1")
        assert requests.get(url, verify=str(authority.bundle)).content == SMALL.content()


# -- elsewhere, and no ----------------------------------------------------------------------------------------


def test_one_is_sent_elsewhere_in_every_way(origin: Origin) -> None:
    origin.add(SMALL, path="/there/model")
    for location in (
        "/there/model",
        "there/model",
        origin.url("/there/model"),
        origin.url("/there/model", "localhost"),
    ):
        url = origin.add(FILE, act.redirect(location), path="/here")
        assert requests.get(url).content == SMALL.content()
    for status in ("301 Moved Permanently", "307 Temporary Redirect"):
        url = origin.add(FILE, act.redirect("/there/model", status), path="/here")
        assert [one.status_code for one in requests.get(url).history] == [int(status[:3])]


def test_redirects_come_in_chains_and_loops(origin: Origin) -> None:
    response = requests.get(origin.add(SMALL, act.chain(7)))
    assert (len(response.history), response.content) == (7, SMALL.content())
    with pytest.raises(requests.TooManyRedirects):
        requests.get(origin.add(SMALL, act.loop))


def test_a_signed_address_is_good_for_so_many_requests(origin: Origin) -> None:
    signatures = act.Signatures(uses=2)
    bare = origin.add(SMALL, signatures.required, path="/stored")
    url = origin.add(SMALL, act.redirect(signatures.sign(bare)))
    signed = requests.get(url).url
    assert signed.startswith(f"{bare}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=f00dfeed")
    assert [requests.get(signed).status_code for _ in range(2)] == [200, 403]
    assert requests.get(url).content == SMALL.content()
    assert requests.get(bare).status_code == 403
    assert (len(signatures.issued), signatures.refused) == (2, 2)


def test_a_signed_address_is_good_for_so_many_seconds(origin: Origin) -> None:
    signatures = act.Signatures(seconds=0.2)
    bare = origin.add(SMALL, signatures.required, path="/stored")
    signed = requests.get(origin.add(SMALL, act.redirect(signatures.sign(bare)))).url
    wait_for(lambda: requests.get(signed).status_code == 403)
    assert "AccessDenied" in requests.get(signed).text


def test_refusals_say_what_they_are_told_to(origin: Origin) -> None:
    origin.add(SMALL, act.refuse("429 Too Many Requests", retry_after=5, X_RateLimit_Reset="7"))
    seen = ask(origin)
    assert (seen.status, seen.values("Retry-After"), seen.values("X-RateLimit-Reset")) == (
        "429 Too Many Requests",
        ["5"],
        ["7"],
    )
    assert origin.settled().sent() == 0


def test_a_token_opens_what_needs_one(origin: Origin) -> None:
    url = origin.add(SMALL, act.needs_token("Bearer good"))
    assert requests.get(url, headers={"Authorization": "Bearer bad"}).status_code == 401
    assert requests.get(url, headers={"Authorization": "Bearer good"}).content == SMALL.content()


@pytest.mark.parametrize(
    ("behaviour", "content_type"),
    [
        (act.login_page, "text/html"),
        (act.disguised_page, "application/octet-stream"),
        (act.json_error, "application/json"),
    ],
)
def test_a_page_can_stand_in_for_the_file(origin: Origin, behaviour: Behaviour, content_type: str) -> None:
    origin.add(SMALL, behaviour)
    seen = ask(origin)
    assert seen.status == "200 OK"
    assert seen.values("Content-Type")[0].partition(";")[0] == content_type
    assert seen.values("Content-Length") == [str(len(seen.body))]
    assert seen.body[:1] in (b"<", b"{")


def test_an_answer_of_ones_own_goes_over_the_wire_as_it_is(origin: Origin) -> None:
    def own(request: Request, file: File, due: Answer) -> Answer:
        assert due == honest(request, file)
        body = (b"<", Span(file, 10, 20), Silence(0), b">")
        return Answer("299 Odd", (("X-A", "1"), ("X-A", "2")), body, End.FIN)

    origin.add(SMALL, own)
    assert raw(origin)[0] == b"HTTP/1.1 299 Odd\r\nX-A: 1\r\nX-A: 2\r\n\r\n<" + SMALL.content(10, 20) + b">"
