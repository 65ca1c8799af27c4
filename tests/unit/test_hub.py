"""The faulty model hub serves what it says, fails as it was told to, and counts what it sent."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

from launcher_recovery.transfer.content.recognising import refuse_what_is_no_file
from sample_launcher.hub import (
    Drop,
    EtagChange,
    Html,
    Hub,
    IgnoreRange,
    RateLimit,
    Slow,
    Stall,
    Status,
    WrongByte,
    faults,
)
from sample_launcher.hub.content import BLOCK

SIZE = 3 * BLOCK + 12_345


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_the_whole_file_is_what_its_sha256_says(hub: Hub) -> None:
    response = get(hub.add_model("m.pt", SIZE))
    assert response.status_code == 200
    assert len(response.content) == SIZE
    assert hashlib.sha256(response.content).hexdigest() == hub.sha256("m.pt")


def test_two_hubs_give_the_same_bytes_and_the_same_etag_for_one_name(hub: Hub) -> None:
    with Hub() as other:
        mine, its = get(hub.add_model("m.pt", SIZE)), get(other.add_model("m.pt", SIZE))
    assert mine.content == its.content
    assert mine.headers["ETag"] == its.headers["ETag"]


def test_models_of_different_names_and_blocks_of_one_model_differ(hub: Hub) -> None:
    a, b = get(hub.add_model("a", 2 * BLOCK)).content, get(hub.add_model("b", 2 * BLOCK)).content
    assert a != b
    assert a[:BLOCK] != a[BLOCK:]


def test_a_safetensors_model_has_a_header_that_describes_it(hub: Hub) -> None:
    data = get(hub.add_model("m.safetensors", SIZE)).content
    refuse_what_is_no_file(data, content_type=None, name="m.safetensors", size=SIZE, where=hub.url)
    assert get(f"{hub.url}/models/m.safetensors", Range="bytes=100-199").content == data[100:200]
    assert hub.sha256("m.safetensors") == hashlib.sha256(data).hexdigest()


def test_a_huge_model_is_read_at_its_far_end_without_its_beginning(hub: Hub) -> None:
    size = 60_000_000_000
    response = get(hub.add_model("huge", size), Range="bytes=-10")
    assert response.status_code == 206
    assert response.headers["Content-Range"] == f"bytes {size - 10}-{size - 1}/{size}"
    assert response.content == hub.content("huge", size - 10)


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
        (f"bytes={BLOCK - 3}-{BLOCK + 3}", BLOCK - 3, BLOCK + 4),
        (f"bytes=9-{SIZE * 2}", 9, SIZE),
    ],
)
def test_a_range_is_answered_with_exactly_that_part(hub: Hub, header: str, start: int, end: int) -> None:
    response = get(hub.add_model("m.pt", SIZE), Range=header)
    assert response.status_code == 206
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response.headers["Content-Length"] == str(end - start)
    assert response.content == hub.content("m.pt", start, end - start)


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
def test_a_range_outside_of_the_file_is_answered_with_416(hub: Hub, header: str) -> None:
    response = get(hub.add_model("m.pt", SIZE), Range=header)
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("header", ["bytes=5-4", "bytes=-", "bytes=0-1,4-5", "lines=1-2", "nonsense"])
def test_what_is_no_single_byte_range_is_ignored(hub: Hub, header: str) -> None:
    response = get(hub.add_model("m.pt", 100), Range=header)
    assert (response.status_code, len(response.content)) == (200, 100)


def test_if_range_gives_the_part_only_while_the_file_is_the_same(hub: Hub) -> None:
    url = hub.add_model("m.pt", 100)
    head = requests.head(url).headers
    for good in (head["ETag"], head["Last-Modified"]):
        assert get(url, Range="bytes=9-", If_Range=good).status_code == 206
    for stale in ('"other"', "Thu, 01 Jan 2015 00:00:00 GMT", "W/" + head["ETag"]):
        assert get(url, Range="bytes=9-", If_Range=stale).status_code == 200


def test_head_has_every_header_no_body_and_takes_no_fault(hub: Hub) -> None:
    url = hub.add_model("m.pt", SIZE, [Status(status=500)])
    response = requests.head(url)
    assert response.status_code == 200
    assert response.headers["Content-Length"] == str(SIZE)
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["ETag"].startswith('"')
    assert "Last-Modified" in response.headers
    assert get(url).status_code == 500


def test_many_requests_use_one_connection(hub: Hub) -> None:
    hub.add_model("m.pt", 100)
    connection = http.client.HTTPConnection("127.0.0.1", hub.port)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", "/models/m.pt")
        assert connection.getresponse().read() == hub.content("m.pt")
    assert connection.sock is first
    connection.close()


def drain(response: requests.Response, received: bytearray) -> None:
    for chunk in response.iter_content(1000):
        received += chunk


@pytest.mark.parametrize("reset", [False, True])
def test_drop_ends_the_connection_after_that_many_bytes(hub: Hub, reset: bool) -> None:
    after = BLOCK + 17
    url = hub.add_model("m.pt", SIZE, [Drop(after=after, reset=reset)])
    received = bytearray()
    with requests.get(url, stream=True) as response, pytest.raises(requests.RequestException):
        drain(response, received)
    assert len(received) <= after
    # After a reset the kernel throws away what the client has not read yet.
    assert reset or len(received) > after - 1000
    assert bytes(received) == hub.content("m.pt", 0, len(received))
    assert hub.stats("m.pt")["requests"][0]["sent"] == after
    assert get(url).content == hub.content("m.pt")


def test_drop_counts_from_the_start_of_the_response_not_of_the_file(hub: Hub) -> None:
    url = hub.add_model("m.pt", SIZE, [Drop(after=10)])
    with pytest.raises(requests.RequestException):
        get(url, Range="bytes=1000-")
    assert hub.stats("m.pt")["bytes_sent"] == 10


@pytest.mark.parametrize(
    ("fault", "status", "retry_after"),
    [
        (Status(), 503, None),
        (Status(status=404), 404, None),
        (Status(status=503, retry_after=3), 503, "3"),
        (Status(retry_after="Fri, 01 Jan 2027 00:00:00 GMT"), 503, "Fri, 01 Jan 2027 00:00:00 GMT"),
        (RateLimit(retry_after=0), 429, "0"),
    ],
)
def test_an_error_status_carries_its_retry_after(hub: Hub, fault: Any, status: int, retry_after: str | None) -> None:
    url = hub.add_model("m.pt", 100, [fault])
    response = get(url)
    assert (response.status_code, response.headers.get("Retry-After")) == (status, retry_after)
    assert hub.stats("m.pt")["bytes_sent"] == 0
    assert get(url).status_code == 200


def test_stall_sends_some_bytes_and_then_says_nothing(hub: Hub) -> None:
    url = hub.add_model("m.pt", SIZE, [Stall(after=1000, seconds=600)])
    with requests.get(url, stream=True, timeout=(5, 0.3)) as response:
        assert response.raw.read(1000) == hub.content("m.pt", 0, 1000)
        with pytest.raises(Exception, match="timed out"):
            response.raw.read(1)
    assert hub.stats("m.pt")["bytes_sent"] == 1000


def test_stall_closes_the_connection_in_the_end(hub: Hub) -> None:
    url = hub.add_model("m.pt", SIZE, [Stall(after=1000, seconds=0.05)])
    with pytest.raises(requests.RequestException, match="IncompleteRead"):
        get(url)


@pytest.mark.parametrize("header", ["", f"bytes={BLOCK}-"])
def test_wrong_byte_flips_one_byte_at_its_absolute_offset(hub: Hub, header: str) -> None:
    at = BLOCK + 5
    url = hub.add_model("m.pt", SIZE, [WrongByte(at=at)])
    start = BLOCK if header else 0
    wrong = get(url, **({"Range": header} if header else {})).content
    right = hub.content("m.pt", start)
    assert [number + start for number, pair in enumerate(zip(wrong, right, strict=True)) if pair[0] != pair[1]] == [at]
    assert wrong[at - start] == right[at - start] ^ 0xFF


def test_ignore_range_answers_with_the_whole_file(hub: Hub) -> None:
    url = hub.add_model("m.pt", 100, [IgnoreRange()])
    response = get(url, Range="bytes=50-")
    assert (response.status_code, response.content) == (200, hub.content("m.pt"))
    assert get(url, Range="bytes=50-").status_code == 206


def test_etag_change_puts_another_file_in_place_from_then_on(hub: Hub) -> None:
    url = hub.add_model("m.pt", 100, [EtagChange()])
    before, sha256, content = requests.head(url).headers, hub.sha256("m.pt"), hub.content("m.pt")
    response = get(url, Range="bytes=50-", If_Range=before["ETag"])
    assert response.status_code == 200
    assert response.headers["ETag"] != before["ETag"]
    assert response.headers["Last-Modified"] != before["Last-Modified"]
    assert hub.sha256("m.pt") != sha256
    assert response.content == hub.content("m.pt") != content
    assert requests.head(url).headers["ETag"] == response.headers["ETag"]


def test_html_answers_with_a_login_page(hub: Hub) -> None:
    response = get(hub.add_model("m.pt", 100, [Html()]))
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert b"log in" in response.content


@pytest.mark.parametrize(("faults_", "rate"), [([Slow(rate=100_000)], None), ([], 100_000)])
def test_a_slow_response_has_sent_little_when_little_has_arrived(
    hub: Hub, faults_: list[Any], rate: int | None
) -> None:
    url = hub.add_model("m.pt", SIZE, faults_, rate)
    with requests.get(url, stream=True) as response:
        response.raw.read(4000)
        assert hub.stats("m.pt")["bytes_sent"] < SIZE // 2


def test_a_client_that_stops_reading_stops_the_count(hub: Hub) -> None:
    size = 200 << 20
    url = hub.add_model("m.pt", size)
    with requests.get(url, stream=True) as response:
        response.raw.read(1000)
        assert hub.stats("m.pt")["bytes_sent"] < size // 2


def test_faults_are_taken_in_order_as_often_as_they_say(hub: Hub) -> None:
    url = hub.add_model("m.pt", 100, [Status(status=500, times=2), RateLimit(retry_after=None)])
    assert [get(url).status_code for _ in range(4)] == [500, 500, 429, 200]
    kinds = [request["fault"] for request in hub.stats("m.pt")["requests"]]
    assert kinds == ["status", "status", "rate_limit", None]


def test_requests_are_remembered_with_method_range_status_and_bytes(hub: Hub) -> None:
    url = hub.add_model("m.pt", 100)
    requests.head(url)
    get(url, Range="bytes=90-")
    assert hub.stats("m.pt") == {
        "bytes_sent": 10,
        "requests": [
            {"method": "HEAD", "range": None, "status": 200, "sent": 0, "fault": None},
            {"method": "GET", "range": "bytes=90-", "status": 206, "sent": 10, "fault": None},
        ],
    }


def test_concurrent_requests_are_all_counted(hub: Hub) -> None:
    url = hub.add_model("m.pt", BLOCK)
    threads = [threading.Thread(target=get, args=(url,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hub.stats("m.pt")["bytes_sent"] == 8 * BLOCK


def test_reset_clears_the_counts_and_arms_the_faults_again(hub: Hub) -> None:
    url = hub.add_model("m.pt", 100, [Status(), EtagChange()])
    etag = requests.head(url).headers["ETag"]
    assert [get(url).status_code for _ in range(2)] == [503, 200]
    assert requests.post(f"{hub.url}/_hub/reset").json() == {"reset": True}
    assert hub.stats("m.pt") == {"bytes_sent": 0, "requests": []}
    assert requests.head(url).headers["ETag"] == etag
    assert get(url).status_code == 503


def test_every_fault_survives_its_json_form() -> None:
    for fault in (
        Drop(after=1, reset=True),
        Status(retry_after=2),
        Stall(after=1, seconds=0.5),
        WrongByte(at=3),
        IgnoreRange(times=2),
        EtagChange(),
        RateLimit(),
        Html(),
        Slow(rate=9),
    ):
        assert faults.from_json(faults.to_json(fault)) == fault


def test_models_can_be_registered_and_read_over_http(hub: Hub) -> None:
    where = f"{hub.url}/_hub/models/new.pt"
    fault = {"kind": "drop", "after": 10, "times": 1}
    assert requests.put(where, json={"size": 100, "faults": [fault], "rate": None}).status_code == 201
    assert requests.put(where, json={"size": 200, "faults": [fault]}).status_code == 200
    listed = requests.get(f"{hub.url}/_hub/models").json()["models"]
    assert listed == [
        {"name": "new.pt", "size": 200, "rate": None, "sha256": hub.sha256("new.pt"), "url": listed[0]["url"]}
    ]
    assert requests.get(where).json() == listed[0]
    with pytest.raises(requests.RequestException):
        get(listed[0]["url"])
    stats = requests.get(f"{hub.url}/_hub/stats/new.pt").json()
    assert stats["bytes_sent"] == 10
    everything = requests.get(f"{hub.url}/_hub/stats").json()
    assert everything["hub"] == "sample_launcher"
    assert everything["models"]["new.pt"] == stats


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("m.pt", {}, "'size' is None"),
        ("m.pt", {"size": -1}, "'size' is -1"),
        ("m.pt", {"size": True}, "'size' is True"),
        ("m.pt", {"size": 1, "rate": 0}, "'rate' is 0"),
        ("m.pt", {"size": 1, "extra": 1}, "no field 'extra'"),
        ("m.pt", {"size": 1, "faults": {}}, "must be a list"),
        ("m.pt", {"size": 1, "faults": [{"kind": "explode"}]}, "no fault 'explode'"),
        ("m.pt", {"size": 1, "faults": [{"kind": "drop"}]}, "needs the field 'after'"),
        ("m.pt", {"size": 1, "faults": [{"kind": "drop", "after": -1}]}, "after=-1"),
        ("m.pt", {"size": 1, "faults": [{"kind": "html", "after": 1}]}, "no field 'after'"),
        ("m.pt", {"size": 1, "faults": [{"kind": "html", "times": 0}]}, "times=0"),
        ("m.pt", {"size": 1, "faults": [{"kind": "status", "status": 200}]}, "status=200"),
        ("m.pt", {"size": 1, "faults": [{"kind": "status", "retry_after": "a\nb"}]}, "retry_after"),
        ("m.pt", {"size": 1, "faults": 5}, "must be a list"),
        ("m.pt", [1], "must be a JSON object"),
        ("..", {"size": 1}, "cannot be named"),
    ],
)
def test_bad_registrations_are_refused_with_a_sentence(hub: Hub, name: str, body: Any, words: str) -> None:
    quoted = name.replace(".", "%2E") if name == ".." else name
    connection = http.client.HTTPConnection("127.0.0.1", hub.port)
    connection.request("PUT", f"/_hub/models/{quoted}", json.dumps(body))
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == 422
    assert words in answer["error"]
    assert hub.shelf.models() == []


def test_what_is_not_json_or_not_there_is_refused(hub: Hub) -> None:
    assert requests.put(f"{hub.url}/_hub/models/m.pt", data="{").status_code == 400
    assert requests.get(f"{hub.url}/_hub/nothing").status_code == 404
    assert requests.get(f"{hub.url}/_hub/stats/nothing").status_code == 404
    assert requests.get(f"{hub.url}/models/nothing").status_code == 404
    assert requests.get(f"{hub.url}/elsewhere").status_code == 404


def test_a_page_of_another_site_cannot_end_the_hub(hub: Hub) -> None:
    where = f"{hub.url}/_hub/shutdown"
    assert requests.post(where, headers={"Origin": "http://example.com"}).status_code == 403
    assert not hub.ended.is_set()
    assert requests.post(where).status_code == 200
    assert hub.ended.is_set()


def test_a_hub_whose_parent_lives_is_not_adopted(hub: Hub) -> None:
    assert requests.post(f"{hub.url}/_hub/adopt", json={"pid": os.getpid()}).json() == {"adopted": False}


def test_the_demo_node_is_cloned_with_real_git(hub: Hub, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", "--", hub.node_url, str(tmp_path / "node")], check=True)
    assert "NODE_CLASS_MAPPINGS" in (tmp_path / "node" / "__init__.py").read_text()
    assert f"--index-url {hub.index_url}\n" in (tmp_path / "node" / "requirements.txt").read_text()
    subprocess.run(["git", "checkout", "--quiet", "v1.0.0"], cwd=tmp_path / "node", check=True)
    assert not (tmp_path / "node" / "README.md").exists()


def test_faults_can_be_armed_for_the_path_of_a_repository(hub: Hub, tmp_path: Path) -> None:
    path = "/git/demo-node.git/info/refs"
    armed = {"path": path, "faults": [{"kind": "status", "status": 503}]}
    assert requests.put(f"{hub.url}/_hub/faults", json=armed).status_code == 200
    command = ["git", "clone", "--", hub.node_url, str(tmp_path / "node")]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode != 0
    assert "503" in failed.stderr
    subprocess.run(command, check=True, capture_output=True)
    assert [one["status"] for one in hub.stats(path)["requests"]] == [503, 200]
    assert requests.get(f"{hub.url}/_hub/stats{path}").json() == hub.stats(path)


@pytest.mark.parametrize("path", ["", "/_hub/stats", 5, None])
def test_faults_are_armed_for_paths_only(hub: Hub, path: object) -> None:
    answer = requests.put(f"{hub.url}/_hub/faults", json={"path": path, "faults": []})
    assert answer.status_code == 422


def test_nothing_outside_of_the_site_is_served(hub: Hub) -> None:
    for path in ("/git/../../etc/passwd", "/git/%2e%2e/%2e%2e/etc/passwd", "/git/..%5cx", "/git/", "/git//x"):
        connection = http.client.HTTPConnection("127.0.0.1", hub.port)
        connection.request("GET", path)
        assert connection.getresponse().status == 404
        connection.close()


def test_the_index_has_a_wheel_with_the_hash_it_names(hub: Hub) -> None:
    page = get(f"{hub.index_url}demo-node-helper/").text
    link = page.split('href="')[1].split('"')[0]
    name, digest = link.split("#sha256=")
    wheel = get(f"{hub.index_url}demo-node-helper/{name}").content
    assert hashlib.sha256(wheel).hexdigest() == digest
    assert zipfile.ZipFile(io.BytesIO(wheel)).testzip() is None


def test_pip_installs_the_helper_from_the_index(hub: Hub, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path / "to")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run(
        [*command, "--index-url", hub.index_url, "demo-node-helper==1.0.0"],
        check=True,
        env={**environment, "PIP_CONFIG_FILE": os.devnull},
    )
    assert (tmp_path / "to" / "demo_node_helper" / "__init__.py").exists()


def test_the_demo_model_fails_in_the_order_that_the_demo_shows(hub: Hub) -> None:
    assert hub.add_demo_model() == f"{hub.url}/models/demo-model.safetensors"
    listed = requests.get(f"{hub.url}/_hub/models").json()["models"][0]
    assert (listed["size"], listed["rate"]) == (268_435_456, 24_000_000)
    assert [fault.kind for fault in hub.shelf.armed("/models/demo-model.safetensors")] == [
        "drop",
        "status",
        "drop",
    ]


def test_a_port_in_use_is_told_in_one_sentence_with_exit_code_2(hub: Hub) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "sample_launcher.hub", "--port", str(hub.port)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert f"Port {hub.port} cannot be used" in ended.stderr
