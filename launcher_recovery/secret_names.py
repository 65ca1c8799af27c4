"""Which names say that what they name is a secret: of members, query parameters, and command options."""

from __future__ import annotations

import functools
import re

# Names come again and again, as those of arguments; what is longer than this is no name.
_LONGEST = 100
_KNOWN_NAMES = 2048

# Query parameters that sign an address, for a while: the pre-signed URLs of AWS (X-Amz-*), Google (X-Goog-*), Azure
# (sig), CloudFront (Policy, Signature, Key-Pair-Id).
_SIGNATURE = (
    r"x-amz-.*|x-goog-.*|sig|signature|policy|key-pair-id|se|sp|sv|sr|expires|awsaccesskeyid|googleaccessid|hmac|jwt"
)
# And those that carry credentials, as model hubs call their tokens.
_PARAMETER = re.compile(
    rf"{_SIGNATURE}|.*token(?!s|i[sz]).*|.*secret.*|.*passw(or)?d.*|.*passphrase.*|pwd|auth(orization)?|.*api[-_]?key.*"
    r"|.*access[-_]?key.*|.*private[-_]?key.*|key|credentials?|session(id)?|cookie",
    re.IGNORECASE | re.DOTALL,
)
_SIGNATURE_PARAMETER = re.compile(_SIGNATURE, re.IGNORECASE | re.DOTALL)
# Narrower, for the members of a value: workflows have some such as `token_normalization` or `max_tokens`, which must be
# kept. Compared in small letters with `_` between the words.
_PASSWORD = r"passw(or)?d|pwd|pass_?phrase|pass_?code"
_MEMBER = re.compile(
    rf"(.*_)?(token|secret|{_PASSWORD}|auth|api_?key|access_?key(_?id)?|secret_?key|private_?key|account_?key"
    r"|authorization|cookies?|credentials?|session(_?(id|key))?|bearer|jwt)"
)
_NUMBER = re.compile(rf"(.*_)?({_PASSWORD}|secret)")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# The working directory, as a shell names it.
_SHELL_NAMES = frozenset({"PWD", "OLDPWD"})


def is_secret_parameter(name: str) -> bool:
    """Whether a query parameter of this name carries a secret."""
    return len(name) <= _LONGEST and _is_parameter(name)


def is_signature_parameter(name: str) -> bool:
    """Whether a query parameter of this name belongs to a signature, which is valid only for a while."""
    return len(name) <= _LONGEST and _SIGNATURE_PARAMETER.fullmatch(name) is not None


def is_secret_member(name: str) -> bool:
    """Whether what stands under this name, in a value or as a header, is a secret."""
    return len(name) <= _LONGEST and _is_member(name)


def is_secret_number(name: str) -> bool:
    """Whether even a number of this name is a secret: a `password` is, a `token` may be a position in a text."""
    return len(name) <= _LONGEST and _NUMBER.fullmatch(_in_words(name)) is not None


def is_secret_option(name: str) -> bool:
    """Whether what follows this argument of a command, such as `--token`, is a secret."""
    return name.startswith("--") and is_secret_member(name[2:])


@functools.lru_cache(_KNOWN_NAMES)
def _is_parameter(name: str) -> bool:
    return _PARAMETER.fullmatch(name) is not None


@functools.lru_cache(_KNOWN_NAMES)
def _is_member(name: str) -> bool:
    return name not in _SHELL_NAMES and _MEMBER.fullmatch(_in_words(name)) is not None


def _in_words(name: str) -> str:
    return _WORDS.sub("_", name).lower().replace("-", "_").replace(".", "_").replace(" ", "_")
