"""The model hubs: where an address is asked, and which server may have which token of the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.known_secrets import without_known
from launcher_recovery.transfer.sources.hubs import asked_at, given_first, headers_for, nobody
from launcher_recovery.transfer.wanted import Wanted

FILE = "/black-forest-labs/FLUX.1-dev/resolve/main/ae.safetensors"
HF = f"https://huggingface.co{FILE}"
CIVITAI = "https://civitai.com/api/download/models/128713"
MIRROR = "https://mirror.example"
TOKEN = "hf_QzRk7VnYw2LpXb9TsJm4"
KEY = "0123456789abcdef0123456789abcdef"


def token_for(url: str, **environ: str) -> str | None:
    """The token that goes with a request; a home that is nowhere, unless one is given."""
    found = headers_for(url, {"HF_HOME": "/nowhere", **environ})
    assert set(found) <= {"Authorization"}
    value = found.get("Authorization")
    assert value is None or value.startswith("Bearer ")
    return None if value is None else value.partition(" ")[2]


# -- where it is asked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "endpoint", "expected"),
    [
        (HF, "", HF),
        (HF, MIRROR, MIRROR + FILE),
        (HF, f" {MIRROR}/ ", MIRROR + FILE),
        (HF, "http://127.0.0.1:8080/hub/", f"http://127.0.0.1:8080/hub{FILE}"),
        (f"{HF}?download=true", MIRROR, f"{MIRROR}{FILE}?download=true"),
        (f"http://huggingface.co{FILE}", "", HF),
        (f"https://hf.co{FILE}", "", HF),
        (f"https://www.huggingface.co{FILE}", MIRROR, MIRROR + FILE),
        (f"https://HuggingFace.co:443{FILE}", MIRROR, MIRROR + FILE),
        (f"https://huggingface.co:8443{FILE}", MIRROR, f"https://huggingface.co:8443{FILE}"),
        (f"https://ann:secret@huggingface.co{FILE}", MIRROR, f"https://ann:secret@huggingface.co{FILE}"),
        (f"https://huggingface.co.evil.example{FILE}", MIRROR, f"https://huggingface.co.evil.example{FILE}"),
        (f"https://cdn-lfs.huggingface.co{FILE}", MIRROR, f"https://cdn-lfs.huggingface.co{FILE}"),
        (CIVITAI, MIRROR, CIVITAI),
        ("https://[::1/broken", MIRROR, "https://[::1/broken"),
        ("https://huggingface.co:99999/a", MIRROR, "https://huggingface.co:99999/a"),
        ("", MIRROR, ""),
    ],
)
def test_only_what_is_at_hugging_face_is_asked_at_the_endpoint(url: str, endpoint: str, expected: str) -> None:
    """With path and query as they are."""
    assert asked_at(url, {"HF_ENDPOINT": endpoint} if endpoint else {}) == expected


@pytest.mark.parametrize(
    "value", ["mirror.example", "ftp://mirror.example", "https://", "https://m?x=1", "https://m#x", "https://m:99999"]
)
def test_an_endpoint_that_is_no_web_address_is_told_in_one_sentence(value: str) -> None:
    """Only where it is needed: other addresses are asked all the same."""
    environ = {"HF_ENDPOINT": value, "CIVITAI_TOKEN": KEY}
    with pytest.raises(RecoveryConfigError) as caught:
        asked_at(HF, environ)
    assert str(caught.value) == (
        f"HF_ENDPOINT={value!r} is not usable: it must be a web address such as https://hf-mirror.com"
    )
    assert asked_at(CIVITAI, environ) == CIVITAI


def test_the_password_of_an_endpoint_is_not_told() -> None:
    """Nor is a token that somebody put into it."""
    with pytest.raises(RecoveryConfigError) as caught:
        asked_at(HF, {"HF_ENDPOINT": "https://ann:secret@m?token=secret"})
    assert "secret" not in str(caught.value)


# -- who may have which token ---------------------------------------------------------------------------------


def test_names_and_their_order_are_those_of_the_hubs_own_tools(tmp_path: Path) -> None:
    """An empty one is as good as none; the one that was kept by a login is the last."""
    (tmp_path / "token").write_text("kept\n")
    names = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_API_TOKEN"]
    environ = {name: name.lower() for name in names} | {"HF_HOME": str(tmp_path)}
    for name in names:
        assert token_for(HF, **environ) == name.lower()
        environ[name] = " "
    assert token_for(HF, **environ) == "kept"
    names = ["CIVITAI_API_TOKEN", "CIVITAI_API_KEY", "CIVITAI_TOKEN"]
    environ = {name: name.lower() for name in names}
    for name in names:
        assert token_for(CIVITAI, **environ) == name.lower()
        del environ[name]
    assert token_for(CIVITAI, **environ) is None


def test_a_kept_token_is_looked_for_where_the_library_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_TOKEN_PATH before HF_HOME before XDG_CACHE_HOME before the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    places = {
        "path": tmp_path / "elsewhere",
        "hf": tmp_path / "hf" / "token",
        "xdg": tmp_path / "xdg" / "huggingface" / "token",
        "home": tmp_path / "home" / ".cache" / "huggingface" / "token",
    }
    for name, path in places.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f" {name}\r\n")
    environ = {"HF_TOKEN_PATH": str(places["path"]), "HF_HOME": str(tmp_path / "hf")}
    environ["XDG_CACHE_HOME"] = str(tmp_path / "xdg")
    found = []
    for variable in (*list(environ), None):
        found.append(headers_for(HF, environ))
        if variable is not None:
            del environ[variable]
    assert found == [{"Authorization": f"Bearer {name}"} for name in places]
    places["home"].write_text("")
    assert headers_for(HF, environ) == {}
    places["home"].unlink()
    assert headers_for(HF, environ) == {}


@pytest.mark.parametrize("value", ["1", "on", "Yes", "TRUE"])
def test_the_librarys_switch_for_tokens_is_obeyed(value: str) -> None:
    """HF_HUB_DISABLE_IMPLICIT_TOKEN; it is none of Civitai's."""
    assert token_for(HF, HF_TOKEN=TOKEN, HF_HUB_DISABLE_IMPLICIT_TOKEN=value) is None
    assert token_for(HF, HF_TOKEN=TOKEN, HF_HUB_DISABLE_IMPLICIT_TOKEN="0") == TOKEN
    assert token_for(CIVITAI, CIVITAI_TOKEN=KEY, HF_HUB_DISABLE_IMPLICIT_TOKEN=value) == KEY


BOTH = {"HF_TOKEN": TOKEN, "CIVITAI_API_TOKEN": KEY}


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        (HF, {}, TOKEN),
        ("https://huggingface.co:443/a", {}, TOKEN),
        (HF, {"HF_ENDPOINT": MIRROR}, None),
        (MIRROR + FILE, {"HF_ENDPOINT": MIRROR}, TOKEN),
        (MIRROR + FILE, {"HF_ENDPOINT": f"{MIRROR}/hub/"}, TOKEN),
        (MIRROR + FILE, {}, None),
        (f"{MIRROR}:8443{FILE}", {"HF_ENDPOINT": MIRROR}, None),
        ("https://cdn-lfs.huggingface.co/a", {}, None),
        ("https://huggingface.co.evil.example/a", {}, None),
        ("https://evil.example/huggingface.co/a", {}, None),
        (f"http://huggingface.co{FILE}", {}, None),
        ("http://mirror.example/a", {"HF_ENDPOINT": "http://mirror.example"}, None),
        (f"https://ann:pw@huggingface.co{FILE}", {}, None),
        (f"{HF}?token=mine", {}, None),
        (CIVITAI, {}, KEY),
        ("https://civitai.red/api/download/models/1?type=Model", {}, KEY),
        (f"{CIVITAI}?type=Model&token=mine", {}, None),
        ("http://civitai.com/a", {}, None),
        ("https://civitai.com:8443/a", {}, None),
        ("https://orchestration.civitai.com/a", {}, None),
        ("https://civitai.com.evil.example/a", {}, None),
        ("https://github.com/a", {}, None),
        ("https://[::1/broken", {}, None),
        ("ftp://huggingface.co/a", {}, None),
    ],
)
def test_a_token_is_for_its_own_server_over_tls(url: str, environ: Mapping[str, str], expected: str | None) -> None:
    """Not for one of another port or name, and not where the address itself says who asks."""
    assert token_for(url, **BOTH, **environ) == expected


@pytest.mark.parametrize("token", ["hf_one two", "hf_ö", "hf_a\nhf_b", "hf_\x00"])
def test_a_token_that_cannot_be_one_is_told_without_showing_it(token: str, tmp_path: Path) -> None:
    """Else the library that sends it would show it."""
    path = tmp_path / "token"
    path.write_text(token, encoding="utf-8")
    ways: dict[str, tuple[str, dict[str, str]]] = {
        "HF_TOKEN": (HF, {"HF_TOKEN": token}),
        "CIVITAI_API_KEY": (CIVITAI, {"CIVITAI_API_KEY": token}),
        str(path): (HF, {"HF_TOKEN_PATH": str(path)}),
    }
    for where, (url, environ) in ways.items():
        with pytest.raises(RecoveryConfigError) as caught:
            token_for(url, **environ)
        assert str(caught.value) == (
            f"the token in {where} is not usable (it is not shown): it must be one word of ASCII characters"
        )


def test_no_text_has_a_token_that_was_sent() -> None:
    """Civitai's have no form of their own; one that was not sent is not known."""
    text = f"the key {KEY} may not have this, nor {TOKEN}"
    assert without_known(text) == text
    token_for(CIVITAI, **BOTH)
    assert without_known(text) == f"the key *** may not have this, nor {TOKEN}"
    token_for(HF, **BOTH)
    assert without_known(text) == "the key *** may not have this, nor ***"


# -- with what a caller gives ---------------------------------------------------------------------------------


def test_what_the_caller_gives_goes_first_whatever_its_case() -> None:
    """A header has one value."""
    assert given_first({"authorization": "Basic x"}, {"Authorization": "Bearer y", "A": "b"}) == {
        "authorization": "Basic x",
        "A": "b",
    }
    assert nobody(HF) == {}


def test_headers_of_the_caller_are_for_the_first_address_and_tokens_for_every_one() -> None:
    """A mirror may be a hub too."""
    wanted = Wanted(
        "https://first.example/m",
        Path("/m"),
        mirrors=(HF,),
        headers={"X-Key": "1"},
        authorization=lambda url: {"Authorization": url},
    )
    assert wanted.headers_of(wanted.url) == {"X-Key": "1", "Authorization": wanted.url}
    assert wanted.headers_of(HF) == {"Authorization": HF}
    assert Wanted(HF, Path("/m")).headers_of(HF) == {}
