"""Secrets do not reach a store, an event or a message."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import SQLitePersistence
from launcher_recovery.operation import current_operation
from launcher_recovery.redaction import Redactor, redact_url
from launcher_recovery.secret_names import is_secret_parameter, is_signature_parameter
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
    f"curl -u bob:{SECRET} https://host",
    f"curl --user 'bob:{SECRET} x' https://host",
    f"--token {SECRET} next",
    f"--password {SECRET}",
    f"--password={SECRET}",
    f"--hf-token '{SECRET} x'",
    f"['curl', '-u', 'bob:{SECRET}', '--access-token', '{SECRET}']",
    f"host=h password='{SECRET} with space' user=x",
    f'{{\\"token\\": \\"{SECRET}\\"}}',
    f"{{'token': b'{SECRET}'}}",
    f"get(url, auth=('bob', '{SECRET}'))",
    f"[('X-Token', '{SECRET}'), ('Authorization', 'Bearer {SECRET}')]",
    f"/d?access_key={SECRET}&a=1",
    f"sent /d?a=1&sig={SECRET}",
    f"https%3A%2F%2Fhost%2F%3Fa%3D1%26token%3D{SECRET}",
    f"https%3A%2F%2Fbob%3A{SECRET}%40host%2F",
    f"https://host/login?next=https%3A%2F%2Fhost%2F%3Fsig%3D{SECRET}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}",
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
    "token",
    [
        HF,
        "ghp_" + "A1b2" * 9,
        "github_pat_" + "A1b2_" * 9,
        "glpat-" + "A1b2-" * 4,
        "AKIA" + "ABCD1234" * 2,
        "ASIA" + "ABCD1234" * 2,
        "AIza" + "A1b2_" * 7,
        "sk-" + "A1b2" * 7,
        "sk-proj-" + "A1b2_" * 9,
        "sk-ant-api03-" + "A1-b2_" * 9,
        "sk_live_" + "A1b2" * 6,
        "xoxb-1234567890-" + "A1b2" * 6,
        "npm_" + "A1b2" * 9,
        "pypi-AgEI" + "A1b2" * 9,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.A1b2_-",
    ],
    ids=lambda token: token[:6],
)
def test_known_tokens(token: str) -> None:
    """Tokens of known shape are found anywhere."""
    assert Redactor().text(f"with {token}, and more") == "with ***, and more"


@pytest.mark.parametrize(
    "text",
    [
        "the tokenizer failed",
        "12 tokens",
        "no such file: /models/secret.bin",
        "HTTP 401",
        "keyboard=1",
        "a3f9c2d1e5b7a3f9c2d1e5b7a3f9c2d1e5b7a3f9",
        "sha256:" + "0123456789abcdef" * 4,
        "stabilityai/stable-diffusion-xl-base-1.0",
        "risk-assessment-of-something-long sk-learn-contrib",
        "task-" + "a" * 30,
        "/models/tokenizer.json",
        "download:/models/checkpoints/a.safetensors",
        "max_tokens=5",
        "https://host/v1?max_tokens=5&q=tokenizer",
        "key=download",
        "token=None, password: null",
        "PWD=/home/user",
        "docker run -u 1000:1000 --rm image",
        "git push -u origin main",
        "pip install --no-deps --index-url https://host/simple",
        "--token --verbose",
        "auth: failed",
        "https%3A%2F%2Fhost%2Fa%3Fb%3D1",
        "a.b.c eyJ.x.y",
    ],
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


@pytest.mark.parametrize(
    "name",
    [
        "auth",
        "pwd",
        "passphrase",
        "access_key",
        "accessKeyId",
        "private_key",
        "client_secret",
        "clientSecret",
        "session",
        "cookie",
        "cookies",
        "X-Api-Key",
        "AWS_SECRET_ACCESS_KEY",
        "token",
        "db.password",
        "sessionId",
        "apikey",
    ],
)
@pytest.mark.parametrize("item", [SECRET, ("bob", SECRET), [SECRET], {"user": SECRET}, SECRET.encode()])
def test_secret_names(name: str, item: Any) -> None:
    """All of what stands under a secret name is left out, in a member, a pair and an argument of a command."""
    redactor = Redactor()
    assert redactor.value({name: item, "a": 1}) == {name: "***", "a": 1}
    assert redactor.value([[name, item], (name, item)]) == [[name, "***"], (name, "***")]
    assert redactor.value({"name": name, "value": item, "a": 1}) == {"name": name, "value": "***", "a": 1}
    assert redactor.value(["x", f"--{name}", item]) == ["x", f"--{name}", "***"]


@pytest.mark.parametrize(
    "value",
    [
        {"max_tokens": 5, "tokens": ["a"], "token_normalization": "mean", "tokenizer": "tokenizer.json"},
        {"key": "download:/models/a", "name": "key", "value": "x"},
        {"token": None, "password": "", "session": True, "auth": (), "use_auth_token": False},
        {"token": 5, "sha256": "0123456789abcdef" * 4, "author": "a", "keyboard": "b", "monkey": "c"},
        {"PWD": "/home/user", "OLDPWD": "/"},
        {"x" * 200 + "_token": "a"},
        [["12", 0], ["a", "b"], ("name", "x"), ["--verbose", "x"], ["-u", "1000:1000"], ["-u", "origin"]],
        [b"\x00\xff\xfe" * 20, b"", b"model"],
        {1: 2.5, None: Path("/a")},
    ],
)
def test_harmless_values_stay(value: Any) -> None:
    """What only looks a little like a secret is left alone, and has its type."""
    assert Redactor().value(value) == value


def test_values_that_are_no_text() -> None:
    """Bytes are read as text, whatever is between it; names of members may hold secrets; a password may be a number."""
    redactor = Redactor()
    assert redactor.value(b'{"api_key":"%b"}' % SECRET.encode()) == b'{"api_key":"***"}'
    assert redactor.value(b"\xff\x00 token=%b \xfe" % SECRET.encode()) == b"\xff\x00 token=*** \xfe"
    assert redactor.value([(b"authorization", b"x"), (b"host", b"h")]) == [(b"authorization", "***"), (b"host", b"h")]
    assert redactor.value({f"https://a:{SECRET}@host": 1}) == {"https://host": 1}
    assert redactor.value({"password": 12345, "pin": 1}) == {"password": "***", "pin": 1}
    assert redactor.value(["curl", "-u", f"bob:{SECRET}"]) == ["curl", "-u", "***"]


@pytest.mark.parametrize(
    "piece",
    [
        "a-",
        "eyJ-",
        "eyJaaaaaaaa.",
        "token",
        "token='",
        "token=(",
        "auth=[",
        "--",
        "--a '",
        "-u a",
        "?a=",
        "%3f",
        "%26a",
        "a://",
        "authorization: bearer ",
        "cookie=",
        "sk-",
        "'x-a-",
        "-----BEGIN PRIVATE KEY-----",
        " ",
        "'",
    ],
)
def test_a_long_text_is_no_trap(piece: str) -> None:
    """300 kB of anything take as long as their length says: with a pattern that goes back and forth in it, this test
    would take many minutes."""
    words = "authorization: x cookie: private key :// bearer -- -u & %3d %3a%2f%2f auth ghp_ "
    found = Redactor().text(words + piece * (300_000 // len(piece)))
    assert found.startswith("authorization: ***")


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


def test_a_signature_is_not_any_secret() -> None:
    """A signature ends by itself; a token that a server refuses does not become right with a new address."""
    signatures = ["X-Amz-Signature", "x-goog-credential", "sig", "Signature", "Expires", "se", "Key-Pair-Id", "jwt"]
    tokens = ["token", "api_key", "access_token", "key", "password", "auth", "credentials"]
    assert [name for name in (*signatures, *tokens) if is_signature_parameter(name)] == signatures
    assert all(is_secret_parameter(name) for name in (*signatures, *tokens))
    assert not is_signature_parameter("sig" + "x" * 200)
