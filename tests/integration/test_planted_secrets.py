"""Secrets of many kinds are planted where they come from in real life, and looked for wherever something is kept or
told: the database and its WAL, the log, events, and every GET route of the API, those that are new as well."""

from __future__ import annotations

import base64
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import CommandError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.kinds import OperationKind
from launcher_recovery.known_secrets import know
from launcher_recovery.operation import current_operation
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.programs.running import run_command
from launcher_recovery.records import RecoveryData
from launcher_recovery.signals import Event, recovery_completed, recovery_updated
from launcher_recovery.testing import VirtualClock
from launcher_recovery.web import init_app
from launcher_recovery.web.api.routes import PREFIX, ROUTES

API_TOKEN = "kestrel-over-the-9-hills-of-api"
ENCRYPTION_KEY = "cGxhbnRlZC1lbmNyeXB0aW9uLWtleS1vZi0zMi1ieXQ="
KIND = OperationKind("download", "launcher_download", key=str, title=str)


@dataclass(frozen=True)
class Planted:
    """A text as it is met, and the secret in it."""

    text: str
    secret: str


def _planted() -> dict[str, Planted]:
    """By kind; the secret of each is another one, so that a leak says which it is."""
    found: dict[str, Planted] = {}

    def plant(kind: str, text: str, secret: str | None = None) -> None:
        made = secret or f"s3cr3t{len(found):02}Qx7Lm9Vb2"
        found[kind] = Planted(text.replace("{s}", made), made)

    user = base64.b64encode(b"ann:planted-password").decode()
    key = "MIIEowIBAAKCAQEA7planted7private7key7of7a7test"
    plant("bearer", "Authorization: Bearer {s}")
    plant("basic", "Authorization: Basic {s}", user)
    plant("bearer in a mapping", "{'Authorization': 'Bearer {s}', 'Accept': '*/*'}")
    plant("header of a key", "X-Api-Key: {s}")
    plant("query token", "https://models.example/m.safetensors?token={s}&x=1")
    plant("civitai", "https://civitai.com/api/download/models/1?type=Model&token={s}")
    plant("hugging face", "no access with hf_{s}")
    plant("hugging face cdn", "https://cdn-lfs.hf.co/m?Expires=1&Policy=p&Signature={s}&Key-Pair-Id=K1")
    plant("s3 v4", "https://b.s3.amazonaws.com/m?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={s}")
    plant("s3 session", "https://b.s3.amazonaws.com/m?X-Amz-Security-Token={s}&X-Amz-Expires=60")
    plant("s3 v2", "https://b.s3.amazonaws.com/m?AWSAccessKeyId=AKIA0000000000000000&Signature={s}&Expires=1")
    plant("gcs", "https://storage.googleapis.com/b/m?X-Goog-Algorithm=G&X-Goog-Signature={s}")
    plant("azure", "https://a.blob.core.windows.net/c/m?sv=2022-11-02&sp=r&sig={s}")
    plant("cloudfront", "https://d1.cloudfront.net/m?Expires=1&Signature={s}&Key-Pair-Id=K2")
    plant("address in an address", "https://h.example/go?to=https%3A%2F%2Fm.example%2Fm%3Ftoken%3D{s}")
    plant("userinfo", "https://ann:{s}@models.example/m.safetensors")
    plant("token as a user", "https://{s}@github.com/ann/node.git")
    plant("cookie", "Cookie: theme=dark; session={s}")
    plant("set-cookie", "Set-Cookie: sid={s}; Path=/; HttpOnly")
    plant("private key", f"-----BEGIN RSA PRIVATE KEY-----\n{key}\n-----END RSA PRIVATE KEY-----", key)
    plant("open key", "-----BEGIN OPENSSH PRIVATE KEY-----\n{s}\n-----END OPENSSH PRIVATE KEY-----")
    plant("password in words", "login failed: password={s} was refused")
    plant("json", 'the server said {"error": "denied", "api_key": "{s}"}')
    plant("escaped json", 'body: "{\\"access_token\\": \\"{s}\\"}"')
    plant("github", "remote: token ghp_{s} expired")
    plant("github fine-grained", "github_pat_{s}")
    plant("gitlab", "glpat-{s}")
    plant("aws secret", "aws_secret_access_key = {s}")
    plant("jwt", "{s}", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.Zm9yZ2VkLXNpZ25hdHVyZQ")
    plant("openai", "sk-proj-{s}")
    plant("slack", "xoxb-{s}")
    plant("proxy", "ProxyError('Cannot connect to proxy http://ann:{s}@proxy.example:3128')")
    plant("database", "could not connect to postgresql://ann:{s}@db.example:5432/recovery")
    plant("option", "fetcher --verbose --token {s} --out m.pt")
    plant("curl", "curl -u ann:{s} https://models.example/m")
    plant("pip", "Looking in indexes: https://ann:{s}@pypi.example/simple")
    plant("git", "fatal: Authentication failed for 'https://ann:{s}@git.example/node.git/'")
    plant("own token, by its value", "the plugin printed {s} and went on", API_TOKEN)
    plant("encryption key, by its value", "environment: {s}", ENCRYPTION_KEY)
    return found


PLANTED = _planted()


class Place:
    """A host with recovery, and everything that is kept and told by it."""

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.path = folder / "recovery.db"
        self._caplog = caplog
        self.told: list[str] = []
        config = RecoveryConfig(enabled=True, api_token=API_TOKEN, max_retries=1)
        self.integrator = RecoveryIntegrator(config, persistence=SQLitePersistence(self.path), clock=VirtualClock())
        self.app = Flask("host")
        gate = init_app(self.app, self.integrator, None)
        gate.rates.take = lambda peer, cost=1.0: 0  # type: ignore[method-assign,assignment]
        self.integrator.load()
        self.integrator.start()
        know(ENCRYPTION_KEY)
        for signal in (recovery_updated, recovery_completed):
            signal.connect(self._on_event)

    def _on_event(self, sender: object, event: Event) -> None:
        self.told.append(repr(event))

    def run(self, planted: Planted, fail: Any) -> RecoveryData:
        """An operation that has the text wherever code can put it, and then fails."""
        text = planted.text
        arguments = {
            "url": text, "destination": "/models/m.pt", "note": text, "headers": {"Authorization": text},
            "nested": [{"deep": (text, text.encode())}],
        }  # fmt: skip
        data = self.integrator.lifecycle.open(
            "launcher_download", (text,), arguments, kind="download", title=f"m {text}", key=f"k {text}", project="p"
        )

        def handler() -> None:
            operation = current_operation()
            assert operation is not None
            operation.progress(1, 2, "bytes", text)
            operation.step("plan", lambda: {"seen": text})
            operation.step(f"step {text}", lambda: 1)
            operation.metadata["note"] = text
            operation.save_metadata()
            logging.getLogger("launcher_recovery").warning("the server said: %s", text)
            fail(text)

        with pytest.raises((ConnectionError, CommandError)) as caught:
            self.integrator.engine.run(data, self.integrator.policy_for(KIND, data, "h"), handler)
        logging.getLogger("launcher_recovery").error("it failed", exc_info=caught.value)
        return data

    def everything(self, operation_ids: list[str]) -> dict[str, str]:
        """What is kept and told, by where."""
        files = {path.name: path.read_bytes().decode("latin-1") for path in self.path.parent.glob("recovery.db*")}
        formatter = logging.Formatter()
        records = [record for record in self._caplog.records if record.name.startswith("launcher_recovery")]
        # Of the fields all but the exception itself, which is told as the text of the record.
        log = "\n".join(f"{formatter.format(record)} { ({**vars(record), 'exc_info': None})!r}" for record in records)
        events = repr(self.integrator.persistence.events_since(0, 10**6))
        return {**files, "log": log, "signals": "\n".join(self.told), "events": events, **self._answers(operation_ids)}

    def _answers(self, operation_ids: list[str]) -> dict[str, str]:
        client = self.app.test_client()
        found: dict[str, str] = {}
        for route in ROUTES:
            if route.method != "GET":
                continue
            names = re.findall(r"<(?:\w+:)?(\w+)>", route.rule)
            assert set(names) <= {"operation_id"}, f"say here what {route.rule} is to be asked with"
            for operation_id in operation_ids if names else [""]:
                path = PREFIX + re.sub(r"<[^>]+>", operation_id, route.rule)
                asked = {"limit": "200"} if route.rule in ("/operations", "/events") else {}
                with client.get(path, query_string=asked, headers={"Authorization": f"Bearer {API_TOKEN}"}) as answer:
                    assert answer.status_code in (200, 503), (path, answer.get_data(as_text=True))
                    found[path] = answer.get_data(as_text=True) + repr(list(answer.headers))
        return found

    def close(self) -> None:
        for signal in (recovery_updated, recovery_completed):
            signal.disconnect(self._on_event)
        self.integrator.stop()


@pytest.fixture
def place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Place]:
    caplog.set_level(logging.DEBUG, "launcher_recovery")
    made = Place(tmp_path, caplog)
    yield made
    made.close()


def raised(text: str) -> None:
    """An error that has the text in itself, in its cause, and in a note."""
    try:
        raise OSError(text)
    except OSError as cause:
        error = ConnectionError("it broke", {"said": text}, text.encode())
        error.__notes__ = [text]  # type: ignore[attr-defined]
        raise error from cause


def printed(text: str) -> None:
    """A program that prints the text and fails."""
    script = f"import sys; print({text!r}); sys.exit(3)"
    try:
        run_command(current_operation(), [sys.executable, "-c", script, "--password", "of-the-command-line"])
    except CommandError as error:
        raise CommandError(["git", "clone", text], error.returncode, error.output) from error


def test_the_kinds_are_many_and_each_secret_is_in_its_text() -> None:
    assert len(PLANTED) >= 30
    assert all(planted.secret in planted.text for planted in PLANTED.values())
    assert len({planted.secret for planted in PLANTED.values()}) == len(PLANTED)


@pytest.mark.parametrize("fail", [raised, printed])
def test_secrets_appear_nowhere(place: Place, fail: Any) -> None:
    ids = [place.run(planted, fail).operation_id for planted in PLANTED.values()]
    found = place.everything(ids)
    assert {"recovery.db", "recovery.db-wal", "log", "events", f"{PREFIX}/metrics", f"{PREFIX}/config"} <= set(found)
    assert len(found) > 4 * len(ids)
    # What is looked through is really there: the texts without their secrets are.
    assert all("models.example" in found[where] for where in ("recovery.db-wal", "log", "events", "signals"))
    leaks = sorted(
        (kind, where) for kind, planted in PLANTED.items() for where, text in found.items() if planted.secret in text
    )
    assert leaks == []
    assert not [where for where, text in found.items() if "of-the-command-line" in text]
