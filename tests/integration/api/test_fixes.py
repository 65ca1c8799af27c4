"""Guided fixes over the API: what is offered, what one would do, doing it, undoing it, and the next attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher_recovery.records import RecoveryData, RecoveryState
from tests.site import Site, error_of

NEW = "https://files.example/other.pt"


@pytest.fixture
def failed(site: Site, tmp_path: Path) -> RecoveryData:
    """A download that failed, since its address leads nowhere."""
    arguments = {"url": "https://files.example/m.pt", "destination": str(tmp_path / "m.pt")}
    data = site.lifecycle.open("launcher_download", (), arguments, kind="download", key="download:m", title="m.pt")
    site.lifecycle.end_attempt(
        site.attempt(data),
        RecoveryState.FAILED,
        OSError("it is not there"),
        category="not_found",
        explanation="It is not there any more.",
        fix="update_url",
        fruitless=1,
        limit=1,
    )
    found = site.store.get(data.operation_id)
    assert found is not None
    return found


def test_what_is_offered_has_its_parameters_and_words(site: Site, failed: RecoveryData) -> None:
    path = f"/operations/{failed.operation_id}/fixes"
    body = site.get(path).get_json()
    assert (body["language"], body["applied"]) == ("en", [])
    first = body["fixes"][0]
    assert (first["id"], first["can_apply"]) == ("update_url", True)
    assert first["parameters"][0]["name"] == "url"
    assert first["title"]
    assert first["explanation"]
    chinese = site.get(f"{path}?language=zh-CN").get_json()
    assert chinese["language"] == "zh"
    assert chinese["fixes"][0]["title"] != first["title"]
    listed = site.get("/operations").get_json()["operations"][0]
    assert listed["fixes"][0] == "update_url"
    assert site.get(f"/operations/{site.in_state('success')}/fixes").get_json()["fixes"] == []


def test_it_is_looked_at_done_tried_again_and_undone(site: Site, failed: RecoveryData) -> None:
    path = f"/operations/{failed.operation_id}"
    given = {"parameters": {"url": NEW}}
    preview = site.send(f"{path}/fixes/update_url", {**given, "preview": True}).get_json()["preview"]
    assert (preview["fix"], preview["can_undo"]) == ("update_url", True)
    assert any("files.example" in sentence for sentence in preview["says"])
    before = site.store.get(failed.operation_id)
    assert before is not None
    assert "fix:" not in "".join(before.metadata)  # a look changes nothing
    body = site.send(f"{path}/fixes/update_url", {**given, "token": preview["token"]}).get_json()
    applied = body["applied"]
    assert (applied["state"], applied["can_undo"], body["operation"]["state"]) == ("applied", True, "failed")
    assert body["message"] is None
    assert [one["id"] for one in site.get(f"{path}/fixes").get_json()["applied"]] == [applied["id"]]
    undone = site.send(f"{path}/applied/{applied['id']}/undo", {"language": "zh"}).get_json()
    assert (undone["applied"]["state"], undone["applied"]["can_undo"]) == ("undone", False)

    again = site.send(f"{path}/fixes/update_url", {**given, "preview": True}).get_json()["preview"]
    done = site.send(f"{path}/fixes/update_url", {**given, "token": again["token"], "retry": True}).get_json()
    assert (done["applied"]["state"], done["operation"]["state"], done["message"]) == ("applied", "pending", None)


def test_a_fix_that_was_applied_stays_so_when_it_cannot_be_tried_again(site: Site, failed: RecoveryData) -> None:
    site.lifecycle.amend(failed.operation_id, {}, resumable=True)
    other = site.lifecycle.open(
        "launcher_download", (), dict(failed.kwargs), kind="download", key=failed.key, title="m"
    )
    path = f"/operations/{failed.operation_id}/fixes/update_url"
    given = {"parameters": {"url": NEW}}
    preview = site.send(path, {**given, "preview": True}).get_json()["preview"]
    body = site.send(path, {**given, "token": preview["token"], "retry": True}).get_json()
    assert (body["applied"]["state"], body["operation"]["state"]) == ("applied", "failed")
    assert "m.pt" in body["message"]
    assert site.store.get(other.operation_id) is not None


def test_what_cannot_be_done_is_refused_in_the_language_that_is_asked_for(site: Site, failed: RecoveryData) -> None:
    path = f"/operations/{failed.operation_id}/fixes"
    wrong = site.send(f"{path}/update_url", {"preview": True, "parameters": {"url": "ftp://x"}})
    assert error_of(wrong) == (422, "fix_refused")
    chinese = site.send(f"{path}/no_such_fix", {"preview": True, "language": "zh"})
    assert error_of_any(chinese) == (422, "fix_refused")
    assert "no_such_fix" in chinese.get_json()["error"]["message"]
    missing = site.send(f"{path}/update_url", {"parameters": {"url": NEW}})
    assert error_of(missing) == (422, "bad_token")
    stale = site.send(f"{path}/update_url", {"parameters": {"url": NEW}, "token": "x"})
    assert error_of(stale) == (409, "conflict")
    assert error_of(site.send(f"/operations/{failed.operation_id}/applied/nothing/undo")) == (422, "fix_refused")
    for wanted in ("/operations/nobody/fixes/update_url", "/operations/nobody/applied/a/undo"):
        assert error_of(site.send(wanted, {})) == (404, "unknown_operation")
    assert error_of(site.get("/operations/nobody/fixes")) == (404, "unknown_operation")
    bad = site.send(f"{path}/update_url", {"parameters": {"url": ["x"]}})
    assert error_of(bad) == (422, "bad_parameters")


def error_of_any(answer: object) -> tuple[int, str]:
    """Like `error_of`, of a sentence in any language."""
    status, body = answer.status_code, answer.get_json()  # type: ignore[attr-defined]
    return status, body["error"]["code"]


def test_one_that_fails_is_told_with_its_reason_and_without_secrets(
    site: Site, failed: RecoveryData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*given: object) -> None:
        raise OSError("the disk is gone: http://u:secret@h/")

    monkeypatch.setattr(site.integrator.fixes, "apply", break_off)
    path = f"/operations/{failed.operation_id}/fixes/update_url"
    answer = site.send(path, {"parameters": {"url": NEW}, "token": "x"})
    assert error_of(answer) == (409, "fix_failed")
    message = answer.get_json()["error"]["message"]
    assert message.startswith("It failed and was undone: the disk is gone")
    assert "secret" not in message


def test_only_those_who_are_trusted_may_apply_one(site: Site, failed: RecoveryData) -> None:
    path = f"/operations/{failed.operation_id}/fixes/update_url"
    elsewhere = {"REMOTE_ADDR": "192.168.1.9"}
    given = {"Content-Type": "application/json", "X-Launcher-Recovery": "1"}
    for one in (
        path,
        f"/operations/{failed.operation_id}/applied/a/undo",
        "/test",
        "/testing/run",
        "/performance/validate",
    ):
        answer = site.client.post(f"/api/recovery{one}", data="{}", headers=given, environ_overrides=elsewhere)
        assert error_of(answer) == (403, "not_trusted")
    looked = site.client.get(f"/api/recovery/operations/{failed.operation_id}/fixes", environ_overrides=elsewhere)
    assert looked.status_code == 200
    status = site.client.get("/api/recovery/status", environ_overrides=elsewhere).get_json()["recovery"]
    assert status["access"] == {"token": False, "trusted": False}
    assert site.get("/status").get_json()["recovery"]["access"] == {"token": False, "trusted": True}
