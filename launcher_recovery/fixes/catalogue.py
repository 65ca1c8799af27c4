"""The fixes of the package, and which of them fit besides the one that the verdict names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from launcher_recovery.fixes import planning_access as access
from launcher_recovery.fixes import planning_files as files
from launcher_recovery.fixes import planning_programs as programs
from launcher_recovery.fixes import planning_space as space
from launcher_recovery.fixes import planning_workflow as workflow
from launcher_recovery.fixes.fix import Case, Fix, Kind, Parameter, Plan
from launcher_recovery.fixes.places import folder_of, ours

_DOWNLOAD, _NODE, _COMFYUI, _IMPORT = "download", "install_node", "install_comfyui", "create_project"
_PACKAGES, _CHECK = "install_requirements", "validate_workflow"
_INSTALLS = (_NODE, _COMFYUI, _PACKAGES, _IMPORT)
_ALL = (_DOWNLOAD, *_INSTALLS)

# As Python writes it, also in the output of pip.
_REFUSED = re.compile(
    r"(?:Permission denied|Read-only file system|Operation not permitted|Access is denied): '([^'\n]{1,1000})'"
)


def _redownload(case: Case) -> Plan:
    return files.redownload(case) if case.data.kind == _DOWNLOAD else space.purge_pip_cache(case)


def _has_address(case: Case) -> bool:
    return case.data.kind in _ALL and bool(access.asking(case))


def _folder(case: Case) -> Mapping[str, str]:
    """The folder that the message names, else that of the operation."""
    found = _REFUSED.search(case.error_text)
    named = "" if found is None else os.path.dirname(found[1].replace("\\\\", "\\"))
    return {"folder": named if os.path.isabs(named) else str(folder_of(case) or "?")}


def _flag(name: str, default: bool) -> Parameter:
    return Parameter(name, Kind.BOOL, required=False, default=lambda case: default)


# Of which part: an import has several.
_INSTEAD_OF = Parameter(
    "instead_of",
    Kind.CHOICE,
    required=False,
    default=access.url_of,
    choices=access.old_addresses,
    fits=lambda case: "url" not in case.data.kwargs,
)


def _told(id: str, what: str) -> Fix:
    return Fix(id, facts=lambda case: {"command": programs.command_for(what) or "?"})


def _kind(*kinds: str) -> Callable[[Case], bool]:
    return lambda case: case.data.kind in kinds


# A person does these; the text says what.
_TEXTS = tuple(
    Fix(name)
    for name in (
        "check_connection", "wait_and_retry", "check_clock", "start_service", "raise_time_limit", "free_memory",
        "close_other_program", "raise_limits", "use_venv", "fix_workflow", "fix_settings", "fix_requirements",
        "install_dependency", "download_missing_model", "install_missing_nodes", "reconnect_disk", "shorten_name",
        "shorten_path", "pin_dependency", "restore_backup", "report_bug", "restart_worker",
        "update_comfyui",
    )
)  # fmt: skip

BUILTIN: Mapping[str, Fix] = {
    fix.id: fix
    for fix in (
        *_TEXTS,
        _told("install_build_tools", "tools"),
        _told("install_git", "git"),
        _told("install_git_lfs", "lfs"),
        _told("install_venv", "venv"),
        Fix("accept_license", facts=access.about_site, fits=_has_address),
        Fix("check_proxy"),
        Fix("fix_permissions", facts=_folder),
        Fix("use_other_disk", facts=_folder),
        Fix(
            "free_disk_space",
            (_flag("partials", True), _flag("pip_cache", True), _flag("quarantine", False)),
            space.free_disk_space,
        ),
        Fix(
            "add_token",
            (
                Parameter("host", Kind.HOST, default=access.host_of),
                Parameter("token", Kind.SECRET, check=access.check_token),
            ),
            access.add_token,
            facts=access.about_site,
            fits=_has_address,
        ),
        Fix("update_url", (_INSTEAD_OF, Parameter("url")), access.new_address, fits=_has_address),
        Fix(
            "choose_mirror",
            (_INSTEAD_OF, Parameter("url", Kind.CHOICE, choices=access.known_sources)),
            access.new_address,
            fits=lambda case: case.data.kind in (_DOWNLOAD, _IMPORT) and bool(access.known_sources(case)),
        ),
        Fix(
            "use_proxy",
            (
                Parameter("proxy", check=access.check_proxy_address),
                Parameter("user", required=False),
                Parameter("password", Kind.SECRET, required=False),
            ),
            access.use_proxy,
            fits=_kind(*_ALL),
        ),
        Fix(
            "use_ca_bundle",
            (Parameter("path", Kind.PATH, check=access.check_bundle),),
            access.use_ca_bundle,
            fits=_kind(*_ALL),
        ),
        Fix(
            "mark_safe_directory",
            (Parameter("path", Kind.PATH, default=programs.repository_of, check=programs.check_repository),),
            programs.mark_safe_directory,
        ),
        Fix("enable_long_paths", (), programs.long_paths, fits=_kind(*_INSTALLS)),
        Fix("prefer_binary", (), programs.prefer_binary, fits=_kind(*_INSTALLS)),
        Fix("purge_pip_cache", (), space.purge_pip_cache, fits=_kind(*_INSTALLS)),
        Fix("skip_node", (), programs.skip_node, fits=_kind(_NODE)),
        Fix("skip_packages", (), programs.skip_node, fits=_kind(_PACKAGES)),
        Fix(
            "restore_environment",
            (),
            programs.restore_environment,
            fits=lambda case: case.tools.environments is not None and case.data.kind in (_NODE, _COMFYUI, _PACKAGES),
            functions=programs.RESTORE,
        ),
        Fix("redownload", (), _redownload, fits=_kind(*_ALL)),
        Fix(
            "quarantine_model",
            (Parameter("path", Kind.PATH, default=files.default_model, check=ours),),
            files.quarantine_model,
            fits=lambda case: os.path.isfile(files.default_model(case) or "") or case.data.kind == _IMPORT,
        ),
        Fix(
            "remove_stale_lock",
            (Parameter("path", Kind.PATH, default=files.lock_of, check=files.check_lock),),
            files.remove_stale_lock,
            fits=lambda case: files.lock_of(case) is not None,
        ),
        Fix(
            "remove_existing_folder",
            (Parameter("path", Kind.PATH, default=files.folder_in_the_way, check=ours),),
            files.remove_existing_folder,
            fits=_kind(*_INSTALLS),
        ),
        Fix("mend_workflow", (), workflow.mend, fits=lambda case: workflow.can_mend(case.data), of_results=True),
        Fix(
            "use_found_model",
            (Parameter("model", Kind.CHOICE, required=False, choices=workflow.found_models),),
            workflow.use_found_model,
            fits=workflow.has_found_models,
            of_results=True,
        ),
        Fix(
            "pin_comfyui",
            (Parameter("commit", default=programs.last_good_commit, check=programs.check_commit),),
            programs.pin_comfyui,
            fits=_kind(_COMFYUI, _IMPORT),
        ),
    )
}
"""By id."""

RELATED: Mapping[str, tuple[str, ...]] = {
    "add_token": ("accept_license", "update_url", "choose_mirror"),
    "accept_license": ("add_token", "choose_mirror"),
    "update_url": ("choose_mirror",),
    "check_connection": ("use_proxy", "use_ca_bundle", "choose_mirror"),
    "check_proxy": ("use_proxy",),
    "check_clock": ("use_ca_bundle",),
    "wait_and_retry": ("choose_mirror",),
    "redownload": ("quarantine_model", "choose_mirror", "purge_pip_cache"),
    "free_disk_space": ("use_other_disk",),
    "shorten_path": ("enable_long_paths",),
    "pin_dependency": ("prefer_binary", "restore_environment", "skip_node"),
    "install_build_tools": ("prefer_binary", "skip_node"),
    "install_dependency": ("skip_node",),
    "fix_requirements": ("skip_node",),
    "fix_workflow": ("mend_workflow", "use_found_model", "pin_comfyui"),
}
"""By the fix of the verdict, further ones that may help, best first."""

FOR_KIND: Mapping[str, tuple[str, ...]] = {
    _NODE: ("skip_node", "restore_environment"),
    _COMFYUI: ("pin_comfyui", "restore_environment"),
    _PACKAGES: ("skip_packages", "restore_environment"),
    _IMPORT: ("pin_comfyui",),
    _CHECK: ("mend_workflow", "use_found_model"),
}
"""By kind of operation, further ones that are last."""
