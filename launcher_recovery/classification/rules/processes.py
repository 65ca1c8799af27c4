"""How programs end, whichever they are: by a signal, or with an exit status that a shell or Windows gives."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule, any_of, lines
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R


def _status(code: int) -> set[int]:
    """An NTSTATUS, which Python gives without a sign and others with one."""
    return {code, code - 2**32}


_STOPPED = "It was stopped."

# signal(7); the exit status 128 + n is read as -n already.
SIGNALS: tuple[Rule, ...] = (
    Rule("signal-kill", C.RESOURCE, R.ONCE, "The system ended the program, most likely because the memory ran out.",
         "signal(7), Linux Out of Memory Management", fix="free_memory", exits={-9}),
    Rule("signal-interrupt", C.CANCELLED, R.NO, _STOPPED, "signal(7)", exits={-2, -1, -3, *_status(0xC000013A)}),
    Rule("signal-terminate", C.CANCELLED, R.NO, _STOPPED, "signal(7)", exits={-15}),
    Rule("signal-time", C.TIMEOUT, R.ONCE, "The program took more time than it may.", "setrlimit(2)", fix="raise_time_limit",
         exits={-24}),
    Rule("signal-size", C.RESOURCE, R.AFTER_FIX, "The program wrote a larger file than it may.", "setrlimit(2)",
         fix="raise_limits", exits={-25}),
    Rule("windows-crash", C.INTERNAL, R.ONCE, "The program crashed.", "Windows NTSTATUS values", fix="report_bug",
         exits=_status(0xC0000005) | _status(0xC0000409) | _status(0xC0000374) | _status(0xC00000FD) | _status(0xC000001D)
         | _status(0xC0000094) | _status(0x80000003) | _status(0xC0000420)),
    Rule("windows-library-status", C.DEPENDENCY, R.AFTER_FIX, "A library (DLL) that is needed is missing or does not fit.",
         "Windows NTSTATUS values", fix="install_dependency",
         exits=_status(0xC0000135) | _status(0xC0000139) | _status(0xC0000142) | _status(0xC000007B)),
    Rule("windows-memory-status", C.RESOURCE, R.AFTER_FIX, "The computer ran out of memory.", "Windows NTSTATUS values",
         fix="free_memory", exits=_status(0xC0000017) | _status(0xC000012D) | _status(0xC000009A)),
)  # fmt: skip

CRASHES = Rule(
    "signal-crash", C.INTERNAL, R.ONCE, "The program crashed.", "signal(7)", fix="report_bug",
    exits={-4, -5, -6, -7, -8, -11, -31},
)  # fmt: skip

RULES: tuple[Rule, ...] = (
    Rule("memory-said", C.RESOURCE, R.AFTER_FIX, "The computer ran out of memory.", "glibc, libstdc++, CUDA", fix="free_memory",
         output=lines(r"terminate called after throwing an instance of 'std::bad_alloc'", r"fatal: Out of memory, \w+ failed",
                      r"virtual memory exhausted: Cannot allocate memory", r"FATAL ERROR: .{0,120}JavaScript heap out of memory",
                      r"torch\.(cuda\.)?OutOfMemoryError: ", r"Got an OOM, unloading all loaded models")),
    CRASHES,
    Rule("killed-told", C.RESOURCE, R.ONCE, "The system ended the program, most likely because the memory ran out.",
         "bash, Linux Out of Memory Management", fix="free_memory",
         output=r"^(?:\S{1,200}: line \d+: +\d+ )?Killed\b(?: +\(core dumped\))?(?: {2,}.{0,300})?$|^Out of memory: Killed process \d+"),
    Rule("crash-told", C.INTERNAL, R.ONCE, "The program crashed.", "Python faulthandler, bash", fix="report_bug",
         output=any_of(r"^Fatal Python error: (Segmentation fault|Aborted|Bus error|Illegal instruction)",
                       r"^Windows fatal exception: ", r"^(?:\S{1,200}: line \d+: +\d+ )?(Segmentation fault|Bus error|Illegal instruction)\b( \(core dumped\))?")),
    Rule("no-git-said", C.DEPENDENCY, R.AFTER_FIX, "Git is not installed on this computer.", "sh(1), cmd.exe, xcrun(1), pip",
         fix="install_git", output=any_of(
             r"^.{0,80}\bgit: (command )?not found$", r"^'git' is not recognized as an internal or external command",
             r"^xcrun: error: invalid active developer path", r"^.{0,20}ERROR: Cannot find command 'git'",
             r"^.{0,20}ERROR: Error \[(Errno 2|WinError 2)\] .{0,120} while executing command git ",
             r"^You have not agreed to the Xcode license agreements",
         )),
    Rule("program-rights", C.PERMISSION, R.AFTER_FIX, "The program may not be run.", "sh(1)", fix="fix_permissions",
         exits={126}, output=r": Permission denied\b"),
    Rule("program-kind", C.DEPENDENCY, R.AFTER_FIX, "The program was made for another kind of computer.", "sh(1)",
         fix="install_dependency", output=r"^.{0,200}: cannot execute( binary file)?(: |: required file not found|$)|: Exec format error$"),
    Rule("library-said", C.DEPENDENCY, R.AFTER_FIX, "A library that is needed is not installed.", "ld.so(8), dyld",
         fix="install_dependency", output=r"^.{1,300}: error while loading shared libraries: |^dyld(\[\d+\])?: Library not loaded: "),
    Rule("no-venv-said", C.DEPENDENCY, R.AFTER_FIX, "The Python of this computer cannot make environments: a part of it (venv) is missing or does not work.",
         "Python venv, Debian python3-venv", fix="install_venv", output=any_of(
             r"^The virtual environment was not created successfully because ensurepip is not$", r"^The virtual environment was not created successfully because ensurepip is not available",
             r"^\S{1,400}(python|pypy)[\d.]*(\.exe)?: No module named (venv|ensurepip)\b",
             r"^Error: Command '\[.{1,600}'ensurepip'.{0,200}returned non-zero exit status 1\b")),
    Rule("no-module-said", C.DEPENDENCY, R.AFTER_FIX, "A Python package that is needed is not installed.", "Python runpy",
         fix="install_dependency", output=r"^\S{1,400}(python|pypy)[\d.]*(\.exe)?: No module named \S{1,200}$"),
    Rule("no-program-said", C.DEPENDENCY, R.AFTER_FIX, "A program that is needed is not installed on this computer.",
         "sh(1), bash, cmd.exe, PowerShell", fix="install_dependency", output=any_of(
             r"^.{0,80}: (line )?\d{1,6}: \S{1,200}: (command )?not found$", r"^\S{0,20}sh: \S{1,200}: (command )?not found$",
             r"^\S{0,20}sh: command not found: \S{1,200}$", r"^'.{1,200}' is not recognized as an internal or external command",
             r"^.{1,200} : The term '.{1,200}' is not recognized as the name of a cmdlet", r"^env: .{1,200}: No such file or directory$",
         )),
    Rule("no-program-status", C.DEPENDENCY, R.AFTER_FIX, "A program that is needed is not installed on this computer.", "sh(1)",
         fix="install_dependency", exits={127, 9009}),
    Rule("program-rights-status", C.PERMISSION, R.AFTER_FIX, "The program may not be run.", "sh(1)", fix="fix_permissions",
         exits={126}),
    Rule("time-limit-status", C.TIMEOUT, R.YES, "The program took longer than it may.", "timeout(1)", fix="raise_time_limit",
         exits={124}),
    Rule("interrupted-said", C.CANCELLED, R.NO, _STOPPED, "Python, bash", output=r"^(KeyboardInterrupt|Aborted!|\^C)$"),
)  # fmt: skip
