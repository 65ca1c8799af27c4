"""Secrets do not reach a store, an event or a message."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import SQLitePersistence
from launcher_recovery.operation import current_operation
from launcher_recovery.redaction import Redactor, redact_url
from tests.unit.kit import Kit

SECRET = "s3cr3tV4lue0123456789abcdef"
HF = "hf_" + "AbCdEfGh" * 4

URLS = [
    (f"https://user:{SECRET}@host/a?b=1", "https://host/a?b=1"),
    (f"https://{SECRET}@host:8080/a", "https://host:8080/a"),
    (f"https://host/a?token={SECRET}&b=1", "https://host/a?token=***&b=1"),
    (f"https://host/a?X-Amz-Signature={SECRET}&X-Amz-Date=1", "https://host/a?X-Amz-Signature=***&X-Amz-Date=***"),
    (f"https://host/a?X-Goog-Signature={SECRET}", "https://host/a?X-Goog-Signature=***"),
    (f"https://host/a?sv=1&sig={SECRET}", "https://host/a?sv=***&sig=***"),
    (f"https://host/a?Policy=p&Signature={SECRET}&Key-Pair-Id=k", "https://host/a?Policy=***&Signature=***&Key-Pair-Id=***"),
    (f"https://host/a?api_key={SECRET}#part", "https://host/a?api_key=***#part"),
    ("https://host/a?type=Model&format=SafeTensor", "https://host/a?type=Model&format=SafeTensor"),
    ("https://host/a%20b?q=%20x", "https://host/a%20b?q=%20x"),
    ("https://[::1/broken", "***"),
]  # fmt: skip

TEXTS = [
    f"Authorization: Bearer {SECRET}",
    f"authorization: {SECRET}",
    f"'Authorization': 'Basic {SECRET}'",
    f"Proxy-Authorization: Token {SECRET}",
    f"sent bearer {SECRET} to it",
    f"Cookie: session={SECRET}; other={SECRET}",
    f"Set-Cookie: a={SECRET}; Path=/",
    f"api_key={SECRET}",
    f'{{"access_token": "{SECRET}"}}',
    f"HF_TOKEN={SECRET}",
    f"password: {SECRET}",
    f"client_secret={SECRET}&x=1",
    f"GET https://host/a?token={SECRET} failed",
    f"cannot reach https://user:{SECRET}@host/a: timeout",
]


@pytest.mark.parametrize(("url", "expected"), URLS)
def test_urls(url: str, expected: str) -> None:
    """User names, passwords and signatures are taken out of a URL; a harmless one stays as it is."""
    assert redact_url(url) == expected


@pytest.mark.parametrize("text", TEXTS)
def test_texts(text: str) -> None:
    """Secrets are taken out of text, which otherwise stays readable; doing it twice changes nothing more."""
    found = Redactor().text(text)
    assert SECRET not in found
    assert "***" in found or "host" in found
    assert Redactor().text(found) == found


@pytest.mark.parametrize(
    "token", [HF, "ghp_" + "A1b2" * 9, "github_pat_" + "A1b2_" * 9, "AKIA" + "ABCD1234" * 2], ids=lambda t: t[:6]
)
def test_known_tokens(token: str) -> None:
    """Tokens of known shape are found anywhere."""
    assert Redactor().text(f"with {token}, and more") == "with ***, and more"


@pytest.mark.parametrize(
    "text", ["the tokenizer failed", "12 tokens", "no such file: /models/secret.bin", "HTTP 401", "keyboard=1"]
)
def test_harmless_text_stays(text: str) -> None:
    """What only looks a little like a secret is left alone."""
    assert Redactor().text(text) == text


def test_values() -> None:
    """Strings anywhere in a value are redacted, and members whose name says that they are secret; types stay."""
    point = namedtuple("point", "x y")(1, f"token={SECRET}")
    value = {
        "url": f"https://host/a?token={SECRET}",
        "Authorization": SECRET,
        "hf_token": SECRET,
        "password": SECRET.encode(),
        "nested": [{"Set-Cookie": SECRET}, (1, HF)],
        "token_normalization": "mean",
        "max_token": 77,
        "named": point,
        "path": Path("/a"),
    }
    found = Redactor().value(value)
    assert SECRET not in str(found)
    assert found["nested"] == [{"Set-Cookie": "***"}, (1, "***")]
    assert (found["token_normalization"], found["max_token"], found["path"]) == ("mean", 77, Path("/a"))
    assert found["named"] == (1, "token=***")


def test_further_rules() -> None:
    """Rules of extensions are applied as well."""
    redactor = Redactor()
    redactor.rules.append(lambda text: text.replace("Rosebud", "***"))
    assert redactor.value(["Rosebud!"]) == ["***!"]


@pytest.mark.parametrize("text", [*TEXTS, *[url for url, _ in URLS if SECRET in url], f"key {HF}"])
def test_secrets_never_reach_the_database(tmp_path: Path, text: str) -> None:
    """Whatever way a secret takes (arguments, title, key, progress, result, error), the files do not have it."""
    path = tmp_path / "recovery.db"
    store = SQLitePersistence(path)
    kit = Kit(store)

    def handler() -> Any:
        operation = current_operation()
        assert operation is not None
        operation.progress(1, 2, message=text)
        operation.metadata["note"] = text
        operation.save_metadata()
        if operation.attempt == 1:
            raise ConnectionError(text)
        return {"result": text, "list": [text]}

    given = {"args": (text,), "kwargs": {"a": [text], "headers": {"Authorization": f"Bearer {SECRET}"}}}
    result = kit.run(handler, title=text, key=text, **given)
    assert result["result"] == text
    assert not kit.now.resumable
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 3  # with the -wal and -shm
    for secret in (SECRET, HF):
        assert secret.encode() not in files
    assert kit.open(key=text).operation_id == kit.open(key=text).operation_id
    assert kit.open(key=text).operation_id != kit.open(key=text.replace("0123", "9999") + "x").operation_id
    store.close()
    assert SECRET.encode() not in path.read_bytes()
