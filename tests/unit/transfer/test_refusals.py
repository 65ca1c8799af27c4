"""A server that refuses: one behind a redirect is asked once more by way of the first one, which is believed."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.records import RecoveryState
from tests.origin import File, Origin
from tests.origin import behaviours as act
from tests.transfers import Downloads

MIB = 1 << 20
FILE = File(4 * MIB)
REFUSALS = ("401 Unauthorized", "403 Forbidden")


@pytest.mark.parametrize("status", REFUSALS)
def test_a_store_that_refuses_is_asked_by_way_of_the_address_once_more(tmp_path: Path, status: str) -> None:
    """A redirect may come out of a cache, with a signature that is over."""
    downloads = Downloads(MemoryPersistence())
    with Origin() as origin, Origin() as store:
        there = store.add(FILE, act.script(act.refuse(status)), path="/stored")
        url = origin.add(FILE, act.redirect(there))
        downloads(url, tmp_path / "model.bin")
        assert (len(origin.requests()), len(store.requests())) == (2, 2)
    assert downloads.outcomes == [("success", None)]
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()


@pytest.mark.parametrize("status", REFUSALS)
def test_a_store_that_goes_on_refusing_is_believed(tmp_path: Path, status: str) -> None:
    downloads = Downloads(MemoryPersistence())
    with Origin() as origin, Origin() as store:
        url = origin.add(FILE, act.redirect(store.add(FILE, act.refuse(status), path="/stored")))
        with pytest.raises(requests.HTTPError, match=status[:3]):
            downloads(url, tmp_path / "model.bin")
        assert (len(origin.requests()), len(store.requests())) == (2, 2)
    assert len(downloads.attempts) == 1
    assert downloads.record.state is RecoveryState.FAILED


def test_a_signature_that_is_over_in_the_middle_is_followed_by_a_new_one(tmp_path: Path) -> None:
    """Each is good for one request; the connection breaks three times."""
    signatures = act.Signatures(uses=1)
    with Origin() as origin, Origin() as store:
        drops = act.drops(MIB, 2 * MIB, 3 * MIB)
        bare = store.add(FILE, signatures.required, drops, path="/stored")
        downloads = Downloads(MemoryPersistence())
        downloads(origin.add(FILE, act.redirect(signatures.sign(bare))), tmp_path / "model.bin")
        assert store.settled().sent() == FILE.size
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("is_redirected", [False, True])
def test_the_address_itself_is_believed_at_once(tmp_path: Path, status: str, is_redirected: bool) -> None:
    """Also where it leads from one path to another: a token is needed, or a licence is to be accepted."""
    downloads = Downloads(MemoryPersistence())
    with Origin() as origin:
        url = origin.add(FILE, act.refuse(status), path="/refused")
        if is_redirected:
            url = origin.add(FILE, act.redirect("/refused"))
        with pytest.raises(requests.HTTPError, match=status[:3]):
            downloads(url, tmp_path / "model.bin")
        assert len(origin.requests("/refused")) == 1
    record = downloads.record
    assert (record.state, record.fix) == (RecoveryState.FAILED, "add_token")
    assert len(downloads.attempts) == 1


# -- redirects that lead nowhere ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        "http://[",
        "//[::1/x",
        "http://127.0.0.1:99999/x",
        "http://a..b/x",
        "ftp://127.0.0.1/x",
        "http://a b/?token=s3cr3t",
    ],
)
def test_a_redirect_to_what_is_no_address_is_said_and_not_tried_again(tmp_path: Path, location: str) -> None:
    """By the server that sends one there, also behind another redirect."""
    downloads = Downloads(MemoryPersistence())
    with Origin() as origin, Origin() as store:
        there = store.add(FILE, act.redirect(location), path="/stored")
        with pytest.raises(requests.exceptions.InvalidURL) as caught:
            downloads(origin.add(FILE, act.redirect(there)), tmp_path / "model.bin")
    assert str(caught.value).startswith(f"{there} redirects to an address that is not usable: ")
    assert "s3cr3t" not in str(caught.value)
    assert (downloads.record.state, downloads.record.fix) == (RecoveryState.FAILED, "update_url")
    assert len(downloads.attempts) == 1


def test_a_redirect_may_be_written_in_utf_8(tmp_path: Path) -> None:
    """As requests, curl and browsers take it, although a header is Latin-1 by itself."""
    location = "/modèles.bin".encode().decode("latin-1")
    with Origin() as origin:
        url = origin.add(FILE, act.redirect(location))
        origin.add(FILE, path="/modèles.bin")
        Downloads(MemoryPersistence())(url, tmp_path / "model.bin", max_attempts=1)
        assert [request.target for request in origin.requests()] == ["/model.bin", "/mod%C3%A8les.bin"]
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()
