"""The token and its sessions: who is let in, for how long, and what is said of a setting that cannot be used."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.config import RecoveryConfig, load_config
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.known_secrets import without_known
from launcher_recovery.web.security.tokens import SESSION_S, ApiToken, read_token

TOKEN = "kestrel-over-the-9-hills"


class Clocked(ApiToken):
    """A token whose time is `at`."""

    def __init__(self, token: str | None = TOKEN, at: float = 1e9) -> None:
        self.at = at
        super().__init__(token, lambda: self.at)

    def lets_in(self, authorization: str | None = None, **cookies: str) -> bool:
        environ: dict[str, Any] = {"HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        if authorization is not None:
            environ["HTTP_AUTHORIZATION"] = authorization
        return self.is_shown(environ)


def test_a_program_shows_it_with_each_request() -> None:
    token = Clocked()
    for header in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
        assert token.lets_in(header)
    for header in ("", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN):
        assert not token.lets_in(header)
    assert not token.lets_in(None)


def test_signs_beyond_ascii_are_those_that_were_sent() -> None:
    token = Clocked("κλειδί-κλειδί-κλειδί")
    assert token.lets_in("Bearer κλειδί-κλειδί-κλειδί".encode().decode("latin-1"))
    assert not token.lets_in("Bearer ключ-ключ-ключ-ключ".encode().decode("latin-1"))
    assert not Clocked().lets_in("Bearer \xff\xfe")


def test_a_session_stands_for_it_and_is_no_copy() -> None:
    token = Clocked()
    session = token.open_session()
    assert TOKEN not in session
    assert token.lets_in(**{token.cookie: session})
    assert session != token.open_session()
    # In another process as well, and beside cookies of others.
    assert Clocked().lets_in(**{"other": "\xe9=\xff", token.cookie: session})


def test_a_session_ends() -> None:
    token = Clocked()
    session = token.open_session()
    token.at += SESSION_S - 1
    assert token.lets_in(**{token.cookie: session})
    token.at += 1
    assert not token.lets_in(**{token.cookie: session})


def test_a_session_that_was_changed_or_made_up_is_none() -> None:
    token = Clocked()
    expiry, chance, mac = token.open_session().split(".")
    later = str(int(expiry) + 1)
    for made_up in (
        f"{later}.{chance}.{mac}", f"{expiry}.x.{mac}", f"{expiry}.{chance}.{'0' * 64}", f"{expiry}.{chance}.",
        f"{expiry}.{chance}", "", ".", "..", TOKEN, mac, f".{mac}", "x.y.é",
    ):  # fmt: skip
        assert not token.lets_in(**{token.cookie: made_up})
    assert not token.lets_in(launcher_recovery_session=f"{expiry}.{chance}.{mac}")


def test_sessions_of_another_token_count_no_more_and_have_another_name() -> None:
    before, after = Clocked(), Clocked(TOKEN + "-new")
    assert before.cookie != after.cookie
    assert not after.lets_in(**{after.cookie: before.open_session()})


def test_without_a_token_nobody_has_it() -> None:
    token = Clocked(None)
    assert not token.is_needed
    assert not token.is_right("")
    assert not token.lets_in("Bearer ", x="y")


def test_it_is_left_out_of_texts() -> None:
    Clocked("a-token-that-pip-printed")
    assert without_known("pip: a-token-that-pip-printed!") == "pip: ***!"


def test_the_setting() -> None:
    config = load_config(environ={"RECOVERY_API_TOKEN": f" {TOKEN} "})
    assert config.api_token == TOKEN
    assert TOKEN not in repr(config) + str(config.sources)
    assert config.merged({"api_token": ""}).api_token is None
    assert RecoveryConfig(api_token="file:/x").api_token == "file:/x"
    with pytest.raises(RecoveryConfigError) as caught:
        load_config(environ={"RECOVERY_API_TOKEN": "too-short-secret"[:15]})
    assert str(caught.value) == (
        "RECOVERY_API_TOKEN='…' is not usable: it must be of at least 16 characters, or file:/path of a file that "
        "holds one"
    )


def test_a_file_holds_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    with caplog.at_level(logging.WARNING):
        assert read_token(f"file:{path}") == TOKEN
        assert not caplog.records
        path.chmod(0o644)
        assert read_token(f"file:{path}") == TOKEN
    assert "holds a token and can be read by others, who should not: chmod 600" in caplog.text
    assert TOKEN not in caplog.text
    assert read_token(TOKEN) == TOKEN
    assert read_token(None) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory): make it readable for this user."),
        (b"\xff\xfe" + b"secret" * 9, "cannot be read (it is not plain text)"),
        (b"secret", "holds 6 characters: a token has at least 16 characters."),
    ],
)
def test_a_file_that_holds_none_is_told(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecoveryConfigError) as caught:
        read_token(f"file:{path}")
    assert str(caught.value).startswith(f"RECOVERY_API_TOKEN names the file {path}, which ")
    assert words in str(caught.value)
    assert "secret" not in str(caught.value).replace(str(path), "")
