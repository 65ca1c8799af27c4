"""Downloads from model hubs, on real servers with TLS: asked at the endpoint, with a token that nobody else gets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from launcher_recovery import integration, transfer
from launcher_recovery.cli import main
from launcher_recovery.cli.sentences import sentence_of
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.transfer.sources import hubs
from tests.origin import Answer, Authority, File, Origin, Request
from tests.origin import behaviours as act
from tests.support import Host
from tests.transfers import integrator

MIB = 1 << 20
FILE = File(6 * MIB)
PATH = "/black-forest-labs/FLUX.1-dev/resolve/main/ae.safetensors"
HF = f"https://huggingface.co{PATH}"
CIVITAI = "https://civitai.com/api/download/models/128713"
TOKEN = "hf_QzRk7VnYw2LpXb9TsJm4"
KEY = "0123456789abcdef0123456789abcdef"
SECRETS = (TOKEN, KEY)


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Calls outside of a launcher, on a machine where nobody has logged in anywhere."""
    for name in ("HF_ENDPOINT", "HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN", *hubs._HUGGING_FACE_TOKENS):
        monkeypatch.delenv(name, raising=False)
    for name in hubs._CIVITAI_TOKENS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "state" / "recovery.db"))
    with integrator(None):
        yield


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    """The server at HF_ENDPOINT, with TLS."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    with Origin(authority.context()) as origin:
        monkeypatch.setenv("HF_ENDPOINT", origin.url("", "localhost"))
        yield origin


def authorizations(origin: Origin) -> set[str | None]:
    assert origin.requests()
    return {request.headers.get("authorization") for request in origin.requests()}


def seen_by(origin: Origin) -> str:
    """All that a server was told."""
    return "\n".join(f"{one.method} {one.target} {dict(one.headers)}" for one in origin.requests())


def kept_in(folder: Path) -> str:
    """Every byte of the database."""
    found = [path.read_bytes().decode("latin-1") for path in folder.iterdir()]
    assert any("ae.safetensors" in text or "128713" in text for text in found)
    return "\n".join(found)


def expect_silence(*texts: str) -> None:
    for secret in SECRETS:
        for text in texts:
            assert secret not in text


# -- Hugging Face ---------------------------------------------------------------------------------------------


def test_an_address_at_hugging_face_is_asked_at_the_endpoint_and_kept_as_it_is(
    tmp_path: Path, endpoint: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on at another endpoint without a byte twice: what is kept knows nothing of either."""
    monkeypatch.setenv("RECOVERY_MAX_RETRIES", "0")
    endpoint.add(FILE, act.drop(2 * MIB), act.since(2, act.refuse("404 Not Found")), path=PATH)
    destination = tmp_path / "models" / "ae.bin"
    with pytest.raises(requests.HTTPError, match="404"):
        transfer.download(HF, destination, sha256=FILE.sha256)
    [data] = integration.get_recovery_integrator().persistence.find()
    assert data.kwargs["url"] == HF
    with Origin() as other:
        monkeypatch.setenv("HF_ENDPOINT", other.url("/mirror/"))
        other.add(FILE, path=f"/mirror{PATH}")
        transfer.download(HF, destination, sha256=FILE.sha256)
        assert endpoint.settled().sent() + other.settled().sent() == FILE.size
    assert destination.read_bytes() == FILE.content()
    [data] = integration.get_recovery_integrator().persistence.find()
    assert data.kwargs["url"] == HF


def test_the_token_reaches_the_endpoint_and_nobody_else(
    tmp_path: Path, endpoint: Origin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With every request, also of another attempt; not where a redirect leads to, and not a mirror; nor is it kept."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Origin() as cdn, Origin() as mirror:
        stored = cdn.add(FILE, act.script(act.drop(MIB), act.drop(2 * MIB)), path="/stored")
        endpoint.add(FILE, act.needs_token(f"Bearer {TOKEN}"), act.redirect(stored), path=PATH)
        sources = [mirror.add(FILE)]
        transfer.download(HF, tmp_path / "models" / "ae.safetensors", sha256=FILE.sha256, sources=sources)
        assert authorizations(endpoint) == {f"Bearer {TOKEN}"}
        assert cdn.requests()
        expect_silence(seen_by(cdn), seen_by(mirror))
    expect_silence(caplog.text, kept_in(tmp_path / "state"), repr(integration.get_recovery_integrator().status()))


def test_the_token_does_not_go_where_there_is_no_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file may be had without it."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Origin() as plain:
        monkeypatch.setenv("HF_ENDPOINT", plain.url(""))
        plain.add(FILE, path=PATH)
        transfer.download(HF, tmp_path / "ae.bin")
        assert authorizations(plain) == {None}


def test_a_mirror_at_hugging_face_gets_the_token_too(
    tmp_path: Path, endpoint: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the headers that the caller gives for the first address do not go there."""
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", TOKEN)
    endpoint.add(FILE, act.needs_token(f"Bearer {TOKEN}"), path=PATH)
    with Origin() as first:
        url = first.add(FILE, act.script(act.drop(MIB)), act.since(2, act.refuse("503 Service Unavailable")))
        transfer.download(url, tmp_path / "ae.bin", sha256=FILE.sha256, sources=[HF], headers={"X-Key": KEY})
        assert endpoint.settled().sent() > 0
        assert authorizations(endpoint) == {f"Bearer {TOKEN}"}
        expect_silence(seen_by(first).replace(KEY, ""))
        assert KEY not in seen_by(endpoint)


@pytest.mark.parametrize("how", ["headers", "auth of a session", "headers of a session"])
def test_who_says_it_otherwise_is_obeyed(
    tmp_path: Path, endpoint: Origin, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The token of the environment is for those who say nothing."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    endpoint.add(FILE, path=PATH)
    given: dict[str, Any] = {"headers": {"authorization": "Bearer mine"}}
    if how != "headers":
        given = {"session": requests.Session()}
        if how == "auth of a session":
            given["session"].auth = lambda request: request.headers.update(Authorization="Bearer mine") or request
        else:
            given["session"].headers["authorization"] = "Bearer mine"
    transfer.download(HF, tmp_path / "ae.bin", **given)
    assert authorizations(endpoint) == {"Bearer mine"}


def test_a_netrc_does_not_take_the_place_of_the_token(
    tmp_path: Path, endpoint: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which requests would do; one for a server that no token is for counts as ever."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (tmp_path / "netrc").write_text("default login ann password pw\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    endpoint.add(FILE, path=PATH)
    transfer.download(HF, tmp_path / "ae.bin")
    assert authorizations(endpoint) == {f"Bearer {TOKEN}"}
    with Origin() as other:
        transfer.download(other.add(FILE), tmp_path / "other.bin")
        assert authorizations(other) == {"Basic YW5uOnB3"}


def test_a_launcher_asks_in_the_same_way(tmp_path: Path, endpoint: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is the one of each attempt; breaker and bulkheads are about the server that is really asked."""
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    host = Host(tmp_path / "models")
    host.attach()
    try:
        endpoint.add(FILE, act.needs_token(f"Bearer {TOKEN}"), path=PATH)
        with pytest.raises(requests.HTTPError, match="401"):
            host.download("ae.bin", HF)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        host.download("ae.bin", HF)
        assert authorizations(endpoint) == {"Bearer hf_expired", f"Bearer {TOKEN}"}
        assert [row.scope for row in host.integrator.guards.breakers()] == ["localhost"]
        assert [data.kwargs["url"] for data in host.operations()] == [HF]
    finally:
        host.detach()
    assert (tmp_path / "models" / "ae.bin").read_bytes() == FILE.content()


def test_a_damaged_file_is_repaired_from_the_endpoint_with_the_token(
    tmp_path: Path, endpoint: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although only the address at Hugging Face is kept."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    endpoint.add(FILE, act.needs_token(f"Bearer {TOKEN}"), path=PATH)
    path = transfer.download(HF, tmp_path / "ae.bin", sha256=FILE.sha256)
    with path.open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"damaged")
    before = endpoint.settled().sent()
    assert transfer.verify(path, repair=True).repaired
    assert 0 < endpoint.settled().sent() - before <= 4 * MIB
    assert path.read_bytes() == FILE.content()


def test_a_token_that_a_server_repeats_is_not_kept(
    tmp_path: Path, endpoint: Origin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither in the database nor in what is said at the command line."""
    secret = "n0-f0rm-0f-1ts-0wn-5f2b9c"
    monkeypatch.setenv("HF_TOKEN", secret)
    monkeypatch.setenv("RECOVERY_MAX_RETRIES", "0")

    def answer(request: Request, file: File, due: Answer) -> Answer:
        told = json.dumps({"error": f"{request.headers['authorization'].split()[1]} may not have this"}).encode()
        refused = act.refuse("418 I'm a teapot")(request, file, due).having("Content-Length", len(told))
        return replace(refused.having("Content-Type", "application/json"), body=(told,))

    endpoint.add(FILE, answer, path=PATH)
    assert main(["download", HF, str(tmp_path / "ae.safetensors")]) == 1
    said = capsys.readouterr()
    [data] = integration.get_recovery_integrator().persistence.find()
    assert "*** may not have this" in str(data.error)
    assert sentence_of(RuntimeError(f"{secret} is wrong")) == "RuntimeError: *** is wrong"
    for text in (said.out, said.err, kept_in(tmp_path / "state")):
        assert secret not in text


def test_the_name_of_a_file_is_asked_for_with_the_token_too(
    tmp_path: Path, endpoint: Origin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the command line, for an address that does not tell it."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    named = act.said("Content-Disposition", "attachment; filename=ae.bin")
    endpoint.add(File(1000), act.needs_token(f"Bearer {TOKEN}"), named, path="/api/resolve-cache/1")
    assert main(["download", "https://huggingface.co/api/resolve-cache/1", f"{tmp_path}/", "--quiet"]) == 0
    assert (tmp_path / "ae.bin").stat().st_size == 1000
    expect_silence(*capsys.readouterr())


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HF_ENDPOINT", "hf-mirror.com", "HF_ENDPOINT='hf-mirror.com' is not usable: it must be a web address such as"),
        ("HF_TOKEN", "hf_one two", "the token in HF_TOKEN is not usable (it is not shown): it must be one word"),
    ],
)
def test_what_of_the_environment_cannot_be_used_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    said: str,
) -> None:
    """Nothing is asked for that, and the token is not shown."""
    monkeypatch.setenv(variable, value)
    assert main(["download", HF, str(tmp_path / "ae.bin")]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"launcher-recovery download: ae.bin was not downloaded: {said}")
    assert printed.err.count("\n") == 1
    assert "two" not in printed.err
    with pytest.raises((RecoveryConfigError, ValueError), match="is not usable"):
        transfer.download(HF, tmp_path / "ae.bin")


# -- Civitai --------------------------------------------------------------------------------------------------


class Elsewhere(HTTPAdapter):
    """Sends what is for one server to another one, as a name in /etc/hosts would."""

    def __init__(self, start: str, to: str) -> None:
        super().__init__()
        self._start, self._to = start, to

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        asked = request.url
        assert asked is not None
        request.url = asked.replace(self._start, self._to, 1)
        response = super().send(request, *args, **options)
        request.url = response.url = asked
        return response


def test_civitai_gets_its_key_and_where_it_leads_to_does_not(
    tmp_path: Path, endpoint: Origin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it get the token of Hugging Face."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CIVITAI_API_TOKEN", KEY)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    session = requests.Session()
    session.mount("https://civitai.com/", Elsewhere("https://civitai.com/", endpoint.url("/", "localhost")))
    with Origin() as storage:
        stored = storage.add(FILE, act.script(act.drop(MIB)), path="/stored")
        endpoint.add(FILE, act.needs_token(f"Bearer {KEY}"), act.redirect(stored), path="/api/download/models/128713")
        transfer.download(CIVITAI, tmp_path / "128713.bin", sha256=FILE.sha256, session=session)
        assert authorizations(endpoint) == {f"Bearer {KEY}"}
        assert len(storage.requests()) > 1
        expect_silence(seen_by(storage))
    assert (tmp_path / "128713.bin").read_bytes() == FILE.content()
    expect_silence(caplog.text, kept_in(tmp_path / "state"))
