"""What is set for an import counts for what is inside of it, unless that has its own; and a part keeps what it has."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from launcher_recovery.errors import CommandError
from launcher_recovery.fixes import FixRefusedError, effects
from launcher_recovery.records import RecoveryData, RecoveryState
from sample_launcher.hub import Hub
from tests.nodes import Far, Source, files
from tests.origin.tls import Authority
from tests.proxy import Proxy
from tests.support import wait_for
from tests.unit.fixes.attached import Attached
from tests.unit.fixes.failed import URL, Failed

DEAD = "http://127.0.0.1:9/m.pt"


pytestmark = pytest.mark.usefixtures("no_network_of_the_machine")


@pytest.fixture
def node(far: Far, tmp_path: Path) -> str:
    source = Source(tmp_path / "source")
    source.commit({"one": "one"})
    return far.serve(source)


def test_a_proxy_and_certificates_of_an_import_count_for_its_node_and_its_download(
    host: Attached, far: Far, node: str, authority: Authority
) -> None:
    far.offer(("m.pt", b"model"))
    host.imports(lambda: host.install(url=node), lambda: host.download(url=f"{far.url}/files/m.pt"))
    with pytest.raises(CommandError, match="certificate"):
        host.create()
    data = host.failed("create_project")
    with Proxy("ann:secret-of-ann") as proxy:
        host.fix(data, "use_ca_bundle", path=str(authority.bundle))
        host.fix(data, "use_proxy", proxy=proxy.url, user="ann", password="secret-of-ann")
        host.create()
        # git and the download.
        assert len(proxy.asked) >= 2
    assert files(host.folder / "node") == {".git", "one"}
    assert (host.folder / "m.pt").read_bytes() == b"model"
    assert b"secret-of-ann" not in host.everything_kept()


def test_what_was_undone_at_the_import_is_gone_for_its_parts(host: Attached, node: str, authority: Authority) -> None:
    host.imports(lambda: host.install(url=node))
    with pytest.raises(CommandError, match="certificate"):
        host.create()
    data = host.failed("create_project")
    host.undo(data, host.fix(data, "use_ca_bundle", path=str(authority.bundle)))
    with pytest.raises(CommandError, match="certificate"):
        host.create()


def test_a_part_goes_by_its_own_and_keeps_it_when_the_import_is_tried_again(
    host: Attached, node: str, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    problems = ["the rest failed"]

    def rest() -> str:
        if problems:
            raise ValueError(problems.pop())
        return "ready"

    host.imports(rest, lambda: host.install(url=node))
    with pytest.raises(ValueError, match="the rest failed"):
        host.create()
    host.fix(host.failed("create_project"), "use_ca_bundle", path=str(Authority(tmp_path / "other").bundle))
    with pytest.raises(CommandError, match="certificate"):
        host.create()
    host.fix(host.failed("install_node"), "use_ca_bundle", path=str(authority.bundle))
    assert host.create()[0] == "ready"
    assert len(host.operations("install_node")) == 1
    assert files(host.folder / "node") == {".git", "one"}


def test_a_part_that_is_run_again_by_itself_goes_by_what_is_set_for_the_import(
    host: Attached, node: str, authority: Authority
) -> None:
    host.imports(lambda: host.install(url=node))
    with pytest.raises(CommandError, match="certificate"):
        host.create()
    host.fix(host.failed("create_project"), "use_ca_bundle", path=str(authority.bundle))
    part = host.failed("install_node")
    host.integrator.lifecycle.begin_again(part.operation_id)
    wait_for(lambda: host.operations("install_node")[0].state is RecoveryState.SUCCESS)
    assert host.failed("create_project")


def test_what_failed_by_itself_becomes_a_part_of_the_import_that_takes_it_up(
    host: Attached, node: str, authority: Authority
) -> None:
    with pytest.raises(CommandError, match="certificate"):
        host.install(url=node)
    host.imports(lambda: host.install(url=node))
    with pytest.raises(CommandError, match="certificate"):
        host.create()
    whole = host.failed("create_project")
    assert host.failed("install_node").parent_id == whole.operation_id
    host.fix(whole, "use_ca_bundle", path=str(authority.bundle))
    host.create()
    assert len(host.operations("install_node")) == 1
    assert files(host.folder / "node") == {".git", "one"}


# -- addresses ----------------------------------------------------------------------------------------


def test_an_address_is_replaced_at_the_import_until_that_is_undone(host: Attached, hub: Hub) -> None:
    url = hub.add_model("m.pt", 1000)
    host.imports(lambda: host.download(url=DEAD))
    with pytest.raises(requests.ConnectionError):
        host.create()
    data = host.failed("create_project")
    preview = host.integrator.fixes.preview(data.operation_id, "update_url", {"url": url})
    assert f"{DEAD} = {url}" in " ".join(preview.says)
    applied = host.fix(data, "update_url", url=url)
    assert applied.parameters == {"instead_of": DEAD, "url": url}
    host.undo(data, applied)
    with pytest.raises(requests.ConnectionError):
        host.create()
    host.fix(data, "update_url", url=url)
    host.create()
    assert (host.folder / "m.pt").read_bytes() == hub.content("m.pt")


def test_a_signed_address_for_a_part_is_whole_only_where_secrets_are(host: Attached, hub: Hub) -> None:
    url = f"{hub.add_model('m.pt', 1000)}?X-Amz-Signature=fedcba9876543210"
    host.imports(lambda: host.download(url=f"{DEAD}?X-Amz-Signature=0123456789abcdef"))
    with pytest.raises(requests.ConnectionError):
        host.create()
    host.fix(host.failed("create_project"), "update_url", url=url)
    host.create()
    assert (host.folder / "m.pt").read_bytes() == hub.content("m.pt")
    kept = host.everything_kept().decode("latin-1") + "".join(host.told)
    assert "X-Amz-Signature=***" in kept
    assert "fedcba9876543210" not in kept


@pytest.fixture
def imported(failed: Failed) -> tuple[RecoveryData, RecoveryData, RecoveryData]:
    """An import that failed with two downloads, of which the second failed last, in it; and those."""
    whole = failed.operation("create_project", {"project_id": "p"}, "update_url", key="create_project:p")
    parts = []
    for name in ("one", "two"):
        failed.clock.advance(1)
        about = {"url": f"https://files.example/{name}", "parent_id": whole.operation_id}
        parts.append(failed.download("update_url", f"{name}.pt", **about))
    failed.download(name="alone.pt", url="https://files.example/alone")
    return whole, parts[0], parts[1]


def asks(failed: Failed, data: RecoveryData) -> str:
    """The address that the next attempt asks."""
    found = failed.record(data.operation_id)
    return str(effects.amended(found, found.kwargs, failed.fixes.tools.vault, failed.lifecycle.current)["url"])


def test_of_several_parts_one_is_chosen_and_what_was_replaced_can_be_replaced_again(
    failed: Failed, imported: tuple[RecoveryData, RecoveryData, RecoveryData]
) -> None:
    whole, one, two = imported
    (offer, *_) = failed.fixes.for_operation(whole.operation_id)
    old = offer.parameters[0]
    assert (old.name, old.default) == ("instead_of", "https://files.example/two")
    assert old.choices == ("https://files.example/two", "https://files.example/one")
    with pytest.raises(FixRefusedError, match=r"must be one of: https://files\.example/two"):
        failed.fixes.preview(whole.operation_id, "update_url", {"instead_of": "https://else/", "url": "https://new/"})
    first = failed.apply(whole, "update_url", instead_of="https://files.example/one", url="https://new.example/1")
    second = failed.apply(whole, "update_url", instead_of="https://new.example/1", url="https://newer.example/1")
    assert (asks(failed, one), asks(failed, two)) == ("https://newer.example/1", "https://files.example/two")
    third = failed.apply(whole, "update_url", instead_of="https://newer.example/1", url="https://files.example/one")
    assert asks(failed, one) == "https://files.example/one"
    for applied in (third, second):
        failed.undo(whole, applied)
    assert asks(failed, one) == "https://new.example/1"
    failed.undo(whole, first)
    assert asks(failed, one) == "https://files.example/one"


def test_what_a_part_asks_by_itself_counts_before_the_address_of_the_import(
    failed: Failed, imported: tuple[RecoveryData, RecoveryData, RecoveryData]
) -> None:
    """It is what the import then shows as replaced."""
    whole, one, _ = imported
    failed.apply(one, "update_url", url="https://own.example/1")
    failed.apply(whole, "update_url", instead_of="https://files.example/two", url="https://new.example/2")
    assert asks(failed, one) == "https://own.example/1"
    assert failed.fixes.for_operation(one.operation_id)[0].parameters[0].name == "url"
    (offer, *_) = failed.fixes.for_operation(whole.operation_id)
    assert set(offer.parameters[0].choices or ()) == {"https://own.example/1", "https://new.example/2"}


def test_another_source_of_a_part_is_chosen_at_the_import(
    failed: Failed, imported: tuple[RecoveryData, RecoveryData, RecoveryData]
) -> None:
    whole, one, two = imported
    failed.sources = ["https://mirror.example/two"]
    offers = {offer.id: offer for offer in failed.fixes.for_operation(whole.operation_id)}
    assert offers["choose_mirror"].parameters[1].choices == ("https://mirror.example/two",)
    failed.apply(whole, "choose_mirror", url="https://mirror.example/two")
    assert (asks(failed, one), asks(failed, two)) == ("https://files.example/one", "https://mirror.example/two")


def test_the_address_for_a_part_is_checked_as_that_of_its_call(
    failed: Failed, imported: tuple[RecoveryData, RecoveryData, RecoveryData]
) -> None:
    with pytest.raises(FixRefusedError, match="is not a web address"):
        failed.fixes.preview(imported[0].operation_id, "update_url", {"url": "ssh://host/m"})


def test_an_import_without_a_part_that_asks_an_address_has_none_to_replace(failed: Failed) -> None:
    data = failed.operation("create_project", {"project_id": "p"}, "update_url")
    with pytest.raises(FixRefusedError, match="has no address"):
        failed.fixes.preview(data.operation_id, "update_url", {"url": "https://new/"})
    with pytest.raises(FixRefusedError, match="instead_of"):
        failed.fixes.preview(
            failed.download("update_url").operation_id, "update_url", {"instead_of": URL, "url": "https://new/"}
        )


def test_the_host_that_wants_a_token_is_that_of_the_part_that_failed(
    failed: Failed, imported: tuple[RecoveryData, RecoveryData, RecoveryData]
) -> None:
    whole, *_ = imported
    failed.apply(whole, "update_url", url="https://other.example:8443/m")
    offered = {offer.id: offer for offer in failed.fixes.for_operation(whole.operation_id)}
    assert "add_token" not in offered
    told = failed.fixes.preview(whole.operation_id, "add_token", {"token": "a-token-of-mine"})
    assert "other.example:8443" in " ".join(told.says)
