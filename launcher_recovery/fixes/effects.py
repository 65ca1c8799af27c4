"""What fixes have set for the attempts of an operation to come, for those who run them.

Kept among the metadata of the operation, so that it counts whoever calls the attempt: a person's retry, the operation
around it, or the launcher itself, with the arguments of long ago.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from launcher_recovery.fixes.vault import Vault, in_use
from launcher_recovery.records import RecoveryData
from launcher_recovery.redaction import Redactor

SETTINGS = "fix_settings"
"""Among the metadata of an operation: what fixes have set for its attempts to come."""

ARGUMENTS, PROXY, CA_BUNDLE = "arguments", "proxy", "ca_bundle"
LONG_PATHS, PREFER_BINARY, SKIPPED, COMFYUI_COMMIT = "long_paths", "prefer_binary", "skipped", "comfyui_commit"

_REDACTOR = Redactor()


def settings_of(data: RecoveryData) -> Mapping[str, Any]:
    """All that fixes have set, by name."""
    found = data.metadata.get(SETTINGS)
    return found if isinstance(found, Mapping) else {}


def amended(data: RecoveryData, arguments: Mapping[str, Any], vault: Vault | None = None) -> dict[str, Any]:
    """The arguments as fixes have changed them; one that is given otherwise than it was then stays as it is."""
    found = dict(arguments)
    for name, change in (settings_of(data).get(ARGUMENTS) or {}).items():
        if name in found and "changes" in change:
            found[name] = _rewritten(found[name], change["changes"])
            continue
        if name not in found or _REDACTOR.value(found[name]) != change["from"]:
            continue
        to = change["to"]
        if change.get("is_secret"):  # the stored one has no signature; whole it is where secrets are
            to = (vault or in_use(os.environ)).get(f"argument:{data.operation_id}:{name}")
        if to is not None:
            found[name] = to
    return found


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


def comfyui_commit(data: RecoveryData) -> str | None:
    """The commit of ComfyUI that a person has chosen for this import; None: none."""
    found = settings_of(data).get(COMFYUI_COMMIT)
    return found if isinstance(found, str) else None


def pip_options(data: RecoveryData) -> list[str]:
    """Options for `pip install`."""
    return ["--prefer-binary"] if settings_of(data).get(PREFER_BINARY) is True else []


def login_place(data: RecoveryData, proxy: str) -> str:
    """Under what the name and password for a proxy are kept: for that proxy, and this operation."""
    return f"proxy:{data.operation_id}:{proxy}"


def proxy_of(data: RecoveryData, vault: Vault | None = None) -> str | None:
    """The address of the proxy, with name and password where those were given; not to be kept or shown."""
    address = settings_of(data).get(PROXY)
    if not isinstance(address, str):
        return None
    login = (vault or in_use(os.environ)).get(login_place(data, address))
    if login is None:
        return address
    parts = urlsplit(address)
    user, _, password = login.partition("\n")
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}"))


def ca_bundle_of(data: RecoveryData) -> str | None:
    """The file of certificates that servers are checked by; None: the usual ones."""
    found = settings_of(data).get(CA_BUNDLE)
    return found if isinstance(found, str) else None


def environment_of(data: RecoveryData, vault: Vault | None = None) -> dict[str, str]:
    """Variables for the programs that an attempt runs, such as git and pip, beside those of this process."""
    found: dict[str, str] = {}
    proxy, bundle = proxy_of(data, vault), ca_bundle_of(data)
    if proxy is not None:
        found.update(dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy))
    if bundle is not None:
        found.update(dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT", "GIT_SSL_CAINFO"), bundle))
    return found


def git_environment(data: RecoveryData, url: str, vault: Vault | None = None) -> dict[str, str]:
    """Variables for git when it asks `url`: `environment_of`, long paths, and the token for its host.

    Settings of git given in this way go before those in files (git-config(1), GIT_CONFIG_COUNT), and the header goes to
    that host alone.
    """
    settings: list[tuple[str, str]] = []
    if settings_of(data).get(LONG_PATHS) is True:
        settings.append(("core.longpaths", "true"))
    proxy, bundle = proxy_of(data, vault), ca_bundle_of(data)
    if proxy is not None:
        settings.append(("http.proxy", proxy))
    if bundle is not None:
        settings.append(("http.sslCAInfo", bundle))
    token = token_for(url, vault)
    if token is not None:
        # Any name does for GitHub, GitLab and Hugging Face; this is the one that GitHub documents for its apps.
        login = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        host = urlsplit(url).netloc
        settings.append((f"http.https://{host}/.extraHeader", f"Authorization: Basic {login}"))
    found = environment_of(data, vault)
    if settings:
        begin = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
        for number, (name, value) in enumerate(settings, begin):
            found[f"GIT_CONFIG_KEY_{number}"], found[f"GIT_CONFIG_VALUE_{number}"] = name, value
        found["GIT_CONFIG_COUNT"] = str(begin + len(settings))
    return found


def token_for(url: str, vault: Vault | None = None, environ: Mapping[str, str] | None = None) -> str | None:
    """The token that a person gave for the host of `url`: for https, and that very host and port, alone."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme != "https" or not host or "@" in parts.netloc:
        return None
    place = host if port in (None, 443) else f"{host}:{port}"
    return (vault or in_use(os.environ if environ is None else environ)).get(f"host:{place}")
