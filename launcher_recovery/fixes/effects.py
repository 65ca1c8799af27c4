"""What fixes have set for the attempts of an operation to come, for those who run them.

Kept among the metadata of the operation, so that it counts whoever calls the attempt: a person's retry, the operation
around it, or the launcher itself, with the arguments of long ago. What was set for an operation counts for those inside
it as well, unless it was set for them otherwise; they are run again by other calls than the one that failed.

Who looks things up for an operation that does not run says where the ones around it are found (`find`). Code inside
of one need not.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from launcher_recovery.fixes.vault import Vault, in_use
from launcher_recovery.known_secrets import know
from launcher_recovery.operation import current_operation
from launcher_recovery.records import RecoveryData
from launcher_recovery.redaction import Redactor

SETTINGS = "fix_settings"
"""Among the metadata of an operation: what fixes have set for its attempts to come."""

ARGUMENTS, ADDRESSES, SKIPPED = "arguments", "addresses", "skipped"
PROXY, CA_BUNDLE, LONG_PATHS = "proxy", "ca_bundle", "long_paths"
PREFER_BINARY, COMFYUI_COMMIT = "prefer_binary", "comfyui_commit"

Find = Callable[[str], "RecoveryData | None"]
"""From the id of an operation to its record."""

_REDACTOR = Redactor()

# Any name does for GitHub, GitLab and Hugging Face; this is the one that GitHub documents for its apps.
_LOGIN = "x-access-token"
_TOKEN_VARIABLE = "LAUNCHER_RECOVERY_GIT_TOKEN"
# git runs it by its own shell, and reads lines from it (gitcredentials(7)). The token is in no command line.
_HELPER = f'!f() {{ test "$1" = get && printf \'username={_LOGIN}\\npassword=%s\\n\' "${_TOKEN_VARIABLE}"; }}; f'


def settings_of(data: RecoveryData) -> Mapping[str, Any]:
    """All that fixes have set for the operation itself, by name."""
    found = data.metadata.get(SETTINGS)
    return found if isinstance(found, Mapping) else {}


def lineage(data: RecoveryData, find: Find | None = None) -> Iterator[RecoveryData]:
    """The operation and those around it, from the inside out."""
    yield data
    if find is None:
        operation = current_operation()
        find = None if operation is None else operation.store.get
    while find is not None and data.parent_id is not None:
        parent = find(data.parent_id)
        if parent is None:
            return
        data = parent
        yield data


def setting_of(data: RecoveryData, name: str, find: Find | None = None) -> tuple[Any, RecoveryData]:
    """What is set under a name for the operation or, the nearest first, one around it; and which one that is.

    None for the operation itself: nothing is set.
    """
    for one in lineage(data, find):
        if name in (settings := settings_of(one)):
            return settings[name], one
    return None, data


def amended(
    data: RecoveryData, arguments: Mapping[str, Any], vault: Vault | None = None, find: Find | None = None
) -> dict[str, Any]:
    """The arguments as fixes have changed them; one that is given otherwise than it was then stays as it is."""
    found = dict(arguments)
    for name, change in (settings_of(data).get(ARGUMENTS) or {}).items():
        if name in found and "changes" in change:
            found[name] = _rewritten(found[name], change["changes"])
        elif name in found and _REDACTOR.value(found[name]) == change["from"]:
            to = _whole(data, name, change, vault)
            found[name] = found[name] if to is None else to
    if isinstance(found.get("url"), str):
        for one in lineage(data, find):
            found["url"] = _readdressed(one, found["url"], vault)
    return found


def _readdressed(data: RecoveryData, url: str, vault: Vault | None) -> str:
    """The address in place of `url` for what is inside of the operation."""
    changes = {change["from"]: change for change in settings_of(data).get(ADDRESSES) or ()}
    while (change := changes.pop(_REDACTOR.text(url), None)) is not None:
        url = _whole(data, change["from"], change, vault) or url
    return url


def address_place(data: RecoveryData, name: str) -> str:
    """Under what a signed address is kept that an operation asks for: in place of an argument, or of an address."""
    return f"argument:{data.operation_id}:{name}"


def _whole(data: RecoveryData, name: str, change: Mapping[str, Any], vault: Vault | None) -> Any:
    if not change.get("is_secret"):
        return change["to"]
    # The stored one has no signature; whole it is where secrets are.
    return (vault or in_use(os.environ)).get(address_place(data, name))


def _rewritten(workflow: Any, groups: Sequence[Sequence[Mapping[str, Any]]]) -> Any:
    """A workflow with changes of some of its places, as far as these look as they did."""
    from launcher_recovery.workflows.errors import WorkflowError  # loaded only where a workflow was changed
    from launcher_recovery.workflows.fixing import amended_workflow
    from launcher_recovery.workflows.problems import Change

    try:
        return amended_workflow(workflow, [[Change.from_dict(told) for told in group] for group in groups])
    except WorkflowError:  # it is another one by now
        return workflow


def is_skipped(data: RecoveryData) -> bool:
    """Whether a person has said that the rest goes on without it."""
    return settings_of(data).get(SKIPPED) is True


def comfyui_commit(data: RecoveryData, find: Find | None = None) -> str | None:
    """The commit of ComfyUI that a person has chosen for this import; None: none."""
    found, _ = setting_of(data, COMFYUI_COMMIT, find)
    return found if isinstance(found, str) else None


def pip_options(data: RecoveryData, find: Find | None = None) -> list[str]:
    """Options for `pip install`."""
    found, _ = setting_of(data, PREFER_BINARY, find)
    return ["--prefer-binary"] if found is True else []


def login_place(data: RecoveryData, proxy: str) -> str:
    """Under what the name and password for a proxy are kept: for that proxy, and this operation."""
    return f"proxy:{data.operation_id}:{proxy}"


def proxy_of(data: RecoveryData, vault: Vault | None = None, find: Find | None = None) -> str | None:
    """The address of the proxy, with name and password where those were given; not to be kept or shown."""
    address, owner = setting_of(data, PROXY, find)
    if not isinstance(address, str):
        return None
    login = (vault or in_use(os.environ)).get(login_place(owner, address))
    if login is None:
        return address
    parts = urlsplit(address)
    user, _, password = login.partition("\n")
    know(password, quote(password, safe=""), _basic(user, password))
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}"))


def ca_bundle_of(data: RecoveryData, find: Find | None = None) -> str | None:
    """The file of certificates that servers are checked by; None: the usual ones."""
    found, _ = setting_of(data, CA_BUNDLE, find)
    return found if isinstance(found, str) else None


def environment_of(data: RecoveryData, vault: Vault | None = None, find: Find | None = None) -> dict[str, str]:
    """Variables for the programs that an attempt runs, such as git and pip, beside those of this process."""
    found: dict[str, str] = {}
    proxy, bundle = proxy_of(data, vault, find), ca_bundle_of(data, find)
    if proxy is not None:
        found.update(dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy))
        # A proxy in pip's own settings goes before those, and this one before it. It then asks NO_PROXY nothing.
        if not (os.environ.get("NO_PROXY") or os.environ.get("no_proxy")) or os.environ.get("PIP_PROXY"):
            found["PIP_PROXY"] = proxy
    if bundle is not None:
        found.update(dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT", "GIT_SSL_CAINFO"), bundle))
    return found


def git_environment(
    data: RecoveryData,
    url: str,
    vault: Vault | None = None,
    find: Find | None = None,
    environ: Mapping[str, str | None] | None = None,
) -> dict[str, str]:
    """Variables for git when it asks `url`: `environment_of`, long paths, and the token for its host.

    Settings of git given in this way go before those in files (git-config(1), GIT_CONFIG_COUNT). The token is given by
    a credential helper for that host alone. As a header (`http.extraHeader`) git would send it to wherever a server
    redirects as well: of a redirected clone, curl leaves it out of the first request, but git not out of the second.

    Args:
        environ: the variables that git gets otherwise, whose numbered settings stay; default: those of this process.
    """
    settings: list[tuple[str, str]] = []
    found = environment_of(data, vault, find)
    if setting_of(data, LONG_PATHS, find)[0] is True:
        settings.append(("core.longpaths", "true"))
    proxy, bundle = proxy_of(data, vault, find), ca_bundle_of(data, find)
    parts = _web(url)
    if proxy is not None:
        settings.append(("http.proxy", proxy))
        if parts is not None:  # before one that a file has for this host
            settings.append((f"http.{parts.scheme}://{parts.netloc.rpartition('@')[2]}/.proxy", proxy))
    if bundle is not None:
        settings.append(("http.sslCAInfo", bundle))
        settings.append(("http.schannelUseSSLCAInfo", "true"))  # else git for Windows may pass over the file
    token = token_for(url, vault)
    if token is not None and parts is not None:
        know(_basic(_LOGIN, token))
        found[_TOKEN_VARIABLE] = token
        # The empty one is in place of those that files have for all hosts, which may know another token.
        settings += [(f"credential.https://{parts.netloc}.helper", helper) for helper in ("", _HELPER)]
    if settings:
        found |= numbered(settings, environ)
    return found


def numbered(settings: Sequence[tuple[str, str]], environ: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Variables that give git settings (git-config(1), GIT_CONFIG_COUNT), after those that it is given already.

    Args:
        settings: (name, value) pairs; of two with one name the later counts.
        environ: the variables that git gets otherwise; default: those of this process.
    """
    count = (os.environ if environ is None else environ).get("GIT_CONFIG_COUNT") or ""
    begin = int(count) if count.isdecimal() else 0
    found = {"GIT_CONFIG_COUNT": str(begin + len(settings))}
    for number, (name, value) in enumerate(settings, begin):
        found[f"GIT_CONFIG_KEY_{number}"], found[f"GIT_CONFIG_VALUE_{number}"] = name, value
    return found


def token_for(url: str, vault: Vault | None = None, environ: Mapping[str, str] | None = None) -> str | None:
    """The token that a person gave for the host of `url`: for https, and that very host and port, alone."""
    parts = _web(url)
    if parts is None or parts.scheme != "https" or "@" in parts.netloc:
        return None
    place = parts.hostname if parts.port in (None, 443) else f"{parts.hostname}:{parts.port}"
    token = (vault or in_use(os.environ if environ is None else environ)).get(f"host:{place}")
    if token is not None:
        know(token)
    return token


def _web(url: str) -> SplitResult | None:
    """The parts of a web address; None when it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # which is looked at only now
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname else None


def _basic(user: str, password: str) -> str:
    """As it stands in a header, RFC 7617."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()
