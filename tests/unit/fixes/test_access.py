"""Fixes for how servers are reached: addresses, tokens, proxies and certificates; secrets are in one private file."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from launcher_recovery.fixes import FixRefusedError, effects, vault
from launcher_recovery.fixes.vault import Vault
from launcher_recovery.persistence import SQLitePersistence
from launcher_recovery.records import RecoveryState
from launcher_recovery.transfer.http.session import OwnWay, in_a_way
from launcher_recovery.transfer.sources import hubs
from tests.origin.tls import Authority
from tests.unit.fixes.failed import URL, Failed

SECRET = "correct-horse-battery-staple"
SIGNED = "https://new.example/model.safetensors?X-Amz-Signature=0123456789abcdef"


def redo(failed: Failed, data: Any) -> dict[str, Any]:
    """The arguments that the next attempt has."""
    stored = failed.record(data.operation_id)
    return effects.amended(stored, stored.kwargs, failed.fixes.tools.vault)


def test_a_token_is_sent_to_its_host_alone_until_it_is_taken_out(failed: Failed) -> None:
    data = failed.download("add_token")
    applied = failed.apply(data, "add_token", token=SECRET)
    environ = {"RECOVERY_PERSISTENCE_PATH": str(failed.root / "data" / "recovery.db")}
    assert hubs.headers_for(URL, environ) == {"Authorization": f"Bearer {SECRET}"}
    for other in (
        "http://files.example/x", "https://a.files.example/x", "https://files.example.evil/x", "https://example/x",
        "https://files.example:8443/x", "https://user@files.example/x",
    ):  # fmt: skip
        assert hubs.headers_for(other, environ) == {}, other
    failed.undo(data, applied)
    assert hubs.headers_for(URL, environ) == {}
    assert SECRET not in (failed.root / "data" / "secrets.json").read_text()


def test_a_token_is_in_a_file_for_this_user_alone_and_nowhere_else(failed: Failed) -> None:
    data = failed.download("add_token")
    shown = failed.fixes.preview(data.operation_id, "add_token", {"token": SECRET})
    applied = failed.fixes.apply(data.operation_id, "add_token", {"token": SECRET}, shown.token)
    assert stat.S_IMODE((failed.root / "data" / "secrets.json").stat().st_mode) == 0o600
    assert SECRET.encode() not in failed.everything_kept()
    assert SECRET not in repr((shown, applied, failed.fixes.history(data.operation_id)))
    assert applied.parameters == {"host": "files.example", "token": "***"}


def test_a_token_of_a_person_goes_before_that_of_the_environment(failed: Failed) -> None:
    url = "https://huggingface.co/a/b/resolve/main/c"
    environ = {
        "HF_TOKEN": "hf_ofTheEnvironment0",
        "RECOVERY_PERSISTENCE_PATH": str(failed.root / "data" / "recovery.db"),
    }
    data = failed.download("add_token", url=url)
    assert hubs.headers_for(url, environ) == {"Authorization": "Bearer hf_ofTheEnvironment0"}
    failed.apply(data, "add_token", token="new-token")
    assert hubs.headers_for(url, environ) == {"Authorization": "Bearer new-token"}


def test_the_token_before_counts_again_when_the_latest_is_taken_out(tmp_path: Path) -> None:
    kept = Vault(tmp_path)
    kept.add("host:h", "one", "1")
    kept.add("host:h", "two", "2")
    assert kept.get("host:h") == "two"
    kept.remove("2")
    kept.remove("2")
    assert kept.get("host:h") == "one"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"secrets": 5}', '{"secrets": [{"place": "host:h"}]}'])
def test_a_file_of_secrets_that_is_damaged_has_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "secrets.json").write_text(content)
    assert Vault(tmp_path).get("host:h") is None


def test_the_folder_of_the_process_goes_before_that_of_the_environment(tmp_path: Path) -> None:
    Vault(tmp_path / "a").add("host:h", "one", "1")
    Vault(tmp_path / "b").add("host:h", "two", "1")
    environ = {"RECOVERY_PERSISTENCE_PATH": str(tmp_path / "a" / "recovery.db")}
    assert vault.in_use(environ).get("host:h") == "one"
    vault.use(tmp_path / "b")
    try:
        assert vault.in_use(environ).get("host:h") == "two"
    finally:
        vault.use(None)


@pytest.mark.parametrize("token", ["two words", "naïve"])
def test_a_token_that_was_copied_wrongly_is_refused_without_being_shown(failed: Failed, token: str) -> None:
    with pytest.raises(FixRefusedError) as caught:
        failed.fixes.preview(failed.download("add_token").operation_id, "add_token", {"token": token})
    assert "not copied right" in str(caught.value)
    assert token not in str(caught.value)


def test_that_a_token_is_not_sent_without_tls_is_said(failed: Failed) -> None:
    data = failed.download("add_token", url="http://files.example/model.safetensors")
    given = {"token": SECRET, "host": "files.example"}
    assert (
        "The address is not https: the token is not sent there."
        in failed.fixes.preview(data.operation_id, "add_token", given).says
    )


def test_git_gets_the_token_for_its_host_alone(failed: Failed) -> None:
    data = failed.node("add_token")
    failed.apply(data, "add_token", token=SECRET)
    stored, kept = failed.record(data.operation_id), failed.fixes.tools.vault
    environ = {**os.environ, **effects.git_environment(stored, "https://git.example/node.git", kept)}

    def login(url: str) -> list[str]:
        command = ["git", "credential", "fill"]
        given = {**environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": ""}
        done = subprocess.run(command, env=given, input=f"url={url}\n\n", capture_output=True, text=True)
        return [line for line in done.stdout.splitlines() if line.startswith(("username=", "password="))]

    assert login("https://git.example/node.git") == ["username=x-access-token", f"password={SECRET}"]
    for other in (
        "https://other.example/",
        "http://git.example/",
        "https://git.example:8443/",
        "https://a.git.example/",
    ):
        assert login(other) == []
    assert effects.git_environment(stored, "https://other.example/node.git", kept) == {}


def test_the_next_attempt_asks_the_new_address_and_undoing_brings_the_old_one_back(failed: Failed) -> None:
    data = failed.download("update_url")
    applied = failed.apply(data, "update_url", url="https://new.example/model.safetensors")
    assert redo(failed, data)["url"] == "https://new.example/model.safetensors"
    failed.undo(data, applied)
    assert redo(failed, data)["url"] == URL


def test_a_call_with_another_address_than_the_one_that_failed_keeps_its_own(failed: Failed) -> None:
    data = failed.download("update_url")
    failed.apply(data, "update_url", url="https://new.example/model.safetensors")
    stored = failed.record(data.operation_id)
    assert (
        effects.amended(stored, {**stored.kwargs, "url": "https://third.example/"})["url"] == "https://third.example/"
    )


def test_a_signed_address_is_kept_whole_with_the_secrets_alone_and_makes_it_run_again(failed: Failed) -> None:
    old = "https://old.example/model.safetensors?X-Amz-Signature=fedcba9876543210"
    data = failed.download("update_url", url=old)
    assert not data.resumable
    applied = failed.apply(data, "update_url", url=SIGNED)
    assert redo(failed, data)["url"] == SIGNED
    assert effects.amended(failed.record(data.operation_id), {"url": old}, failed.fixes.tools.vault)["url"] == SIGNED
    assert b"0123456789abcdef" not in failed.everything_kept()
    assert failed.lifecycle.retry(data.operation_id).state is RecoveryState.PENDING
    failed.lifecycle.cancel(data.operation_id)
    failed.undo(data, applied)
    assert not failed.record(data.operation_id).resumable
    assert "0123456789abcdef" not in (failed.root / "data" / "secrets.json").read_text()


@pytest.mark.parametrize("url", ["ftp://h/f", "file:///etc/passwd", "model.safetensors", "http://"])
def test_a_new_address_is_checked_as_that_of_a_new_call(failed: Failed, url: str) -> None:
    with pytest.raises(FixRefusedError, match=r"It cannot be used: .*is not a web address"):
        failed.fixes.preview(failed.download("update_url").operation_id, "update_url", {"url": url})


def test_another_source_is_one_of_those_that_are_known(failed: Failed) -> None:
    failed.sources = ["https://mirror.example/model.safetensors", URL]
    data = failed.download("redownload")
    (offer,) = [found for found in failed.fixes.for_operation(data.operation_id) if found.id == "choose_mirror"]
    assert offer.parameters[0].choices == ("https://mirror.example/model.safetensors",)
    with pytest.raises(FixRefusedError, match=r"must be one of: https://mirror\.example"):
        failed.fixes.preview(data.operation_id, "choose_mirror", {"url": "https://evil.example/"})
    failed.apply(data, "choose_mirror", url=failed.sources[0])
    assert redo(failed, data)["url"] == failed.sources[0]


def test_the_latest_of_two_changes_has_to_be_undone_first(failed: Failed) -> None:
    data = failed.download("update_url")
    first = failed.apply(data, "update_url", url="https://one.example/model")
    second = failed.apply(data, "update_url", url="https://two.example/model")
    with pytest.raises(Exception, match="has been changed since"):
        failed.undo(data, first)
    assert redo(failed, data)["url"] == "https://two.example/model"
    failed.undo(data, second)
    assert failed.undo(data, first).state == "undone"
    assert redo(failed, data)["url"] == URL


def test_a_proxy_with_a_login_counts_for_one_operation_and_its_password_is_kept_apart(failed: Failed) -> None:
    data, other = failed.download("check_proxy"), failed.download(name="other")
    given = {"proxy": "http://proxy.example:3128/", "user": "a b", "password": SECRET}
    applied = failed.apply(data, "use_proxy", **given)
    address = f"http://a%20b:{SECRET}@proxy.example:3128"
    stored, kept = failed.record(data.operation_id), failed.fixes.tools.vault
    assert effects.proxy_of(stored, kept) == address
    assert effects.environment_of(stored, kept)["HTTPS_PROXY"] == address
    assert effects.git_environment(stored, "https://git.example/", kept)["GIT_CONFIG_VALUE_0"] == address
    assert effects.environment_of(failed.record(other.operation_id), kept) == {}
    assert SECRET.encode() not in failed.everything_kept()
    failed.undo(data, applied)
    assert effects.environment_of(failed.record(data.operation_id), kept) == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"proxy": "http://user:pw@proxy:3128"}, "into the fields for them, not into the address"),
        ({"proxy": "proxy:3128"}, "is not a proxy"),
        ({"proxy": "http://proxy:port"}, "is not a proxy"),
        ({"proxy": "off"}, "Servers are always checked"),
        ({"proxy": "http://proxy", "user": "a"}, "password is needed"),
        ({"proxy": "http://proxy", "password": "a"}, "user is needed"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused(failed: Failed, given: dict[str, str], words: str) -> None:
    with pytest.raises(FixRefusedError, match=words):
        failed.fixes.preview(failed.download("check_proxy").operation_id, "use_proxy", given)


def test_certificates_of_ones_own_reach_requests_and_git(failed: Failed, tmp_path: Path) -> None:
    bundle = str(Authority(tmp_path).bundle)
    data = failed.download("check_connection")
    failed.apply(data, "use_ca_bundle", path=bundle)
    stored = failed.record(data.operation_id)
    assert effects.ca_bundle_of(stored) == bundle
    environ = effects.git_environment(stored, "https://git.example/")
    assert {environ[name] for name in ("REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO")} == {bundle}
    with OwnWay(None, bundle) as session:
        assert session.merge_environment_settings("https://h/", {}, None, None, None)["verify"] == bundle


@pytest.mark.parametrize("path", ["/dev/null", "/tmp/false", "/0"])
def test_that_servers_are_not_checked_any_more_is_refused(failed: Failed, path: str) -> None:
    with pytest.raises(FixRefusedError, match=r"^Servers are always checked: this cannot be switched off\."):
        failed.fixes.preview(failed.download("check_connection").operation_id, "use_ca_bundle", {"path": path})


def test_a_file_without_certificates_is_refused(failed: Failed, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    (tmp_path / "text.pem").write_text("no certificate")
    for name, words in {
        "empty.pem": "no certificates",
        "text.pem": "no certificates",
        "none.pem": "nothing at",
    }.items():
        with pytest.raises(FixRefusedError, match=words):
            failed.fixes.preview(
                failed.download("check_connection").operation_id, "use_ca_bundle", {"path": str(tmp_path / name)}
            )


def test_a_proxy_of_its_own_goes_before_the_environment_but_not_where_none_is_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://theirs:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/theirs.pem")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with OwnWay("http://ours:2", "/ours.pem") as session:
        found = session.merge_environment_settings("https://h/", {}, None, None, None)
        assert (found["proxies"]["https"], found["verify"]) == ("http://ours:2", "/ours.pem")
        near = session.merge_environment_settings("https://127.0.0.1/", {}, None, None, None)
        assert "https" not in near["proxies"]
    with OwnWay(None, None) as session, requests.Session() as plain:
        arguments: tuple[Any, ...] = ("https://h/", {}, None, None, None)
        assert session.merge_environment_settings(*arguments) == plain.merge_environment_settings(*arguments)


def test_what_is_kept_is_there_for_the_next_process(failed: Failed, tmp_path: Path) -> None:
    data = failed.download("update_url")
    failed.apply(data, "update_url", url=SIGNED)
    again = SQLitePersistence(tmp_path / "data" / "recovery.db")
    stored = again.get(data.operation_id)
    assert stored is not None
    assert effects.amended(stored, stored.kwargs)["url"] == SIGNED
    again.close()


def test_a_token_for_hugging_face_is_for_the_mirror_that_is_asked_in_its_place(
    failed: Failed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hf-mirror.example")
    data = failed.download("add_token", url="https://huggingface.co/a/b/resolve/main/c")
    offer = failed.fixes.for_operation(data.operation_id)[0]
    assert offer.parameters[0].default == "hf-mirror.example"
    assert "https://huggingface.co/settings/tokens" in offer.explanation
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    assert failed.fixes.for_operation(data.operation_id)[0].parameters[0].default == "huggingface.co"


def test_a_login_is_not_sent_to_the_next_proxy(failed: Failed) -> None:
    data = failed.download("check_proxy")
    failed.apply(data, "use_proxy", proxy="http://one", user="ann", password=SECRET)
    failed.apply(data, "use_proxy", proxy="http://two")
    assert effects.proxy_of(failed.record(data.operation_id), failed.fixes.tools.vault) == "http://two"


# -- what programs are given --------------------------------------------------------------------------


def test_pip_goes_through_the_proxy_unless_there_are_addresses_to_be_asked_directly(
    failed: Failed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own setting knows no such addresses; it is in place of one that would go before the usual variables."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    data = failed.node("check_connection")
    failed.apply(data, "use_proxy", proxy="http://proxy:3128")

    def given() -> tuple[str | None, str]:
        found = effects.environment_of(failed.record(data.operation_id))
        return found.get("PIP_PROXY"), found["https_proxy"]

    assert given() == ("http://proxy:3128", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    assert given() == (None, "http://proxy:3128")
    monkeypatch.setenv("PIP_PROXY", "http://other")
    assert given() == ("http://proxy:3128", "http://proxy:3128")


def test_git_that_asks_nobody_on_the_web_has_the_proxy_for_all(failed: Failed) -> None:
    data = failed.node("check_connection")
    failed.apply(data, "use_proxy", proxy="http://proxy:3128")
    found = effects.git_environment(failed.record(data.operation_id), "git@host.example:a/b")
    names = [value for name, value in found.items() if name.startswith("GIT_CONFIG_KEY_")]
    assert names == ["http.proxy"]


@pytest.mark.parametrize("url", ["https://[::1", "https://host:port/a", "git@host.example:a/b", "https:///a"])
def test_what_is_no_web_address_gets_no_token(failed: Failed, url: str) -> None:
    failed.apply(failed.download("add_token"), "add_token", token=SECRET, host="host.example")
    assert effects.token_for(url, failed.fixes.tools.vault) is None


def test_what_is_set_counts_for_all_inside_as_far_as_those_around_are_known(failed: Failed) -> None:
    """From the inside out; one that was deleted ends it."""
    whole = failed.operation("create_project", {"project_id": "p"})
    part = failed.node("check_connection", parent_id=whole.operation_id, key="a")
    inner = failed.download("check_connection", parent_id=part.operation_id)
    find = failed.lifecycle.current
    failed.apply(whole, "use_proxy", proxy="http://whole")
    assert effects.proxy_of(failed.record(inner.operation_id), find=find) == "http://whole"
    assert effects.proxy_of(failed.record(inner.operation_id)) is None
    failed.apply(part, "use_proxy", proxy="http://part")
    assert effects.proxy_of(failed.record(inner.operation_id), find=find) == "http://part"
    assert effects.proxy_of(failed.record(inner.operation_id), find=lambda id: None) is None


def test_a_login_that_git_asks_for_is_that_of_the_host_it_names(failed: Failed) -> None:
    """Such as that of a submodule."""
    said = "fatal: could not read Username for 'https://sub.example:8443': terminal prompts disabled"
    offer = failed.fixes.for_operation(failed.node("add_token", error=OSError(said)).operation_id)[0]
    assert offer.parameters[0].default == "sub.example:8443"
    assert "sub.example:8443 wants to know who asks" in offer.explanation


@pytest.mark.parametrize("url", ["https://[::1/a", "https://host:port/a"])
def test_of_an_address_that_is_none_no_host_is_known(failed: Failed, url: str) -> None:
    offer = failed.fixes.for_operation(failed.node("add_token", url=url).operation_id)[0]
    assert offer.parameters[0].default is None


def test_a_node_of_an_import_has_no_other_source(failed: Failed) -> None:
    failed.sources = ["https://mirror.example/model.safetensors"]
    whole = failed.operation("create_project", {"project_id": "p"}, "update_url")
    failed.node("update_url", parent_id=whole.operation_id)
    assert "choose_mirror" not in [offer.id for offer in failed.fixes.for_operation(whole.operation_id)]


def test_a_request_of_others_goes_another_way_where_nobody_has_chosen_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    url, given = "https://files.example/m", {"stream": True, "verify": True, "proxies": {"no": "localhost"}}
    assert in_a_way(given, url, None, None) == given
    way = {"no": "localhost", "http": "http://proxy", "https": "http://proxy"}
    assert in_a_way(given, url, "http://proxy", "/b.pem") == {"stream": True, "verify": "/b.pem", "proxies": way}
    monkeypatch.setenv("CURL_CA_BUNDLE", "/usual.pem")
    assert in_a_way({"verify": "/usual.pem"}, url, None, "/b.pem") == {"verify": "/b.pem"}
    for chosen in ("/own.pem", False):
        assert in_a_way({"verify": chosen}, url, None, "/b.pem") == {"verify": chosen}
    monkeypatch.setenv("NO_PROXY", "files.example")
    assert in_a_way({}, url, "http://proxy", None) == {}
