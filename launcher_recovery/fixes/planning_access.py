"""Plans about how servers are reached: addresses, tokens, proxies and certificates. TLS is never switched off."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from launcher_recovery import ways
from launcher_recovery.errors import RecoveryConfigError, RefusedError
from launcher_recovery.fixes import effects
from launcher_recovery.fixes.action import Action
from launcher_recovery.fixes.actions import KeepSecret, Set
from launcher_recovery.fixes.fix import Case, FixRefusedError, Plan, Say
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.redaction import redact_url

_OFF = frozenset({"0", "false", "none", "no", "off", "insecure", "verify=false", "/dev/null", "nul", "-k"})


# git, credential.c and http.c
_WANTS_TO_KNOW = re.compile(
    r"(?:could not read (?:Username|Password) for|Authentication failed for) '(https?://[^'\n]+)'"
)


def setting(case: Case, name: str, value: Any, *, makes_resumable: bool = False) -> Set:
    """The action that sets something for the attempts to come."""
    before = effects.settings_of(case.data).get(name)
    if before == value and not makes_resumable:
        raise FixRefusedError(Say("wrong.already"))
    return Set(name, value, before, makes_resumable)


def asking(case: Case) -> list[RecoveryData]:
    """The operation if it asks an address, else those inside it that do and are not done, the latest first."""
    if "url" in case.data.kwargs:
        return [case.data]
    parts = case.tools.lifecycle.store.find(
        parent_id=case.data.operation_id, states=set(RecoveryState) - {RecoveryState.SUCCESS}, limit=-1
    )
    found = [part for part in parts if "url" in part.kwargs]
    return sorted(found, key=lambda part: part.updated_at, reverse=True)


def old_addresses(case: Case) -> list[str]:
    """The addresses that are asked, of which one can be replaced."""
    return list(dict.fromkeys(filter(None, (_url_of(part, case) for part in asking(case)))))


def _chosen(case: Case) -> RecoveryData | None:
    """The one whose address is meant: that was chosen, or failed last."""
    found, old = asking(case), case.given.get("instead_of")
    return next((one for one in found if old is None or _url_of(one, case) == old), None)


def _arguments_of(data: RecoveryData, case: Case) -> dict[str, Any]:
    """The arguments as fixes have changed them."""
    return effects.amended(data, data.kwargs, case.tools.vault, case.tools.lifecycle.current)


def _url_of(data: RecoveryData, case: Case) -> str | None:
    url = _arguments_of(data, case)["url"]
    return redact_url(url) if isinstance(url, str) else None


def url_of(case: Case) -> str | None:
    """The address of the operation as fixes have changed it, without secrets."""
    data = _chosen(case)
    return None if data is None else _url_of(data, case)


def _wants_to_know(case: Case) -> str | None:
    """The address of which git said that it wants to know who asks; it may be that of a submodule."""
    found = _WANTS_TO_KNOW.search(case.error_text)
    return None if found is None else found[1]


def host_of(case: Case) -> str | None:
    """The host that is asked, with the port if it is unusual: that of the address, or a mirror that stands for it."""
    address = _wants_to_know(case)
    try:
        parts = urlsplit(address or url_of(case) or "")
        own = parts.hostname if parts.port in (None, 443) or not parts.hostname else f"{parts.hostname}:{parts.port}"
    except ValueError:
        return None
    data = None if address is not None else _chosen(case)
    kind = None if data is None else case.tools.kinds().get(data.kind)
    try:
        asked = None if kind is None or data is None else kind.scope(_arguments_of(data, case))
    except (RecoveryConfigError, LookupError):
        asked = None
    return own if asked in (None, parts.hostname) else asked


def about_site(case: Case) -> Mapping[str, str]:
    """The host and the page where a licence is accepted or a token is made."""
    url = _wants_to_know(case) or url_of(case) or ""
    try:
        parts = urlsplit(url)
        host, path = parts.netloc or "?", parts.path
    except ValueError:
        host, path = "?", ""
    if host in ("huggingface.co", "hf.co", "www.huggingface.co"):
        # The page of the repository: what is before "resolve" or "blob".
        page = path.partition("/resolve/")[0].partition("/blob/")[0]
        return {
            "host": host,
            "link": f"https://huggingface.co{page}",
            "tokens": "https://huggingface.co/settings/tokens",
        }
    tokens = "https://civitai.com/user/account" if host.endswith("civitai.com") else f"https://{host}/"
    return {"host": host, "link": f"https://{host}/" if host != "?" else url, "tokens": tokens}


def check_token(value: Any, case: Case) -> Say | None:
    """One word of ASCII, as RFC 6750 has it; what else comes was copied wrongly."""
    is_word = value.isascii() and value.isprintable() and " " not in value
    return None if is_word else Say("wrong.token")


def add_token(case: Case) -> Plan:
    """The token is kept for one host."""
    host = case.given["host"].lower().removesuffix(":443")
    url = url_of(case)
    says: tuple[Say, ...] = (Say("token.only", {"host": host}),)
    if url is not None and urlsplit(url).scheme == "http" and host_of(case) == host:
        says += (Say("token.no_tls"),)
    return Plan((KeepSecret(f"host:{host}", "token", host),), says)


def new_address(case: Case) -> Plan:
    """The next attempts ask another address; what arrived is kept where the file is the same."""
    url, data = case.given["url"], _chosen(case)
    kind = None if data is None else case.tools.kinds().get(data.kind)
    if kind is None or data is None:
        raise FixRefusedError(Say("wrong.no_address"))
    try:
        kind.check({**data.kwargs, "url": url}, case.tools.roots())
    except RefusedError as error:
        raise FixRefusedError(Say("wrong.refused", {"why": str(error)}), "url") from None
    redactor = case.tools.lifecycle.redactor
    is_its_own = data is case.data
    old = redactor.value(data.kwargs["url"]) if is_its_own else _url_of(data, case)
    shown = redactor.value(url)
    change: dict[str, Any] = {"from": old, "to": shown}
    actions: list[Action] = []
    if shown != url:
        change["is_secret"] = True
        place = effects.address_place(case.data, "url" if is_its_own else str(old))
        actions.append(KeepSecret(place, "url", urlsplit(shown).hostname or "?"))
    actions.append(_new_argument(case, change) if is_its_own else _new_part_address(case, change))
    return Plan(tuple(actions), (Say("address.new", {"url": shown}),))


def _new_argument(case: Case, change: Mapping[str, Any]) -> Set:
    """What the operation itself asks."""
    before = effects.settings_of(case.data).get(effects.ARGUMENTS) or {}
    # With an address that is known again it can be run from its record, if nothing else of that was left out.
    rest = {name: value for name, value in case.data.kwargs.items() if name != "url"}
    makes_resumable = not case.data.resumable and "***" not in repr(rest)
    return setting(case, effects.ARGUMENTS, {**before, "url": change}, makes_resumable=makes_resumable)


def _new_part_address(case: Case, change: Mapping[str, Any]) -> Set:
    """What those inside of the operation ask that ask the old address."""
    before = effects.settings_of(case.data).get(effects.ADDRESSES) or []
    return setting(case, effects.ADDRESSES, [*(one for one in before if one["from"] != change["from"]), dict(change)])


def check_proxy_address(value: Any, case: Case) -> Say | None:
    """The address of a proxy, without a login, which has parameters of its own."""
    if value.lower() in _OFF:
        return Say("wrong.tls")
    if not ways.is_proxy(value):
        return Say("wrong.proxy", {"value": redact_url(value)})
    return Say("wrong.proxy_login") if "@" in urlsplit(value).netloc else None


def use_proxy(case: Case) -> Plan:
    """The attempts of this operation go through a proxy."""
    address = case.given["proxy"].rstrip("/")
    user, password = case.given.get("user"), case.secrets.get("password")
    if (user is None) != (password is None):
        missing = "user" if user is None else "password"
        raise FixRefusedError(Say("wrong.missing", {"name": missing}), missing)
    actions: list[Action] = []
    if user is not None:
        place = effects.login_place(case.data, address)
        actions.append(KeepSecret(place, "password", urlsplit(address).netloc, f"{user}\n"))
    if effects.settings_of(case.data).get(effects.PROXY) != address or not actions:
        actions.append(setting(case, effects.PROXY, address))
    return Plan(tuple(actions), (Say("only.here"),))


def check_bundle(value: Any, case: Case) -> Say | None:
    """A file with at least one certificate; that TLS is switched off is refused."""
    if os.path.basename(value).lower() in _OFF or value.lower() in _OFF:
        return Say("wrong.tls")
    if not os.path.isfile(value):
        return Say("wrong.not_there", {"path": value})
    return None if ways.has_certificates(value) else Say("wrong.bundle", {"path": value})


def known_sources(case: Case) -> list[str]:
    """Other addresses of the same file that the call or an extension knows, without secrets."""
    data = _chosen(case)
    url = None if data is None else data.kwargs["url"]
    if data is None or data.kind != "download" or not isinstance(url, str):
        return []
    given = data.kwargs.get("sources") or ()
    found = [*([given] if isinstance(given, str) else given), *case.tools.sources(url, data)]
    now = _arguments_of(data, case)["url"]
    return [source for source in dict.fromkeys(found) if source != now and redact_url(source) == source]


def use_ca_bundle(case: Case) -> Plan:
    """The attempts of this operation check servers by another file of certificates."""
    return Plan((setting(case, effects.CA_BUNDLE, case.given["path"]),), (Say("only.here"),))
