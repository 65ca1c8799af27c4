"""Numbers of the operating system: errno(3), and those of Windows (System Error Codes)."""

from __future__ import annotations

import errno

from launcher_recovery.classification.rule import Rule, any_of
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R
from launcher_recovery.records import WaitingFor

_WINDOWS = "Windows System Error Codes"
# Errors of sockets are rules of `clients`, by type or by these.
_CONNECTION = frozenset({
    errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.ECONNRESET, errno.ECONNREFUSED,
    errno.ECONNABORTED, errno.EPIPE, errno.ENOTCONN, errno.ESHUTDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL,
})  # fmt: skip
_IN_USE = "Another program has the file open."
_TOO_LONG = "The path of the file is longer than Windows allows."

# First of all: what else happens on a full disk happens because of it.
DISK: tuple[Rule, ...] = (
    Rule(
        "watch-limit", C.RESOURCE, R.AFTER_FIX, "The system does not let us watch more files for changes.", "inotify(7)",
        fix="raise_limits", errnos={errno.ENOSPC, errno.EMFILE}, message=r"\binotify (watch|instance) limit reached\b",
    ),
    Rule(
        "quota", C.RESOURCE, R.AFTER_FIX, "What this user may store on the disk is used up (a quota).", "errno(3)",
        fix="free_disk_space", errnos={errno.EDQUOT}, waits=WaitingFor.DISK_SPACE,
    ),
    Rule(
        "disk-full", C.RESOURCE, R.AFTER_FIX, "The disk is full.", "errno(3)", fix="free_disk_space",
        errnos={errno.ENOSPC}, waits=WaitingFor.DISK_SPACE,
    ),
    Rule(
        # ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL, ERROR_DISK_QUOTA_EXCEEDED
        "windows-disk-full", C.RESOURCE, R.AFTER_FIX, "The disk is full.", _WINDOWS, fix="free_disk_space",
        winerrors={39, 112, 1295}, waits=WaitingFor.DISK_SPACE,
    ),
    Rule(
        "disk-full-told", C.RESOURCE, R.AFTER_FIX, "The disk is full.", "hf-xet, safetensors, PyTorch",
        fix="free_disk_space", types={"builtins.RuntimeError", "safetensors.SafetensorError", "builtins.Exception"},
        message=r"\bNo space left on device \(os error 28\)|PytorchStreamWriter failed writing file|"
        r"There is not enough space on the disk\. \(os error 112\)",
    ),
)  # fmt: skip

FILES: tuple[Rule, ...] = (
    Rule(
        # ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION, ERROR_BUSY, ERROR_USER_MAPPED_FILE, ERROR_DELETE_PENDING
        "windows-in-use", C.RESOURCE, R.YES, _IN_USE, _WINDOWS, fix="close_other_program",
        winerrors={32, 33, 170, 303, 1224},
    ),
    Rule(
        # ERROR_FILENAME_EXCED_RANGE, ERROR_BUFFER_OVERFLOW; "directory not found" of a path beyond MAX_PATH
        "windows-long-path", C.RESOURCE, R.AFTER_FIX, _TOO_LONG, "Windows, Maximum Path Length Limitation",
        fix="enable_long_paths", winerrors={111, 206},
    ),
    Rule(
        "windows-long-path-hidden", C.RESOURCE, R.AFTER_FIX, _TOO_LONG, "Windows, Maximum Path Length Limitation",
        fix="enable_long_paths", winerrors={3}, message=r": '(\\\\\\\\\?\\\\)?[A-Za-z]:[^'\n]{255,}'",
    ),
    Rule(
        # ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_NO_SYSTEM_RESOURCES, ERROR_COMMITMENT_LIMIT (paging file)
        "windows-memory", C.RESOURCE, R.AFTER_FIX, "The computer ran out of memory; its paging file may be too small.",
        _WINDOWS, fix="free_memory", winerrors={8, 14, 1450, 1455},
    ),
    Rule(
        # ERROR_VIRUS_INFECTED, ERROR_VIRUS_DELETED, and what group policy and application control block
        "windows-blocked", C.PERMISSION, R.AFTER_FIX, "A virus scanner or a rule of this computer blocks the file.",
        _WINDOWS, fix="fix_permissions", winerrors={225, 226, 1260, 4551},
    ),
    Rule(
        # ERROR_ACCESS_DENIED, ERROR_WRITE_PROTECT, ERROR_PRIVILEGE_NOT_HELD (symbolic links), ERROR_INVALID_OWNER
        "windows-rights", C.PERMISSION, R.AFTER_FIX, "Windows does not let the launcher do that with this file.", _WINDOWS,
        fix="fix_permissions", winerrors={5, 19, 1307, 1314},
    ),
    Rule(
        # ERROR_NOT_READY, ERROR_CRC, ERROR_SEEK, ERROR_GEN_FAILURE, ERROR_IO_DEVICE, ERROR_DEVICE_NOT_CONNECTED
        "windows-disk-fails", C.RESOURCE, R.AFTER_FIX, "The disk does not answer as it should: it may have been unplugged, "
        "or be about to fail.", _WINDOWS, fix="reconnect_disk", winerrors={15, 21, 23, 25, 31, 433, 1006, 1117, 1167},
    ),
    Rule(
        # ERROR_FILE_CORRUPT, ERROR_DISK_CORRUPT
        "windows-disk-damaged", C.INTEGRITY, R.AFTER_FIX, "The file or its folder is damaged on the disk: let Windows check "
        "the disk.", _WINDOWS, fix="reconnect_disk", winerrors={1392, 1393},
    ),
    Rule(
        # ERROR_BAD_NETPATH, ERROR_NETNAME_DELETED, ERROR_UNEXP_NET_ERR, ERROR_SEM_TIMEOUT, ERROR_NETWORK_UNREACHABLE
        "windows-network", C.NETWORK, R.YES, "The network does not answer.", _WINDOWS, fix="check_connection",
        winerrors={51, 53, 54, 55, 59, 64, 67, 121, 1231, 1232, 1236},
    ),
    Rule(
        # ERROR_MOD_NOT_FOUND, ERROR_PROC_NOT_FOUND, ERROR_DLL_INIT_FAILED, ERROR_BAD_EXE_FORMAT
        "windows-library", C.DEPENDENCY, R.AFTER_FIX, "A library (DLL) that is needed is missing or does not fit.",
        _WINDOWS, fix="install_dependency", winerrors={126, 127, 182, 193, 1114},
    ),
    Rule(
        # ERROR_FILE_EXISTS, ERROR_ALREADY_EXISTS, ERROR_DIR_NOT_EMPTY
        "windows-exists", C.VALIDATION, R.AFTER_FIX, "There is a file or folder of that name already.", _WINDOWS,
        fix="remove_existing_folder", winerrors={80, 145, 183},
    ),
    Rule(
        # ERROR_INVALID_NAME, ERROR_BAD_PATHNAME, ERROR_DIRECTORY
        "windows-bad-name", C.VALIDATION, R.AFTER_FIX, "Windows does not take files of that name.", _WINDOWS,
        fix="shorten_path", winerrors={123, 161, 267},
    ),
    Rule(
        "read-only-disk", C.PERMISSION, R.AFTER_FIX, "The disk can be read, but not written to.", "errno(3)",
        fix="fix_permissions", errnos={errno.EROFS},
    ),
    Rule(
        "file-rights", C.PERMISSION, R.AFTER_FIX, "The folder cannot be written to.", "errno(3)",
        fix="fix_permissions", errnos={errno.EACCES, errno.EPERM},
    ),
    Rule(
        "disk-fails", C.RESOURCE, R.AFTER_FIX, "The disk does not answer as it should: it may have been unplugged, or "
        "be about to fail.", "errno(3)", fix="reconnect_disk",
        errnos={errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE},
    ),
    Rule(
        "name-too-long", C.RESOURCE, R.AFTER_FIX, "The name of the file is longer than its disk allows.", "errno(3)",
        fix="shorten_path", errnos={errno.ENAMETOOLONG},
    ),
    Rule(
        "file-too-large", C.RESOURCE, R.AFTER_FIX, "The disk takes no files as large as this one; FAT32, as on many USB "
        "sticks, takes 4 GB.", "errno(3)", fix="use_other_disk", errnos={errno.EFBIG},
    ),
    Rule(
        "too-many-files", C.RESOURCE, R.YES, "Too many files are open at the moment.", "errno(3)",
        fix="raise_limits", errnos={errno.EMFILE, errno.ENFILE},
    ),
    Rule(
        "memory-errno", C.RESOURCE, R.AFTER_FIX, "The computer ran out of memory.", "errno(3)", fix="free_memory",
        errnos={errno.ENOMEM},
    ),
    Rule(
        "in-use", C.RESOURCE, R.YES, _IN_USE, "errno(3)", fix="close_other_program",
        errnos={errno.EBUSY, errno.ETXTBSY, errno.EDEADLK, errno.ENOLCK},
    ),
    Rule(
        "busy-now", C.RESOURCE, R.YES, "The system has none of what is needed to spare at the moment.", "errno(3)",
        fix="close_other_program", errnos={errno.EAGAIN, errno.ENOBUFS, errno.EUSERS},
    ),
    Rule(
        "address-in-use", C.RESOURCE, R.AFTER_FIX, "Another program uses the same port already.", "errno(3)",
        fix="close_other_program", errnos={errno.EADDRINUSE, 10048},
    ),
    Rule(
        "timeout-errno", C.TIMEOUT, R.YES, "{host} did not answer in time.", "errno(3), Windows Sockets Error Codes",
        fix="check_connection", errnos={errno.ETIMEDOUT, 10060},
    ),
    Rule(
        "connection-errno", C.NETWORK, R.YES, "The connection to {host} broke off.",
        "errno(3), Windows Sockets Error Codes", fix="check_connection",
        errnos=_CONNECTION | {10050, 10051, 10052, 10053, 10054, 10061, 10064, 10065, 11001, 11002},
    ),
    Rule(
        "exists", C.VALIDATION, R.AFTER_FIX, "There is a file or folder of that name already.", "errno(3)",
        fix="remove_existing_folder", errnos={errno.EEXIST, errno.ENOTEMPTY},
    ),
    Rule(
        "wrong-machine", C.DEPENDENCY, R.AFTER_FIX, "The program was made for another kind of computer.", "errno(3)",
        fix="install_dependency", errnos={errno.ENOEXEC},
    ),
    Rule(
        "missing-library", C.DEPENDENCY, R.AFTER_FIX, "A library that is needed is not installed.", "ld.so(8)",
        fix="install_dependency", types={"builtins.OSError", "builtins.ImportError"}, message=any_of(
            r"^\S{1,300}\.so(\.\d+){0,6}: cannot open shared object file: No such file or directory$",
            r"^dlopen\(.{1,900}\): (Library not loaded|image not found|tried: )", r"^DLL load failed\b",
            r"version `?GLIBC(XX)?_[\d.]+'? not found", r"^Could not find module '.{1,400}' \(or one of its dependencies\)",
        ),
    ),
)  # fmt: skip
