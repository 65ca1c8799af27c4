"""Model hubs and their client library: Hugging Face, civitai, and what transformers says of them."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule, any_of
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R

_HUB = "huggingface_hub errors.py, utils/_http.py"


def _hub(*names: str) -> frozenset[str]:
    return frozenset("huggingface_hub." + name for name in names)


_OFFLINE = any_of(
    r"offline mode is enabled", r"outgoing traffic has been disabled", r"'local_files_only' to False",
    r"`?HF_HUB_OFFLINE`?",
)  # fmt: skip

RULES: tuple[Rule, ...] = (
    Rule(
        "hub-gated-login", C.PERMISSION, R.AFTER_FIX, "{host} gives this model only to those who are logged in and have "
        "accepted its licence: add an access token.", _HUB, fix="add_token", statuses=(401, 401),
        headers={"x-error-code": r"^GatedRepo$"},
    ),
    Rule(
        "hub-gated", C.PERMISSION, R.AFTER_FIX, "The makers of this model want you to accept its licence on {host} first.",
        _HUB, fix="accept_license", headers={"x-error-code": r"^GatedRepo$"},
    ),
    Rule(
        "hub-gated-error", C.PERMISSION, R.AFTER_FIX, "The makers of this model want you to accept its licence on {host} "
        "first.", _HUB, fix="accept_license", types=_hub("GatedRepoError"),
    ),
    Rule(
        # Also where it adds that user name or password are wrong: it does so for models that are not there.
        "hub-no-repository", C.NOT_FOUND, R.AFTER_FIX, "{host} does not know this model, or it is private.", _HUB,
        fix="update_url", statuses=(401, 404), headers={"x-error-code": r"^(RepoNotFound|RevisionNotFound|EntryNotFound)$"},
    ),
    Rule(
        "hub-bad-token", C.PERMISSION, R.AFTER_FIX, "{host} does not know the access token, or it is not valid any more.",
        _HUB, fix="add_token", statuses=(401, 401), headers={"x-error-message": r"^Invalid (credentials|username or password)"},
    ),
    Rule(
        "hub-disabled", C.PERMISSION, R.AFTER_FIX, "{host} has blocked this model.", _HUB, fix="choose_mirror",
        types=_hub("DisabledRepoError"),
    ),
    Rule(
        "hub-disabled-answer", C.PERMISSION, R.AFTER_FIX, "{host} has blocked this model.", _HUB, fix="choose_mirror",
        statuses=(403, 403), headers={"x-error-message": r"^Access to this resource is disabled\."},
    ),
    Rule(
        "hub-offline", C.VALIDATION, R.AFTER_FIX, "The settings forbid to ask the model hub (offline mode).", _HUB,
        fix="fix_settings", types=_hub("OfflineModeIsEnabled"),
    ),
    Rule(
        "hub-offline-cache", C.VALIDATION, R.AFTER_FIX, "The settings forbid to ask the model hub (offline mode), and the "
        "file was not fetched before.", _HUB, fix="fix_settings", types=_hub("LocalEntryNotFoundError"), message=_OFFLINE,
    ),
    Rule(
        "hub-repository-error", C.NOT_FOUND, R.AFTER_FIX, "The model hub does not know this model, or it is private.",
        _HUB, fix="update_url", outermost=True, types=_hub("RepositoryNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError"),
        statuses=(401, 404),
    ),
    Rule(
        "hub-no-token", C.PERMISSION, R.AFTER_FIX, "The model hub wants an access token, and there is none.", _HUB,
        fix="add_token", types=_hub("LocalTokenNotFoundError"),
    ),
    Rule(
        "hub-bad-name", C.VALIDATION, R.AFTER_FIX, "The name of the model is not one of the model hub, which are like "
        "\"owner/model\".", "huggingface_hub utils/_validators.py", fix="update_url", types=_hub("HFValidationError"),
    ),
    Rule(
        "hub-damaged", C.INTEGRITY, R.ONCE, "The file that arrived is damaged.", _HUB,
        fix="redownload", types=_hub("SafetensorsParsingError", "CorruptedCacheException"),
    ),
    Rule(
        "hub-wrong-size", C.INTEGRITY, R.ONCE, "The file that arrived does not have the size that the model hub "
        "told.", "huggingface_hub file_download.py", fix="redownload",
        types=frozenset({"builtins.OSError"}), message=r"^Consistency check failed: file should be of size \d",
    ),
    Rule(
        "hub-transfer", C.NETWORK, R.YES, "The connection to the model hub broke off.", "hf-xet, hf_transfer",
        fix="check_connection", types=frozenset({"builtins.RuntimeError", "builtins.Exception"}), message=any_of(
            r"^Data processing error: (CAS service error|CAS Client Error|File reconstruction error)\b.{0,400}(error sending request|"
            r"ReqwestMiddleware|Reqwest Error|Request failed after \d+ retries|connection|status (server|client) error \(5\d\d)",
            r"^An error occurred while downloading using `hf_transfer`",
            r"^Error while downloading: reqwest::Error",
        ),
    ),
    Rule(
        "transformers-gated", C.PERMISSION, R.AFTER_FIX, "The makers of this model want you to accept its licence on the "
        "model hub first.", "transformers utils/hub.py", fix="accept_license", types=frozenset({"builtins.OSError"}),
        message=r"^You are trying to access a gated repo\.",
    ),
    Rule(
        "transformers-missing", C.NOT_FOUND, R.AFTER_FIX, "The model hub does not have this model or file.",
        "transformers utils/hub.py", fix="update_url", types=frozenset({"builtins.OSError"}), message=any_of(
            r"^\S{1,300} is not a local folder and is not a valid model identifier listed on ",
            r"^\S{1,300} does not appear to have (a|any) files? named ",
            r"^\S{1,300} is not a valid git identifier \(branch name, tag name or commit id\)",
        ),
    ),
)  # fmt: skip

# Where nothing else is known, after the errors of the connection.
UNREACHABLE: tuple[Rule, ...] = (
    Rule(
        "hub-unreachable", C.NETWORK, R.YES, "The model hub could not be reached, and the file was not fetched before.",
        _HUB, fix="check_connection", types=_hub("LocalEntryNotFoundError", "FileMetadataError"),
    ),
    Rule(
        "hub-missing", C.NOT_FOUND, R.AFTER_FIX, "The model hub does not have this model or file.", _HUB, fix="update_url",
        types=_hub("RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError"),
    ),
    Rule(
        "transformers-unreachable", C.NETWORK, R.YES, "The model hub could not be reached, and the file was not fetched "
        "before.", "transformers utils/hub.py", fix="check_connection", types=frozenset({"builtins.OSError"}),
        message=r"^We couldn't connect to 'https?://",
    ),
)  # fmt: skip
