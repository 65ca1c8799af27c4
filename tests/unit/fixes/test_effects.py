"""What fixes set is obeyed by git, pip and the scripts of nodes: real ones, over TLS, through a proxy, with a token."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery.errors import CommandError
from launcher_recovery.records import RecoveryState
from tests.nodes import (
    Far,
    Fault,
    Source,
    alone_with_pip,
    far_away,
    files,
    make_environment,
    run_git,
    versions,
    wheel,
)
from tests.origin.tls import Authority
from tests.proxy import Proxy
from tests.unit.fixes.attached import Attached

TOKEN = "correct-horse-battery-staple"
BASIC = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()


@pytest.fixture(autouse=True)
def _alone(no_network_of_the_machine: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alone_with_pip(monkeypatch, tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path / "source")
    made.commit({"one": "one"})
    return made


@pytest.fixture
def python(tmp_path: Path) -> Path:
    return make_environment(tmp_path / "environment", wheel("numpy", "2.0"))


# -- certificates and a proxy -------------------------------------------------------------------------


def test_git_checks_a_server_by_the_certificates_it_was_given_until_that_is_undone(
    host: Attached, far: Far, source: Source, authority: Authority
) -> None:
    url = far.serve(source)
    with pytest.raises(CommandError, match="certificate"):
        host.install(url=url)
    data = host.failed("install_node")
    applied = host.fix(data, "use_ca_bundle", path=str(authority.bundle))
    host.undo(data, applied)
    with pytest.raises(CommandError, match="certificate"):
        host.install(url=url)
    host.fix(data, "use_ca_bundle", path=str(authority.bundle))
    host.install(url=url)
    assert files(host.folder / "node") == {".git", "one"}


def test_git_pip_and_scripts_go_through_the_proxy_with_its_login(
    host: Attached,
    far: Far,
    source: Source,
    authority: Authority,
    python: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the settings of git and pip name another proxy, for all hosts or for this one."""
    caplog.set_level(logging.DEBUG)
    script = "import urllib.request as r; open('got', 'wb').write(r.urlopen('{}/simple/b/').read())\n"
    source.commit({"requirements.txt": far.requirements("b"), "install.py": script.format(far.url)})
    far.offer(wheel("b", "1.0"))
    url = far.serve(source)
    run_git(host.data, "config", "--file", os.environ["GIT_CONFIG_GLOBAL"], "http.proxy", "http://127.0.0.1:9")
    run_git(
        host.data, "config", "--file", os.environ["GIT_CONFIG_GLOBAL"], f"http.{far.url}.proxy", "http://127.0.0.1:9"
    )
    settings = host.data / "pip.conf"
    settings.write_text("[global]\nproxy = http://127.0.0.1:9\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    with Proxy("ann:secret of ann") as proxy:
        with pytest.raises(CommandError, match=r"127\.0\.0\.1 port 9|certificate"):
            host.install(url=url, python=str(python))
        data = host.failed("install_node")
        host.fix(data, "use_ca_bundle", path=str(authority.bundle))
        applied = host.fix(data, "use_proxy", proxy=proxy.url, user="ann", password="secret of ann")
        host.install(url=url, python=str(python))
        assert set(proxy.asked) == {far.host}
        # One connection of each at least: git's, pip's to the index and to the file, and that of the script.
        assert len(proxy.asked) >= 3
    assert versions(python.parents[1])["b"] == "1.0"
    assert b"/files/b-1.0" in (host.folder / "node" / "got").read_bytes()
    assert applied.parameters["password"] == "***"
    kept = host.everything_kept().decode("latin-1") + caplog.text + "".join(host.told)
    for secret in ("secret of ann", "secret%20of%20ann", base64.b64encode(b"ann:secret of ann").decode()):
        assert secret not in kept


def test_without_the_proxy_that_was_undone_nothing_goes_through_it(
    host: Attached, far: Far, source: Source, authority: Authority
) -> None:
    far.fail("info/refs", Fault(status=404), Fault(status=404))
    url = far.serve(source)
    with Proxy() as proxy:
        with pytest.raises(CommandError):
            host.install(url=url)
        data = host.failed("install_node")
        host.fix(data, "use_ca_bundle", path=str(authority.bundle))
        applied = host.fix(data, "use_proxy", proxy=proxy.url)
        with pytest.raises(CommandError, match=r"404|not found"):
            host.install(url=url)
        asked = len(proxy.asked)
        host.undo(data, applied)
        with pytest.raises(CommandError, match=r"404|not found"):
            host.install(url=url)
        assert (asked > 0, len(proxy.asked)) == (True, asked)


def test_addresses_that_are_to_be_asked_directly_are(
    host: Attached,
    far: Far,
    source: Source,
    authority: Authority,
    python: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    source.commit({"requirements.txt": far.requirements("b")})
    far.offer(wheel("b", "1.0"))
    url = far.serve(source)
    with Proxy() as proxy:
        with pytest.raises(CommandError, match="certificate"):
            host.install(url=url, python=str(python))
        data = host.failed("install_node")
        host.fix(data, "use_ca_bundle", path=str(authority.bundle))
        host.fix(data, "use_proxy", proxy=proxy.url)
        host.install(url=url, python=str(python))
        assert proxy.asked == []
    assert versions(python.parents[1]) == {"numpy": "2.0", "b": "1.0"}


# -- a token ------------------------------------------------------------------------------------------


@pytest.fixture
def closed(host: Attached, tmp_path: Path, authority: Authority) -> Iterator[Far]:
    """A server that asks for a token, whose certificate everybody knows."""
    with far_away(tmp_path / "closed", context=authority.context(), token=TOKEN) as running:
        yield running


@pytest.fixture
def _known(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSL_CAINFO", str(authority.bundle))


@pytest.mark.usefixtures("_known")
def test_git_has_the_token_for_the_host_until_it_is_taken_out_and_nobody_else_sees_it(
    host: Attached, closed: Far, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = closed.serve(source)
    with pytest.raises(CommandError, match="could not read Username"):
        host.install(url=url)
    data = host.failed("install_node")
    assert data.fix == "add_token"
    assert host.offered(data, "add_token").parameters[0].default == closed.host
    applied = host.fix(data, "add_token", token=TOKEN)
    host.install(url=url)
    assert files(host.folder / "node") == {".git", "one"}
    assert {one.login for one in closed.asked} == {None, f"Basic {BASIC}"}
    assert TOKEN not in (host.folder / "node" / ".git" / "config").read_text()
    host.undo(data, applied)
    with pytest.raises(CommandError, match="could not read Username"):
        host.install("again", url=url)
    kept = host.everything_kept().decode("latin-1") + caplog.text + "".join(host.told)
    assert TOKEN not in kept
    assert BASIC not in kept


@pytest.mark.usefixtures("_known")
def test_a_server_that_repeats_the_token_does_not_make_it_known(
    host: Attached, closed: Far, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = closed.serve(source)
    closed.token = "another one"
    with pytest.raises(CommandError):
        host.install(url=url)
    host.fix(host.failed("install_node"), "add_token", token=TOKEN)
    with pytest.raises(CommandError, match="Authentication failed") as raised:
        host.install(url=url)
    assert "remote: who asks? not Basic ***" in raised.value.output
    assert closed.asked[-1].login == f"Basic {BASIC}"
    kept = host.everything_kept().decode("latin-1") + caplog.text + "".join(host.told) + repr(raised.value)
    assert TOKEN not in kept
    assert BASIC not in kept


@pytest.mark.usefixtures("_known")
def test_the_token_is_not_sent_to_where_its_host_sends_git(
    host: Attached, closed: Far, source: Source, tmp_path: Path, authority: Authority
) -> None:
    with far_away(tmp_path / "elsewhere", context=authority.context()) as elsewhere:
        url = closed.serve(source)
        with pytest.raises(CommandError):
            host.install(url=url)
        host.fix(host.failed("install_node"), "add_token", token=TOKEN)
        elsewhere.serve(source)
        closed.redirects = elsewhere.url.replace("127.0.0.1", "localhost")
        host.install(url=url)
        assert elsewhere.count("git-upload-pack") > 1
        assert {one.login for one in elsewhere.asked} == {None}


@pytest.mark.usefixtures("_known")
def test_a_token_counts_before_what_helpers_of_the_user_know_of_the_host(
    host: Attached, closed: Far, source: Source, tmp_path: Path
) -> None:
    helper = tmp_path / "helper"
    helper.write_text("#!/bin/sh\nprintf 'username=ann\\npassword=old\\n'\n")
    helper.chmod(0o755)
    settings = os.environ["GIT_CONFIG_GLOBAL"]
    run_git(tmp_path, "config", "--file", settings, "credential.helper", str(helper))
    run_git(tmp_path, "config", "--file", settings, f"credential.{closed.url}.helper", str(helper))
    url = closed.serve(source)
    with pytest.raises(CommandError, match="Authentication failed"):
        host.install(url=url)
    host.fix(host.failed("install_node"), "add_token", token=TOKEN)
    host.install(url=url)
    assert files(host.folder / "node") == {".git", "one"}


# As git-lfs does: it asks git who it is at its server.
GIT_LFS = """#!/bin/sh
case "$1" in
  pull)
    url=$(git config remote.origin.url)
    printf '%s\n' "url=$url" '' | git credential fill | grep ^password= >> {log}
    for file in $(grep -rl --include=*.bin spec/v1 .); do echo content > "$file"; done ;;
esac
"""
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n"


@pytest.mark.usefixtures("_known")
def test_submodules_and_large_files_have_the_token_of_their_own_host(
    host: Attached,
    closed: Far,
    source: Source,
    tmp_path: Path,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program, log = tmp_path / "bin" / "git-lfs", tmp_path / "log"
    program.parent.mkdir()
    program.write_text(GIT_LFS.format(log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    with far_away(tmp_path / "inner-far", context=authority.context()) as other:
        beside, inner = Source(tmp_path / "beside"), Source(tmp_path / "inner")
        beside.commit({"beside.bin": POINTER})
        closed.serve(beside, "beside.git")
        inner.commit({"inner.bin": POINTER})
        source.commit({"own.bin": POINTER})
        source.add_submodule(inner.url, "inner")
        source.add_submodule(beside.url, "beside")
        for name, at in (("inner", other.serve(inner, "inner.git")), ("beside", "../beside.git")):
            source.git("config", "--file", ".gitmodules", f"submodule.{name}.url", at)
        source.commit({})
        other.token = "token-of-the-other"
        url = closed.serve(source)
        with pytest.raises(CommandError):
            host.install(url=url)
        data = host.failed("install_node")
        host.fix(data, "add_token", token=TOKEN)
        with pytest.raises(CommandError, match="could not read Username"):
            host.install(url=url)
        data = host.failed("install_node")
        assert host.offered(data, "add_token").parameters[0].default == other.host
        host.fix(data, "add_token", token="token-of-the-other")
        host.install(url=url)
    node = host.folder / "node"
    assert [(node / name).read_text() for name in ("own.bin", "inner/inner.bin", "beside/beside.bin")] == [
        "content\n"
    ] * 3
    assert sorted(log.read_text().split()) == sorted(
        [f"password={TOKEN}", f"password={TOKEN}", "password=token-of-the-other"]
    )


# -- git's trust --------------------------------------------------------------------------------------


def test_git_works_in_the_folder_that_it_was_told_to_trust(
    host: Attached, source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.git"
    run_git(tmp_path, "clone", "--quiet", "--bare", str(source.folder), str(bare))
    run_git(tmp_path, "config", "--file", os.environ["GIT_CONFIG_GLOBAL"], "--add", "safe.directory", str(bare))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(CommandError, match=r"dubious ownership|safe\.directory"):
        host.install(url=bare.as_uri())
    data = host.failed("install_node")
    applied = host.fix(data, "mark_safe_directory")
    host.install(url=bare.as_uri())
    assert files(host.folder / "node") == {".git", "one"}
    with pytest.raises(CommandError, match=r"dubious ownership|safe\.directory"):
        host.install("other", url=bare.as_uri())
    host.undo(data, applied)
    (host.folder / "node" / ".git").rename(tmp_path / "gone")
    for path in (host.folder / "node").iterdir():
        path.unlink()
    with pytest.raises(CommandError, match=r"dubious ownership|safe\.directory"):
        host.install(url=bare.as_uri())


# -- pip ----------------------------------------------------------------------------------------------


@pytest.fixture
def _pip_knows(_known: None, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))


@pytest.mark.usefixtures("_pip_knows")
def test_pip_prefers_what_is_ready_made(host: Attached, far: Far, source: Source, python: Path) -> None:
    source.commit({"requirements.txt": far.requirements("b")})
    far.offer(wheel("b", "1.0"), ("b-2.0.tar.gz", b"no archive"))
    url = far.serve(source)
    with pytest.raises(CommandError, match="pip"):
        host.install(url=url, python=str(python))
    host.fix(host.failed("install_node"), "prefer_binary")
    host.install(url=url, python=str(python))
    assert versions(python.parents[1]) == {"numpy": "2.0", "b": "1.0"}


@pytest.mark.usefixtures("_pip_knows")
def test_what_pip_keeps_is_fetched_again_only_once_it_was_purged(
    host: Attached, far: Far, source: Source, python: Path
) -> None:
    source.commit({"requirements.txt": far.requirements("b", "missing")})
    far.offer(wheel("b", "1.0"))
    url = far.serve(source)
    for _ in range(2):
        with pytest.raises(CommandError, match="pip"):
            host.install(url=url, python=str(python))
        assert far.count("/files/b-1.0") == 1
    far.offer(wheel("missing", "1.0"))
    host.fix(host.failed("install_node"), "purge_pip_cache")
    host.install(url=url, python=str(python))
    assert far.count("/files/b-1.0") == 2
    assert versions(python.parents[1]) == {"numpy": "2.0", "b": "1.0", "missing": "1.0"}


# -- the environment ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_environment_is_restored_and_a_retry_installs_again_what_was_taken_out(
    host: Attached,
    far: Far,
    source: Source,
    authority: Authority,
    python: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = python.parents[1]
    script = "import os, sys\nsys.exit(0 if os.path.exists('{}') else 'not yet')\n".format(environment / "ready")
    source.commit({"requirements.txt": far.requirements("numpy==1.26", "b"), "install.py": script})
    far.offer(wheel("numpy", "2.0"), wheel("numpy", "1.26"), wheel("b", "1.0"))
    url = far.serve(source)
    with pytest.raises(CommandError):
        host.install(url=url, python=str(python))
    data = host.failed("install_node")
    # Without these certificates nothing of it could be fetched, neither now nor when it is put back.
    host.fix(data, "use_ca_bundle", path=str(authority.bundle))
    with pytest.raises(CommandError, match=r"install\.py"):
        host.install(url=url, python=str(python))
    assert versions(environment) == {"numpy": "1.26", "b": "1.0"}
    monkeypatch.setenv("PIP_INDEX_URL", f"{far.url}/simple")
    preview = host.integrator.fixes.preview(data.operation_id, "restore_environment")
    assert "numpy 2.0" in " ".join(preview.says)
    host.fix(data, "restore_environment")
    assert versions(environment) == {"numpy": "2.0"}
    (environment / "ready").touch()
    host.install(url=url, python=str(python))
    assert versions(environment) == {"numpy": "1.26", "b": "1.0"}
    assert host.operations("install_node")[0].state is RecoveryState.SUCCESS
