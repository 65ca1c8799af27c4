"""The benchmark of downloads tells what it measured, and who is missing; how fast anybody is, no test says."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
import requests

from sample_launcher.hub import Hub
from tests.bench import contenders, download, machine, measure, nginx, restart
from tests.bench.contenders import OURS, Contender, Job
from tests.bench.measure import Usage

PEER = Contender("peer", "a peer", lambda job: ["true"], goals=(("http", 0.5),))


def test_ratios_are_of_the_medians_of_our_time_and_theirs() -> None:
    """Whole commands, and the work alone; a program's work is its whole command. Of memory the most is told."""
    found = {
        "ours": [Usage(3.0, 1.0, 10 << 20, 2.0), Usage(1.0, 1.0, 30 << 20, 0.5), Usage(2.0, 4.0, 20 << 20, 1.0)],
        "peer": [Usage(4.0, 2.0, 5 << 20), Usage(5.0, 2.0, 5 << 20), Usage(3.0, 2.0, 5 << 20)],
    }
    _, ours, peer = download.table("http", 1 << 30, found, [OURS, PEER])
    assert ours.split()[-5:] == ["2.000", "1.000", "512", "1.00", "30.0"]
    assert " ".join(peer.split()) == "a peer 4.000 4.000 256 2.00 5.0 0.50 0.25 at most 0.50"
    assert "at most" not in download.table("https", 1 << 30, found, [OURS, PEER])[2]


def test_who_failed_is_not_in_the_table() -> None:
    """Neither does the table need our own runs."""
    assert len(download.table("http", 1 << 30, {"peer": [Usage(1.0, 1.0, 1)]}, [OURS, PEER])) == 2


def test_missing_peers_are_named_with_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program and a module that are not there, and what a peer cannot do."""
    peers = (
        Contender("one", "program one", lambda job: [], programs=("no-such-program",), install="apt install one"),
        Contender("two", "library two", lambda job: [], modules=("no_such_module",), install="pip install two"),
        Contender("three", "bare three", lambda job: [], speaks_tls=False),
    )
    monkeypatch.setattr(download, "PEERS", peers)
    present, absent = download.choose(["one", "two", "three"], "https")
    assert present == [OURS]
    assert absent == [
        "program one: not measured, no-such-program missing (apt install one)",
        "library two: not measured, no_such_module missing (pip install two)",
        "bare three: not measured, it cannot do HTTPS",
    ]
    assert [one.name for one in download.choose(["three"], "http")[0]] == ["ours", "three"]


def test_a_missing_nginx_is_named_with_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is served then."""
    monkeypatch.setattr(nginx, "program", lambda: None)
    with pytest.raises(nginx.NginxError, match=r"nginx is missing .*apt install"), nginx.serving(tmp_path, tmp_path):
        pytest.fail("it served")


@pytest.mark.skipif(nginx.program() is None, reason=nginx.MISSING)
def test_nginx_serves_the_file_in_three_ways_and_ends(tmp_path: Path) -> None:
    """Plain, over TLS with the certificate that is to be trusted, and with limited connections."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "model.bin").write_bytes(b"abc")
    with nginx.serving(served, tmp_path) as addresses:
        for base, trusted in ((addresses.http, True), (addresses.https, str(addresses.certificate))):
            assert requests.get(f"{base}model.bin", verify=trusted, timeout=10).content == b"abc"
        assert requests.get(f"{addresses.limited}model.bin", timeout=10).content == b"abc"
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{addresses.http}model.bin", timeout=10)


def test_rows_and_peers_can_be_chosen() -> None:
    """Everything by default; a peer that does not exist is refused."""
    given = download.parse(["--row", "http", "--peers", "curl,wget", "--size", "256M", "--runs", "2"])
    assert (given.row, given.peers, given.size, given.runs) == (["http"], ["curl", "wget"], 256 << 20, 2)
    assert download.parse([]).row == ["http", "https", "limited", "restart"]
    assert download.parse([]).peers == [peer.name for peer in contenders.PEERS]
    with pytest.raises(SystemExit):
        download.parse(["--peers", "carl"])
    with pytest.raises(argparse.ArgumentTypeError, match="'12Q' is no size"):
        download.size("12Q")


def test_the_machine_is_described() -> None:
    """The processor with its SHA instructions, on x86 and on ARM, and the file system of the longest mount point."""
    intel = "processor : 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sha_ni avx2\n"
    assert machine.processor(intel) == ("AMD EPYC", True)
    assert machine.processor(intel.replace("sha_ni ", ""))[1] is False
    assert machine.processor("Features : fp asimd sha1 sha2")[1] is True
    assert machine.processor("")[1] is None
    mounts = (
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:26 / /mnt/big\\040disk rw shared:2 - xfs /dev/sdb rw\n"
        "31 22 0:27 / /mnt/bi rw - tmpfs tmpfs rw\n"
    )
    assert machine.file_system(Path("/mnt/big disk/models"), mounts) == "xfs"
    assert machine.file_system(Path("/mnt/bigger"), mounts) == "ext4"
    assert machine.file_system(Path("/x"), "") == "unknown"


def test_a_command_that_fails_says_why() -> None:
    """Its status and what it said; one that does not exist as well."""
    failing = [sys.executable, "-c", "import sys; sys.exit('no such file')"]
    with pytest.raises(measure.CommandFailedError, match="exit status 1: no such file"):
        measure.run(failing, measure.environment())
    with pytest.raises(measure.CommandFailedError, match="exit status 127"):
        measure.run(["no-such-program"], measure.environment())


def test_the_resources_of_a_command_are_those_of_all_its_processes() -> None:
    """CPU time and memory of a child of the command count; memory of ours does not."""
    used = measure.run(["sh", "-c", f"{sys.executable} -S -c 'bytearray(100 << 20)'; true"], measure.environment())
    assert used.peak_rss > 100 << 20
    assert used.seconds > 0
    assert used.cpu_s > 0
    assert measure.floor() < 50 << 20


def test_our_own_run_downloads_the_file_and_tells_its_time(hub: Hub, tmp_path: Path) -> None:
    """The command that is measured is a real download."""
    url = hub.add_model("model.bin", 3 << 20)
    job = Job(url, tmp_path / "model.bin", hub.sha256("model.bin"), tmp_path)
    used = measure.run(OURS.command(job), measure.environment(**job.environ))
    assert job.destination.read_bytes() == hub.content("model.bin")
    assert used.inside is not None
    assert used.inside < used.seconds


def test_the_bare_splice_copies_every_byte(hub: Hub, tmp_path: Path) -> None:
    """The lower bound is of the same file."""
    [splice] = [peer for peer in contenders.PEERS if peer.name == "splice"]
    if splice.missing():
        pytest.skip("splice(2) is of Linux")
    job = Job(hub.add_model("model.bin", (3 << 20) + 17), tmp_path / "model.bin", "", tmp_path)
    measure.run(splice.command(job), measure.environment(**job.environ))
    assert job.destination.read_bytes() == hub.content("model.bin")


def test_the_server_of_restarts_notes_where_each_answer_begins(tmp_path: Path) -> None:
    """Whole, a range, and one that lies behind the end."""
    source = tmp_path / "source"
    source.write_bytes(b"0123456789")
    with restart.Site(source) as site:
        assert requests.get(site.url, timeout=10).content == b"0123456789"
        answer = requests.get(site.url, headers={"Range": "bytes=4-"}, timeout=10)
        assert (answer.status_code, answer.content) == (206, b"456789")
        assert answer.headers["Content-Range"] == "bytes 4-9/10"
        assert requests.get(site.url, headers={"Range": "bytes=2-3"}, timeout=10).content == b"23"
        assert requests.get(site.url, headers={"Range": "bytes=10-"}, timeout=10).status_code == 416
    assert [one.start for one in site.begun] == [0, 4, 2]
    assert site.sent == 18
