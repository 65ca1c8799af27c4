"""Plans about how servers are reached: addresses, tokens, proxies and certificates. TLS is never switched off."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launcher_recovery.errors import RecoveryConfigError, RefusedError
from launcher_recovery.fixes import effects
from launcher_recovery.fixes.action import Action
from launcher_recovery.fixes.actions import KeepSecret, Set
from launcher_recovery.fixes.fix import Case, FixRefusedError, Plan, Say
from launcher_recovery.redaction import redact_url

_OFF = frozenset({"0", "false", "none", "no", "off", "insecure", "verify=false", "/dev/null", "nul", "-k"})


def setting(case: Case, name: str, value: Any, *, makes_resumable: bool = False) -> Set:
    """The action that sets something for the attempts to come."""
    before = effects.settings_of(case.data).get(name)
    if before == value and not makes_resumable:
        raise FixRefusedError(Say("wrong.already"))
    return Set(name, value, before, makes_resumable)


def url_of(case: Case) -> str | None:
    """The address of the operation as fixes have changed it, without secrets."""
    url = effects.amended(case.data, case.data.kwargs, case.tools.vault).get("url")
    return redact_url(url) if isinstance(url, str) else None


def host_of(case: Case) -> str | None:
    """The host that is asked, with the port if it is unusual: that of the address, or a mirror that stands for it."""
    try:
        parts = urlsplit(url_of(case) or "")
        own = parts.hostname if parts.port in (None, 443) or not parts.hostname else f"{parts.hostname}:{parts.port}"
    except ValueError:
        return None
    kind = case.tools.kinds().get(case.data.kind)
    try:
        asked = None if kind is None else kind.scope(effects.amended(case.data, case.data.kwargs, case.tools.vault))
    except (RecoveryConfigError, LookupError):
        asked = None
    return own if asked in (None, parts.hostname) else asked


def about_site(case: Case) -> Mapping[str, str]:
    """The host and the page where a licence is accepted or a token is made."""
    url = url_of(case) or ""
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
    url = case.given["url"]
    arguments = {**case.data.kwargs, "url": url}
    kind = case.tools.kinds().get(case.data.kind)
    if kind is None or "url" not in case.data.kwargs:
        raise FixRefusedError(Say("wrong.no_address"))
    try:
        kind.check(arguments, case.tools.roots())
    except RefusedError as error:
        raise FixRefusedError(Say("wrong.refused", {"why": str(error)}), "url") from None
    lifecycle = case.tools.lifecycle
    shown = lifecycle.redactor.value(url)
    change: dict[str, Any] = {"from": lifecycle.redactor.value(case.data.kwargs["url"]), "to": shown}
    actions: list[Action] = []
    if shown != url:
        change["is_secret"] = True
        place = f"argument:{case.data.operation_id}:url"
        actions.append(KeepSecret(place, "url", urlsplit(shown).hostname or "?"))
    before = effects.settings_of(case.data).get(effects.ARGUMENTS) or {}
    # With an address that is known again it can be run from its record, if nothing else of that was left out.
    rest = {name: value for name, value in case.data.kwargs.items() if name != "url"}
    makes_resumable = not case.data.resumable and "***" not in repr(rest)
    value = {**before, "url": change}
    actions.append(setting(case, effects.ARGUMENTS, value, makes_resumable=makes_resumable))
    return Plan(tuple(actions), (Say("address.new", {"url": shown}),))


def check_proxy_address(value: Any, case: Case) -> Say | None:
    """The address of a proxy, without a login, which has parameters of its own."""
    if value.lower() in _OFF:
        return Say("wrong.tls")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/")
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        return Say("wrong.proxy", {"value": redact_url(value)})
    return Say("wrong.proxy_login") if "@" in parts.netloc else None


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
    try:
        if not Path(value).is_file():
            return Say("wrong.not_there", {"path": value})
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=value)
    except (OSError, ValueError):
        return Say("wrong.bundle", {"path": value})
    return None if context.cert_store_stats()["x509"] else Say("wrong.bundle", {"path": value})


def known_sources(case: Case) -> list[str]:
    """Other addresses of the same file that the call or an extension knows, without secrets."""
    url = case.data.kwargs.get("url")
    if not isinstance(url, str):
        return []
    given = case.data.kwargs.get("sources") or ()
    found = [*([given] if isinstance(given, str) else given), *case.tools.sources(url, case.data)]
    now = effects.amended(case.data, case.data.kwargs, case.tools.vault)["url"]
    return [source for source in dict.fromkeys(found) if source != now and redact_url(source) == source]


def use_ca_bundle(case: Case) -> Plan:
    """The attempts of this operation check servers by another file of certificates."""
    return Plan((setting(case, effects.CA_BUNDLE, case.given["path"]),), (Say("only.here"),))
