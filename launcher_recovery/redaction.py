"""Takes secrets out of URLs, text and values before they reach a database, a log, an event or a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from launcher_recovery.secret_names import is_secret_member, is_secret_number, is_secret_option, is_secret_parameter

MASK = "***"

_Replacement = Callable[["re.Match[str]"], str]

# Every pattern takes time in proportion to the text: what may repeat without end begins at something fixed, and is
# not tried again from its own middle.
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s'\"<>\\]+", re.IGNORECASE)
_PARAMETER = re.compile(r"([?&]([\w.~-]{1,64})=)[^\s&#'\"<>\\]+")
# The same inside another address, where it is percent-encoded.
_ENCODED_PARAMETER = re.compile(
    r"((?:%3f|%26)((?:(?!%26|%3d)[\w.~%-]){1,64})%3d)(?:(?!%26|%23)[^\s&#'\"<>\\])+", re.IGNORECASE
)
_ENCODED_USER = re.compile(r"(%3a%2f%2f)(?:(?!%2f|%3f|%23|%40)[^\s&#'\"<>\\/@])+%40", re.IGNORECASE)

# Before a quote there are backslashes where JSON is in JSON or in a repr, and more of them the deeper it is.
# A value: quoted, in brackets, or up to where a word ends.
_NOTHING = r"(?!(?:none|null|true|false)\b)"
_VALUE = (
    rf"{_NOTHING}(?:b?'[^'\r\n]*'|b?\"[^\"\r\n]*\"|\[[^\[\]]*\]|\([^()]*\)|\{{[^{{}}]*\}}"
    r"|\\{0,4}b?['\"]?[^\s'\",;&\\]+)"
)
_ASSIGNED = re.compile(
    r"((?:api[-_]?key|access[-_]?key(?:[-_]?id)?|secret[-_]?key|private[-_]?key|account[-_]?key|token|secret|passw(?:or)?d"
    # In capitals it is the shell's working directory.
    r"|passphrase|passcode|(?-i:pwd|Pwd)|session[-_]?id|credentials?)\\{0,4}['\"]?\s*[:=]\s*)"
    rf"(?!\\{{0,4}}['\"]?\*\*\*)({_VALUE})",
    re.IGNORECASE,
)
_LOGIN_PAIR = re.compile(r"(\bauth['\"]?\s*[:=]\s*)(\([^()]*\)|\[[^\[\]]*\])", re.IGNORECASE)
_HEADER_PAIR = re.compile(
    r"(['\"](?:(?:proxy-)?authorization|(?:set-)?cookie|x-(?:[a-z]+-)*(?:token|key|secret))['\"]\s*,\s*)"
    r"(b?'[^'\r\n]*'|b?\"[^\"\r\n]*\")",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"(\b(?:proxy-)?authorization\\?['\"]?\s*[:=]\s*\\?['\"]?(?:(?:bearer|basic|digest|negotiate|token|apikey)\s+)?)"
    r"[^\s'\",;\\]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bbearer\s+)[a-z0-9._~+/=-]{8,}", re.IGNORECASE)
_COOKIE = re.compile(r"(\b(?:set-)?cookie['\"]?\s*[:=]\s*)[^\r\n'\"]+", re.IGNORECASE)
# Also as Python and JSON write a list of arguments: '--token', 'X'.
_OPTION = re.compile(
    r"(?<![\w-])((--[\w-]+)(?:['\"]\s*,\s*(?=['\"])|\s+(?![-\s])|=))"
    r"('[^'\r\n]*'|\"[^\"\r\n]*\"|[^\s'\",]+)"
)
# `curl -u user:password`; 1000:1000 is the user and group of `docker run`.
_USER_OPTION = re.compile(
    r"(?<![\w-])((?:-[uU]|--user|--proxy-user)(?:['\"]\s*,\s*['\"]|\s+['\"]?|=['\"]?))(?!\d+:\d+\b)[^\s:'\"]*:[^\s'\"]+"
)
_USER_OPTIONS = frozenset({"-u", "-U", "--user", "--proxy-user"})
_USER = re.compile(r"(?!\d+:\d+$)[^\s:]*:.")
# Secrets that are known by their form, as in the rules of gitleaks (https://github.com/gitleaks/gitleaks, file
# config/gitleaks.toml) and the patterns of GitHub's secret scanning
# (https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns).
_KNOWN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}"
    r"|gl(?:pat|dt|ptt|rt|soat|cbt|ft|imt|agent)-[\w-]{16,}"  # GitLab
    r"|(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b"  # AWS
    r"|AIza[\w-]{35}|GOCSPX-[\w-]{16,}"  # Google
    r"|sk-(?:proj|svcacct|admin|ant|or)-[\w-]{16,}|sk-[A-Za-z0-9]{20,}"  # OpenAI, Anthropic, OpenRouter, DeepSeek
    r"|xox[a-z]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"  # Slack
    r"|[rs]k_(?:live|test)_[A-Za-z0-9]{10,}|npm_[A-Za-z0-9]{36}|pypi-AgEI[\w-]{16,})"
)
# RFC 7519: three parts in base64url, of which the first begins with {" and may be followed by another space or letter.
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]{0,50}-----|\Z)", re.S
)


def redact_url(url: str) -> str:
    """The URL without user name and password, and with `***` for the values of secret query parameters."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return MASK
    if any(is_secret_parameter(name) for name, _ in query):
        masked = [(name, MASK if is_secret_parameter(name) else value) for name, value in query]
        parts = parts._replace(query=urlencode(masked, safe="*/:"))
    return _redact_encoded(urlunsplit(parts._replace(netloc=host)))


def _redact_encoded(text: str) -> str:
    if "%3" in text:
        text = _ENCODED_USER.sub(r"\1", text)
        text = _ENCODED_PARAMETER.sub(_parameter, text)
    return text


def _url(match: re.Match[str]) -> str:
    return redact_url(match.group())


def _parameter(match: re.Match[str]) -> str:
    return f"{match.group(1)}{MASK}" if is_secret_parameter(match.group(2)) else match.group()


def _option(match: re.Match[str]) -> str:
    return f"{match.group(1)}{_masked(match.group(3))}" if is_secret_option(match.group(2)) else match.group()


def _pair(match: re.Match[str]) -> str:
    return f"{match.group(1)}{_masked(match.group(2))}"


def _start(match: re.Match[str]) -> str:
    return f"{match.group(1)}{MASK}"


def _first(match: re.Match[str]) -> str:
    return match.group(1)


def _whole(match: re.Match[str]) -> str:
    return MASK


def _masked(value: str) -> str:
    """`***`, in quotes where the value is."""
    quote = value[:1]
    return f"{quote}{MASK}{quote}" if quote in ("'", '"') and value[1:].endswith(quote) else MASK


# Each pattern with words of which one is in every text that has such a secret, in small letters. To look for words is
# many times faster than to look for a pattern, and most text has none.
_FORMS: tuple[tuple[tuple[str, ...], re.Pattern[str], _Replacement], ...] = (
    (("private key",), _PRIVATE_KEY, _whole),
    (("://",), _URL, _url),
    (("?", "&"), _PARAMETER, _parameter),
    (("%3a%2f%2f",), _ENCODED_USER, _first),
    (("%3d",), _ENCODED_PARAMETER, _parameter),
    (("authorization",), _AUTHORIZATION, _start),
    (("bearer",), _BEARER, _start),
    (("cookie",), _COOKIE, _start),
    (("authorization", "cookie", "x-"), _HEADER_PAIR, _pair),
    (("key", "token", "secret", "pass", "pwd", "session", "credential"), _ASSIGNED, _pair),
    (("auth",), _LOGIN_PAIR, _start),
    (("--",), _OPTION, _option),
    (("-u", "--proxy-u"), _USER_OPTION, _start),
    (
        (
            "hf_",
            "api_org_",
            "gh",
            "github_pat_",
            "gl",
            "akia",
            "asia",
            "abia",
            "acca",
            "aiza",
            "gocspx",
            "sk-",
            "k_",
            "xox",
            "xapp-",
            "npm_",
            "pypi-",
        ),
        _KNOWN,
        _whole,
    ),
    (("eyj",), _JWT, _whole),
)
# As `-u a:b` and `pwd=ab`; what is shorter cannot say that it is a secret.
_SHORTEST = 6
_PLAIN = (int, float, type(None))


class Redactor:
    """Redacts text and JSON values; further rules are functions from text to text."""

    def __init__(self) -> None:
        self.rules: list[Callable[[str], str]] = []

    def text(self, text: str) -> str:
        """`text` without secrets."""
        if len(text) >= _SHORTEST:
            lowered = text.lower()
            for words, pattern, replacement in _FORMS:
                for word in words:
                    if word in lowered:
                        text = pattern.sub(replacement, text)
                        break
        for rule in self.rules:
            text = rule(text)
        return text

    def value(self, value: Any) -> Any:
        """A JSON-like value with every text in it redacted, also one in bytes or in the names of members.

        All of what stands under a secret name becomes `***`: of a member, of a header given as a pair, of an argument
        that follows `--token` and the like. Nothing and yes or no are no secrets there, numbers only of passwords.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, dict):
            return self._members(value)
        if isinstance(value, list):
            return self._items(value)
        if isinstance(value, tuple):  # a named tuple as well, whose class cannot be called like `tuple`
            return tuple(self._items(value))
        if isinstance(value, bytes):
            return self._bytes(value)
        return value

    def _members(self, members: dict[Any, Any]) -> dict[Any, Any]:
        found = {}
        for name, item in members.items():
            if isinstance(name, str):
                found[self.text(name)] = MASK if _is_secret(name, item) else self.value(item)
            else:
                found[name] = self.value(item)
        if "value" in found and _is_secret(_name(members.get("name")), members["value"]):
            found["value"] = MASK  # {"name": "Authorization", "value": "Bearer X"}
        return found

    def _items(self, items: Sequence[Any]) -> list[Any]:
        if len(items) == 2 and _is_secret(_name(items[0]), items[1]):
            return [items[0], MASK]
        found = [self.value(item) for item in items]
        for position, option in enumerate(items[:-1]):
            if isinstance(option, str) and option[:1] == "-" and _is_given_secret(option, items[position + 1]):
                found[position + 1] = MASK
        return found

    def _bytes(self, value: bytes) -> bytes:
        text = value.decode("utf-8", "surrogateescape")
        redacted = self.text(text)
        return value if redacted == text else redacted.encode("utf-8", "surrogateescape")


def _name(value: Any) -> str:
    """The name that the first of a pair may be; frameworks give the names of headers as bytes."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _is_given_secret(option: str, argument: Any) -> bool:
    """Whether this argument of a command is a secret, given the one before."""
    if option in _USER_OPTIONS:
        return isinstance(argument, str) and _USER.match(argument) is not None
    return is_secret_option(option) and _is_secret(option[2:], argument)


def _is_secret(name: str, value: Any) -> bool:
    if not is_secret_member(name) or isinstance(value, bool) or not value:
        return False
    return is_secret_number(name) if isinstance(value, (int, float)) else True
