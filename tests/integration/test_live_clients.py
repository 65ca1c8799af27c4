"""Clients of live events: what each of them hears, who may, how many WebSockets there are, and who falls behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import socketio
from flask_socketio import SocketIO
from socketio.exceptions import ConnectionError as NotConnected

from launcher_recovery.signals import Event
from launcher_recovery.web.live import audience
from launcher_recovery.web.live.bridge import Live
from launcher_recovery.web.security import Gate, sockets
from launcher_recovery.web.security.rates import RateLimit
from tests.live import Client, Server
from tests.support import recovery_threads, wait_for

TOKEN = "kestrel-over-the-9-hills"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    monkeypatch.setattr("launcher_recovery.persistence.outbox._WAIT_S", 0.05)
    running: list[Server] = []

    def begin(**options: Any) -> Server:
        running.append(Server(tmp_path / f"{len(running)}.db", **options))
        return running[-1]

    yield begin
    for server in running:
        server.close()


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


def heard(client: Client) -> set[str]:
    """The titles of operations that a client was told of."""
    return {data["title"] for data in client.of("recovery_update")}


def completed(client: Client) -> set[str]:
    return {data["operation_id"] for data in client.of("recovery_completed")}


# -- rooms --------------------------------------------------------------------------------------------


def test_a_client_hears_of_what_it_has_named_alone(server: Server) -> None:
    whole = server.integrator.lifecycle.open(
        "launcher_create_project", (), {}, kind="create_project", project="p", title="p"
    )
    everything, unasked, of_whole, of_project = (server.connect() for _ in range(4))
    since = server.integrator.persistence.event_range()[1]
    for client, named in (
        (everything, {}),
        (of_whole, {"operation_id": whole.operation_id}),
        (of_project, {"project": "q"}),
    ):
        assert client.subscribe({"since": since, **named})["reset"] is False
    part = server.run(project=None, parent_id=whole.operation_id, title="part")
    alone = server.run(project="q", title="alone")
    third = server.run(project="r", title="third")
    for client in (everything, unasked):
        wait_for(lambda client=client: third.operation_id in completed(client))
        assert heard(client) == {"part", "alone", "third"}
    wait_for(lambda: completed(of_whole) and completed(of_project))
    assert (heard(of_whole), completed(of_whole)) == ({"part"}, {part.operation_id})
    assert (heard(of_project), completed(of_project)) == ({"alone"}, {alone.operation_id})
    # What was missed is given the same way.
    assert {event["data"]["operation_id"] for event in of_project.subscribe({"since": since})["events"]} == {
        data.operation_id for data in (part, alone, third)
    }


def test_a_client_may_name_several_and_everything_again(server: Server) -> None:
    client, last = server.connect(), server.connect()
    client.subscribe({"since": 0, "project": "p"})
    client.subscribe({"since": 0, "project": "q"})
    names = ("p", "q", "r")
    for name in names:
        server.run(project=name, title=name)
    wait_for(lambda: len(last.of("recovery_completed")) == 3 and len(client.of("recovery_completed")) == 2)
    assert heard(client) == {"p", "q"}
    missed = client.subscribe({"since": 0, "project": "p"})["events"]
    assert {item["data"].get("project", "p") for item in missed} == {"p", "q"}
    client.subscribe({"since": 0})
    again = server.run(project="r", title="again")
    wait_for(lambda: again.operation_id in completed(client))


def test_breakers_are_everybodys_business(server: Server) -> None:
    client = server.connect()
    client.subscribe({"since": 0, "project": "another"})
    server.run(failures=2)
    wait_for(lambda: client.of("circuit_breaker_update"))
    assert not client.of("recovery_update")


@pytest.mark.parametrize("value", [5, "x" * 501, ["p"], {}, True])
@pytest.mark.parametrize("name", ["operation_id", "project"])
def test_a_name_that_is_none_is_told(server: Server, name: str, value: Any) -> None:
    answer = server.connect().subscribe({"since": 0, name: value})
    assert answer == {"error": f"subscribe_recovery takes a text of at most 500 characters as {name}"}


def test_the_number_of_names_is_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "MAX_ROOMS", 3)
    client = server.connect()
    assert client.subscribe({"since": 0, "project": "a", "operation_id": "1"})["reset"] is False
    assert client.subscribe({"since": 0, "project": "b"})["reset"] is False
    assert "at most" in client.subscribe({"since": 0, "project": "c"})["error"]
    assert client.subscribe({"since": 0, "project": "b"})["reset"] is False


# -- the token ----------------------------------------------------------------------------------------


def session(server: Server) -> dict[str, str]:
    """The cookie of a browser that has logged in."""
    form = {"data": {"token": TOKEN}, "headers": {"Origin": server.url}, "allow_redirects": False}
    answer = requests.post(f"{server.url}/recovery/login", timeout=20, **form)
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in answer.cookies.items())}


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_with_a_token_only_those_hear_who_show_it(start: Callable[..., Server], transport: str) -> None:
    server = start(api_token=TOKEN)
    without = server.connect(transport)
    showing = [
        server.connect(transport, **BEARER),
        server.connect(transport, auth={"token": TOKEN}),
        server.connect(transport, **session(server)),
    ]
    server.run()
    for client in showing:
        wait_for(lambda client=client: client.of("recovery_completed"))
        assert client.subscribe({"since": 0})["events"]
    assert without.subscribe({"since": 0}) == {"error": "subscribe_recovery needs the token of RECOVERY_API_TOKEN"}
    assert without.events == []


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_who_logs_out_hears_nothing_more_and_others_do(start: Callable[..., Server], transport: str) -> None:
    server = start(api_token=TOKEN)
    own, other = session(server), session(server)
    leaving, staying = server.connect(transport, **own), server.connect(transport, **other)
    headers = {"Origin": server.url, **own}
    requests.post(f"{server.url}/recovery/logout", headers=headers, timeout=20, allow_redirects=False)
    wait_for(lambda: not leaving.socket.connected)
    server.run()
    wait_for(lambda: staying.of("recovery_completed"))
    assert leaving.of("recovery_completed") == []


@pytest.mark.parametrize("auth", [{"token": TOKEN[:-1]}, {"token": ""}, {"token": ["x"]}])
def test_a_wrong_token_is_refused(start: Callable[..., Server], auth: Any) -> None:
    server = start(api_token=TOKEN)
    with pytest.raises(NotConnected):
        server.connect(auth=auth)


def test_the_events_of_the_launcher_itself_stay_open_and_its_handler_is_called(start: Callable[..., Server]) -> None:
    met: list[Any] = []

    def prepare(socketio: SocketIO) -> None:
        socketio.on("connect")(lambda auth=None: met.append(auth))

    server = start(api_token=TOKEN, prepare=prepare)
    told: list[Any] = []
    client = server.connect()
    client.socket.on("projects_changed", told.append)
    server.connect(auth={"token": TOKEN})
    server.socketio.emit("projects_changed", {"id": "p"})
    wait_for(lambda: told)
    assert met == [None, {"token": TOKEN}]


def test_a_handler_of_the_launcher_that_comes_later_opens_nothing(start: Callable[..., Server]) -> None:
    server = start(api_token=TOKEN)
    server.socketio.on("connect")(lambda auth=None: None)
    without, showing = server.connect(), server.connect(**BEARER)
    server.run()
    wait_for(lambda: showing.of("recovery_completed"))
    assert without.events == []
    assert "error" in without.subscribe({"since": 0})


def test_where_all_events_are_ours_nobody_without_it_is_connected(start: Callable[..., Server]) -> None:
    server = start(api_token=TOKEN)
    own = socketio.Server(async_mode="threading")
    holder = type("Holder", (), {"server": own})
    Live(server.integrator, holder, Gate(server.integrator.config, server.integrator.clock), is_ours=True).attach()
    connect = own.handlers["/"]["connect"]
    with pytest.raises(socketio.exceptions.ConnectionRefusedError):
        connect("sid", {}, None)
    assert connect("sid", {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}, None) is None


# -- how many -----------------------------------------------------------------------------------------


def test_beyond_a_number_of_websockets_clients_stay_with_polling(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MAX_WEBSOCKETS", 2)
    polling = server.connect("polling")
    first, second = server.connect("websocket"), server.connect("polling", "websocket")
    assert [client.socket.transport() for client in (first, second)] == ["websocket", "websocket"]
    with pytest.raises(NotConnected):
        server.connect("websocket")
    third = server.connect("polling", "websocket")
    assert third.socket.transport() == "polling"
    server.run()
    for client in (polling, first, second, third):
        wait_for(lambda client=client: client.of("recovery_completed"))
    first.leave()

    def again() -> Client | None:
        try:
            return server.connect("websocket")
        except NotConnected:
            return None

    assert wait_for(again, pause_s=0.2).socket.transport() == "websocket"


# -- who falls behind ---------------------------------------------------------------------------------


class Sleeper:
    """A polling client that has connected, and fetches nothing until it is asked to."""

    def __init__(self, server: Server) -> None:
        self._path = f"{server.url}/socket.io/?EIO=4&transport=polling"
        self.sid = json.loads(self._get()[0][1:])["sid"]
        self._path += f"&sid={self.sid}"
        assert requests.post(self._path, data="40", timeout=20).text == "OK"
        assert self._get()[0].startswith("40")
        self._server = server.socketio.server

    @property
    def queued(self) -> int:
        """Packets that wait for it."""
        socket = self._server.eio.sockets.get(self.sid)
        return 0 if socket is None else socket.queue.qsize()

    def _get(self) -> list[str]:
        answer = requests.get(self._path, timeout=40)
        assert answer.status_code == 200, answer.text
        return answer.text.split("\x1e")

    def fetch(self) -> list[dict[str, Any]]:
        """The events that wait for it; at least one."""
        return [json.loads(packet[2:])[1] for packet in self._get() if packet.startswith("42")]

    def is_gone(self) -> bool:
        return requests.get(self._path, timeout=40).status_code == 400


def update(seq: int, operation: str, done: int) -> Event:
    payload = {"operation_id": operation, "state": f"state {done}", "progress": {"done": done}}
    return Event(seq, "recovery_update", payload)


def forward(server: Server, events: Iterator[Event]) -> None:
    (bridge,) = [
        one.__self__ for one in server.integrator.tail._subscribers if isinstance(getattr(one, "__self__", None), Live)
    ]
    for event in events:
        bridge.forward(event)


def kept_up(awake: Client, events: Iterator[Event]) -> Iterator[Event]:
    """The events no faster than one client fetches them."""
    for number, event in enumerate(events, 1):
        yield event
        if number % 25 == 0:
            wait_for(lambda number=number: len(awake.events) >= number)


def test_one_that_falls_behind_gets_the_latest_state_of_each_operation(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "MAX_QUEUED", 100)
    sleeper, awake = Sleeper(server), server.connect()
    names = ["a", "b", "c"]
    last = 400
    forward(server, kept_up(awake, (update(seq, names[seq % 3], seq) for seq in range(1, last + 1))))
    assert sleeper.queued == audience.MAX_QUEUED
    found: list[dict[str, Any]] = []
    while not found or found[-1]["seq"] < last:
        found += sleeper.fetch()
    numbers = [item["seq"] for item in found]
    assert numbers == [*range(1, audience.MAX_QUEUED + 1), *range(last - 2, last + 1)]
    # Those that keep up have missed nothing, and it is one of them again.
    wait_for(lambda: len(awake.events) == last)
    forward(server, iter([update(last + 1, "a", 1)]))
    assert [item["seq"] for item in sleeper.fetch()] == [last + 1]
    wait_for(lambda: "recovery-live" not in recovery_threads())


def test_one_that_never_fetches_costs_little_and_is_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "MAX_QUEUED", 100)
    monkeypatch.setattr(audience, "MAX_KEPT", 20)
    sleeper, awake = Sleeper(server), server.connect()
    counted = []

    def events() -> Iterator[Event]:
        for seq in range(1, 501):
            counted.append(sleeper.queued)
            yield update(seq, f"operation {seq}", seq)

    forward(server, kept_up(awake, events()))
    assert max(counted) <= audience.MAX_QUEUED + 2  # and the two packets that close it
    wait_for(sleeper.is_gone, pause_s=0.1)
    wait_for(lambda: len(awake.events) == 500)


def test_one_that_is_behind_is_told_to_fetch_the_list_instead_of_what_it_missed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.run()
    client = server.connect()
    monkeypatch.setattr(audience.Audience, "_queued", lambda self, eio_sid: audience.MAX_QUEUED)
    assert client.subscribe({"since": 0})["reset"] is True
    monkeypatch.undo()
    assert client.subscribe({"since": 0})["reset"] is False


def test_progress_that_comes_too_often_is_told_in_the_end(server: Server) -> None:
    client = server.connect()

    def progress(seq: int) -> Event:
        payload = {"operation_id": "a", "state": "in_progress", "progress": {"done": seq}, "updated_at": str(seq)}
        return Event(seq, "recovery_update", payload)

    forward(server, map(progress, range(1, 51)))
    wait_for(lambda: client.events and client.events[-1][1]["seq"] == 50)
    assert len(client.events) < 50
    wait_for(lambda: "recovery-live" not in recovery_threads())


def test_handshakes_count_as_requests_of_a_peer_and_open_sessions_do_not(server: Server) -> None:
    client = server.connect("polling")
    server.gate.rates = RateLimit(lambda: 0.0, burst=3)
    path = f"{server.url}/socket.io/?EIO=4&transport=polling"
    statuses = [requests.get(path, timeout=20).status_code for _ in range(5)]
    assert statuses == [200] * 3 + [429] * 2
    server.run()
    wait_for(lambda: client.of("recovery_completed"))
