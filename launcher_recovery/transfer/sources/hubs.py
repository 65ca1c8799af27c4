"""The model hubs: where they are asked, and who may have which token of the environment.

The variables are those of the hubs' own tools: `HF_ENDPOINT`, `HF_TOKEN` and the file of `hf auth login` as the library
huggingface_hub has them (its `constants.py` and `utils/_auth.py`), `HF_API_TOKEN` and `CIVITAI_API_TOKEN` of comfy-cli
(`constants.py`; the latter also of Civitai's Python package), `CIVITAI_TOKEN` of Civitai's command line, and
`CIVITAI_API_KEY` of ComfyUI-Lora-Manager. They are looked at whenever an attempt begins, and never kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.fixes.effects import token_for
from launcher_recovery.known_secrets import know
from launcher_recovery.redaction import redact_url
from launcher_recovery.secret_names import is_secret_parameter
from launcher_recovery.transfer.sources.source import same_origin

Authorization = Callable[[str], Mapping[str, str]]
"""From an address to the headers by which its server knows who asks."""

HUGGING_FACE = "https://huggingface.co"

_HUGGING_FACE_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_HUGGING_FACE_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_API_TOKEN")
# Not what lies below them: there are other services, some of which are asked with signed addresses.
_CIVITAI_HOSTS = frozenset({"civitai.com", "www.civitai.com", "civitai.red", "www.civitai.red"})
_CIVITAI_TOKENS = ("CIVITAI_API_TOKEN", "CIVITAI_API_KEY", "CIVITAI_TOKEN")

# RFC 6750 §2.1 allows less; what is not ASCII, or has a space in it, was copied wrongly.
_TOKEN = re.compile(r"[\x21-\x7e]+")
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})


def asked_at(url: str, environ: Mapping[str, str] | None = None) -> str:
    """The address that is asked in place of `url`: one at Hugging Face at `HF_ENDPOINT`, any other as it is.

    So is one that has a user in it, who is one of that very server.

    Args:
        environ: default: `os.environ`.

    Raises:
        RecoveryConfigError: `HF_ENDPOINT` is no web address.
    """
    parts = _parts(url)
    if parts is None or "@" in parts.netloc or _host(parts) not in _HUGGING_FACE_HOSTS:
        return url
    at = urlsplit(endpoint(os.environ if environ is None else environ))
    return urlunsplit((at.scheme, at.netloc, at.path + parts.path, parts.query, parts.fragment))


def endpoint(environ: Mapping[str, str]) -> str:
    """Where Hugging Face is asked, without a slash at the end.

    Raises:
        RecoveryConfigError: `HF_ENDPOINT` is no web address.
    """
    given = environ.get("HF_ENDPOINT", "").strip().rstrip("/")
    if not given:
        return HUGGING_FACE
    parts = _parts(given)
    if parts is None or not parts.hostname or parts.query or parts.fragment:
        raise RecoveryConfigError(
            f"HF_ENDPOINT={redact_url(given)!r} is not usable: it must be a web address such as https://hf-mirror.com"
        )
    return given


def headers_for(url: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The header with the token that the server of `url` may have; empty for every other one, and without TLS.

    A token that a person gave for that very server goes before those of the environment.

    Args:
        url: as it is asked, see `asked_at`. One that has a user or a token in it itself gets no other.
        environ: default: `os.environ`.

    Raises:
        RecoveryConfigError: the token, or `HF_ENDPOINT`, is not usable.
    """
    environ = os.environ if environ is None else environ
    parts = _parts(url)
    if parts is None or not takes_token(url):
        return {}
    if (given := token_for(url, environ=environ)) is not None:
        token: str | None = given
    elif same_origin(url, endpoint(environ)):
        token = _hugging_face_token(environ)
    elif _host(parts) in _CIVITAI_HOSTS:
        token = _first(_CIVITAI_TOKENS, environ)
    else:
        return {}
    if token is None:
        return {}
    know(token)
    return {"Authorization": f"Bearer {token}"}


def takes_token(url: str) -> bool:
    """Whether the server of `url` may be told who asks: over TLS alone, and unless the address says it itself."""
    parts = _parts(url)
    return parts is not None and parts.scheme == "https" and "@" not in parts.netloc and not _has_secret(parts.query)


def nobody(url: str) -> dict[str, str]:
    """No headers: nobody is to know who asks, or the session says it."""
    return {}


def given_first(given: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Both headers in one, those of `others` only where `given` has none of the same name."""
    names = {name.lower() for name in given}
    return {**{name: value for name, value in others.items() if name.lower() not in names}, **given}


def _parts(url: str) -> SplitResult | None:
    """The parts of a web address; None when it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # which is looked at only now
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") else None


def _host(parts: SplitResult) -> str | None:
    """The host of a web address at the usual port; None for all others."""
    return parts.hostname if parts.port in (None, 80 if parts.scheme == "http" else 443) else None


def _has_secret(query: str) -> bool:
    return any(is_secret_parameter(pair.partition("=")[0]) for pair in query.split("&"))


def _hugging_face_token(environ: Mapping[str, str]) -> str | None:
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in _TRUE:
        return None
    return _first(_HUGGING_FACE_TOKENS, environ) or _kept_token(environ)


def _first(names: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    """The first of these variables that has something in it."""
    for name in names:
        if text := environ.get(name, "").strip():
            return _checked(text, name)
    return None


def _kept_token(environ: Mapping[str, str]) -> str | None:
    """What `hf auth login` has kept."""
    home = environ.get("HF_HOME") or os.path.join(environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    path = os.path.expanduser(os.path.expandvars(environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")))
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return _checked(text, path) if text else None


def _checked(token: str, where: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise RecoveryConfigError(
            f"the token in {where} is not usable (it is not shown): it must be one word of ASCII characters"
        )
    return token
