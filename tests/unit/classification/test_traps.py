"""What misleads: keywords in names, numbers that mean something else, noise before the failure, hostile input."""

from __future__ import annotations

import errno
import gc
import sys
import tracemalloc
from typing import Any

import pytest

from launcher_recovery.classification import RULES, ErrorCategory, ErrorClassifier, Retry, Rule, Verdict
from launcher_recovery.classification.facts import chain_of, read
from launcher_recovery.classification.outputs import tail_of, told_in
from launcher_recovery.errors import CommandError
from tests.unit.classification.rebuilding import entries, rebuilt

NOW = 1_700_000_000.0
NAMES = [
    "timeout", "connection-reset", "permission-denied", "disk-full", "No space left on device", "404", "error-429", "not found",
    "Could not resolve host", "ssl-certificate", "out of memory", "killed", "rate limit", "database is locked", "fatal: early EOF",
]  # fmt: skip
# What was asked for has a name that says something; what happened is in the rest.
TEMPLATES = [
    ("Cloning into '{}'...\nremote: Repository not found.\nfatal: repository 'https://github.com/a/{}/' not found", "git-missing"),
    ("Cloning into '{}'...\nfatal: unable to access 'https://github.com/a/{}/': Could not resolve host: github.com", "git-network"),
    ("Cloning into '{}'...\nfatal: could not read Username for 'https://github.com': terminal prompts disabled", "git-auth"),
    ("fatal: destination path '{}' already exists and is not an empty directory.", "git-exists"),
    ("Cloning into '{}'...\nit ended", "unknown"),
    ("Collecting {}\nERROR: Could not find a version that satisfies the requirement {} (from versions: 0.1, 0.2)\n"
     "ERROR: No matching distribution found for {}", "pip-missing"),
    ("ERROR: Invalid requirement: '{}=>1' (from line 2 of {}.txt)", "pip-requirement"),
    ("Successfully installed {}\nit ended", "unknown"),
    ("Traceback (most recent call last):\n  File \"/nodes/{}/install.py\", line 3, in <module>\n    import x\n"
     "ModuleNotFoundError: No module named 'x'", "no-package"),
    ("got prompt\n* CheckpointLoaderSimple 4:\n  - Value not in list: ckpt_name: '{}.safetensors' not in ['a.safetensors']", "comfy-no-model"),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("template", "rule"), TEMPLATES, ids=lambda value: str(value)[:30])
def test_keywords_in_names(template: str, rule: str, name: str) -> None:
    """What a file, a package, or a repository is called changes no verdict."""
    output = template.replace("{}", name)
    found = ErrorClassifier().classify(CommandError(["program"], 1, output))
    assert found.rule == rule, found.explain()


@pytest.mark.parametrize("name", NAMES)
def test_keywords_in_messages(name: str) -> None:
    """Nor does the message of an exception of which only the type says something."""
    classify = ErrorClassifier().classify
    assert classify(AttributeError(f"'NoneType' object has no attribute '{name}'")).rule == "programming"
    assert classify(KeyError(name)).rule == "programming"
    assert classify(PermissionError(errno.EACCES, "Permission denied", f"/models/{name}.bin")).rule == "file-rights"
    assert (
        classify(FileNotFoundError(errno.ENOENT, "No such file or directory", f"/nodes/{name}.py")).rule
        == "missing-file"
    )
    assert classify(RuntimeError(f"it does not work: {name}")).rule == "unknown"
    assert classify(ValueError(f"not a number: {name!r}")).rule == "invalid-value"


@pytest.mark.parametrize(
    ("output", "rule"),
    [
        # The last retry went well; what failed afterwards is the build.
        ("WARNING: Retrying (Retry(total=3)) after connection broken by 'ReadTimeoutError(\"x\")': /simple/x/\n"
         "ERROR: Failed building wheel for x", "build-failed"),
        # One node does not load, which does no harm; the prompt runs out of memory.
        ("Cannot import /c/x module for custom nodes: No module named 'x'\n!!! Exception during processing !!! x\n"
         "Traceback (most recent call last):\n  File \"x\", line 1\ntorch.OutOfMemoryError: Allocation on device", "memory-said"),
        # Git LFS is missing: the rest are consequences.
        ("git-lfs filter-process: line 1: git-lfs: command not found\nfatal: the remote end hung up unexpectedly", "git-lfs-missing"),
        # A script that builds a package asks git for a version, goes on without, and fails for another reason …
        ("  python setup.py egg_info did not run successfully.\n      error: pathspec 'csrc' did not match any file(s) known to git\n"
         "      fatal: not a git repository\n      OSError: CUDA_HOME environment variable is not set.\n", "build-tools"),
        # … but where pip ran git itself, that is what failed.
        ("  git checkout -q v9 did not run successfully.\n      error: pathspec 'v9' did not match any file(s) known to git\n"
         "      [end of output]\nerror: subprocess-exited-with-error\n", "git-no-ref"),
        # The sentences of Windows end with a full stop; 5 is something else elsewhere.
        ("error: failed to remove file `C:\\x.dll`: Access is denied. (os error 5)", "windows-rights"),
        ("error: failed to read file `/x`: Input/output error (os error 5)", "disk-fails"),
        # Lines whose ends were lost, and those of a build in a container.
        ("Cloning into 'a'...error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly", "git-network"),
        ("#10 18.23 Traceback (most recent call last):\n#10 18.23   File \"x\", line 1\n#10 18.23 MemoryError", "memory"),
        ("3.026 error: externally-managed-environment", "pip-managed"),
        # The proxy is what refuses, not the server that was asked.
        ("fatal: unable to access 'https://github.com/a/b/': Failed to connect to 127.0.0.1 port 7890 after 0 ms", "git-proxy"),
        ("fatal: unable to access 'https://127.0.0.1/a/': Failed to connect to 127.0.0.1 port 443 after 0 ms", "git-network"),
    ],
)  # fmt: skip
def test_noise_and_consequences(output: str, rule: str) -> None:
    """The cause decides, and not what comes before it or follows from it."""
    found = ErrorClassifier().classify(CommandError(["program"], 1, output))
    assert found.rule == rule, found.explain()


def test_numbers_that_mean_something_else() -> None:
    """The code of a name resolution is no errno, an exit status no HTTP status, 128 + n a signal, and 129 git's own."""
    classify = ErrorClassifier().classify
    assert classify(CommandError(["x"], 404, "")).rule == "unknown"
    assert classify(CommandError(["x"], 137, "")).rule == "signal-kill"
    assert (
        classify(CommandError(["/usr/bin/git", "clone", "--new"], 129, "usage: git clone")).rule == "git-wrong-option"
    )
    assert classify(CommandError(["curl", "-s", "x"], 6, "")).rule == "curl-network"
    assert classify(CommandError(["other"], 6, "")).rule == "unknown"


@pytest.mark.parametrize(
    ("argv", "program"),
    [
        (["/usr/bin/git", "clone"], "git"), (["C:\\Git\\bin\\git.EXE"], "git"), (["env", "LC_ALL=C", "git", "pull"], "git"),
        (["/venv/bin/python3.11", "-m", "pip", "install"], "pip"), (["python", "-Im", "pip"], "python"), (["pip3.11"], "pip"),
        (["python", "-m"], "python"), ("git clone x", "git"), ("cd x && git pull", None), ("git 'clone", None), ([], None),
        ([5], None), (["env"], None), ([b"/bin/sh"], "sh"),
    ],
)  # fmt: skip
def test_program(argv: Any, program: str | None) -> None:
    """The program is known by the command line, without folders, wrappers and interpreters; a shell's is not guessed."""
    error = CommandError(["x"], 1, "")
    error.argv = argv
    assert read(error, NOW).program == program


def test_git_behind_other_programs() -> None:
    """What git says counts also through GitPython, in its words for it, and in a log with times."""
    said = "fatal: unable to access 'https://github.com/a/b/': Could not resolve host: github.com"
    error = rebuilt({"error": {"type": "git.exc.GitCommandError", "text": "Cmd('git') failed due to: exit code(128)"}})
    for name, value in (("status", 128), ("stderr", f"\n  stderr: 'Cloning into 'b'...\n{said}\n'"), ("stdout", "")):
        setattr(error, name, value)
    wrapped = f"git.exc.GitCommandError: Cmd('git') failed due to: exit code(128)\n  cmdline: git clone x\n  stderr: '{said}\n'"
    for case in (
        error, CommandError(["x"], 1, wrapped), CommandError(["x"], 1, f"2025-04-29 15:22:08 {said}"),
        CommandError(["x"], 1, f"[2025-04-29 15:22:08.123] {said}"), CommandError(["x"], 1, f"[!] {said}"),
    ):  # fmt: skip
        assert ErrorClassifier().classify(case).rule == "git-network"


# -- hostile input ---------------------------------------------------------------------------------------------


HOSTILE = [
    "a" * 200_000, "fatal: " * 30_000, "fatal: unable to access '" * 8_000, "ERROR: " + "x: " * 60_000, "'" * 100_000,
    "\n" * 200_000, ("fatal: " + "a" * 50 + "\n") * 4_000, "Traceback (most recent call last):\n" * 6_000, "│ " * 80_000,
    "WARNING: Retrying (Retry(total=1)) after connection broken by '" * 3_000, "error: RPC failed; curl " * 8_000,
    "curl: (" * 20_000, "- Value not in list: x: '" * 8_000, "Failed to fetch " * 12_000, "\r" * 100_000, "\x1b[" * 90_000,
    "https://" + "a" * 100_000 + "@", "host='" * 30_000, "X-Amz-Date=" * 10_000, "Location: /login " * 10_000,
    "error: ssl-verification-failed\n" * 5_000, "Weights only load failed " * 8_000, "ProxyError(" * 15_000, " " * 200_000 + "x",
]  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text(text: str) -> None:
    """Texts that invite patterns to try in vain end all the same, as output, message, and body."""
    answer = rebuilt({"error": {"type": "requests.exceptions.HTTPError", "bases": ["builtins.OSError"], "text": text,
                                "response": {"status_code": 403, "headers": {"x": text}, "url": "https://h/?" + text, "body": text}}})  # fmt: skip
    for error in (CommandError(["git"], 1, text), RuntimeError(text), answer, OSError(text)):
        assert ErrorClassifier().classify(error).rule
        assert len(ErrorClassifier().explain(error)) < 2_000


def test_patterns_have_no_nested_repetition_without_a_bound() -> None:
    """A repeated group that itself holds an unbounded repetition is what lets a pattern take exponential time."""
    for rule in RULES:
        for pattern in (rule.output, rule.beside, rule.message, rule.body, rule.url):
            assert pattern is None or not any(bad in pattern for bad in ("+)+", "*)*", "+)*", "*)+")), rule.id


def test_long_output_takes_little_memory() -> None:
    """Of an output of 100 MB the end is looked at, which is where a program says why it ended."""
    output = "fatal: early EOF\n" * 6_000_000 + "ERROR: No matching distribution found for x\n"
    error = CommandError(["pip"], 1, output)
    ErrorClassifier().classify(error)  # patterns are compiled now
    gc.collect()
    tracemalloc.start()
    try:
        found = ErrorClassifier().classify(error)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    # The first fatal line within the end counts, whatever was printed a hundred megabytes before.
    assert found.rule in ("git-network", "pip-missing")
    assert len(tail_of(output)) <= 16_384


def test_long_chain() -> None:
    """A chain of 10,000 exceptions, one that goes round in circles, and deep or wide groups are cut."""
    deep: BaseException = OSError(errno.ENOSPC, "far away")
    for _ in range(10_000):
        outer = RuntimeError()
        outer.__cause__ = deep
        deep = outer
    assert ErrorClassifier().classify(deep).rule == "unknown"
    first, second = RuntimeError(), ConnectionError()
    first.__cause__, second.__context__ = second, first
    assert ErrorClassifier().classify(first).rule == "connection"
    wide = RuntimeError(*[KeyError(number) for number in range(100_000)])
    assert len(list(chain_of(wide))) == 16
    while deep.__cause__ is not None:  # one by one, lest the interpreter recurse
        deep, deep.__cause__ = deep.__cause__, None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
def test_group() -> None:
    """A group is what its members are; the rules' order decides among them."""
    inner = ExceptionGroup("inner", [ValueError(), ConnectionResetError()])  # type: ignore[name-defined,unused-ignore]  # noqa: F821
    group = ExceptionGroup("outer", [KeyError(), inner])  # type: ignore[name-defined,unused-ignore]  # noqa: F821
    assert ErrorClassifier().classify(group).rule == "connection"
    for _ in range(200):
        group = ExceptionGroup("more", [group])  # type: ignore[name-defined,unused-ignore]  # noqa: F821
    assert ErrorClassifier().classify(group).rule == "unknown"


class Stranger(Exception):
    """Whatever is asked of it raises."""

    args = ()

    def __getattribute__(self, name: str) -> Any:
        if name in (
            "response",
            "headers",
            "status_code",
            "code",
            "errno",
            "reason",
            "url",
            "filename",
            "exceptions",
            "winerror",
        ):
            raise KeyError(name)
        return super().__getattribute__(name)

    def __str__(self) -> str:
        raise RuntimeError


def test_strange_exceptions() -> None:
    """An exception that cannot be asked is still classified."""
    assert ErrorClassifier().classify(Stranger()).rule == "unknown"
    error: Any = OSError("x")
    error.errno, error.response, error.winerror, error.filename = "28", 5, "x", 7
    assert ErrorClassifier().classify(error).rule == "unknown"


# -- whose rules, and why --------------------------------------------------------------------------------------


def test_own_rules_go_before_ours_for_what_an_output_tells_too() -> None:
    """A rule of one's own about an exception decides also over the traceback in an output, before any of ours."""
    mine = Rule("mine", ErrorCategory.NETWORK, Retry.YES, "Mine.", "me", types={"builtins.ModuleNotFoundError"})
    output = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'\nerror: subprocess-exited-with-error"
    assert ErrorClassifier([mine]).classify(CommandError(["x"], 1, output)).rule == "mine"
    assert ErrorClassifier([mine]).rules[0] is mine
    text = Rule("text", ErrorCategory.NETWORK, Retry.YES, "Mine.", "me", output="^early", programs={"x"}, exits={3})
    assert ErrorClassifier([text]).classify(CommandError(["x"], 3, "early")).rule == "text"
    assert ErrorClassifier([text]).classify(CommandError(["x"], 4, "early")).rule == "unknown"


def test_explain() -> None:
    """It says which rule decided, by what, what follows, and no secrets."""
    answer = rebuilt({"error": {"type": "requests.exceptions.HTTPError", "bases": ["builtins.OSError"], "text": "x", "response": {
        "status_code": 429, "headers": {"Retry-After": "7"}, "url": "https://h.example/m?token=hunter2", "body": ""}}})  # fmt: skip
    assert ErrorClassifier().explain(answer) == (
        "rule http-429 (RFC 6585 §4) because of status 429: rate_limit, retry yes, wait 7 s, fix wait_and_retry"
    )
    assert ErrorClassifier().explain(RuntimeError()) == "rule unknown (no rule matched): unknown, retry once"
    signed = ErrorClassifier().explain(
        CommandError(["x"], 1, "fatal: Authentication failed for 'https://u:hunter2@h/'")
    )
    assert signed.startswith("rule git-auth (git credential.c) because of output 'fatal: Authentication failed for': ")
    full = OSError(errno.ENOSPC, "No space left on device")
    assert f"because of errno {errno.ENOSPC}: " in ErrorClassifier().explain(full)
    bare = Verdict(ErrorCategory.UNKNOWN, Retry.YES, "mine", "Mine.")
    assert bare.explain() == "rule mine: unknown, retry yes"


def test_what_an_output_tells() -> None:
    """Tracebacks are read with their numbers and bases, also where another program has framed them; the last one first."""
    output = (
        "  │ Traceback (most recent call last):\n  │   File 'a'\n  │ OSError: [Errno 28] No space left on device: '/a/b'\n"
        "Traceback (most recent call last):\n  File 'a'\n    x\nlib.Odd\n"
    )
    assert [(told.type, told.errno) for told in told_in(output)] == [("lib.Odd", None), ("OSError", 28)]
    cut = '  File "/a/b.py", line 3, in x\n    y = z\n        ^\npip._vendor.packaging.markers.InvalidMarker: Expected marker'
    assert told_in(cut)[0].type == "pip._vendor.packaging.markers.InvalidMarker"
    assert told_in("mkdir: cannot create directory 'x': Permission denied")[0].errno == errno.EACCES
    assert told_in("x\nlib.OddError: [WinError 32] in use")[0].winerror == 32
    assert told_in("it is [Errno 13] that\nand more")[0].errno == errno.EACCES
    assert told_in("Traceback (most recent call last):\n  and then nothing") == []
    assert told_in("all is well") == []


@pytest.mark.parametrize(
    "entry", [entry for entry in entries("errors.jsonl") if "command" in entry], ids=lambda entry: str(entry["id"])
)
def test_colours_and_frames_change_nothing(entry: dict[str, Any]) -> None:
    """The same output with colours, Windows line ends, or inside the log of another program gets the same verdict."""
    plain = ErrorClassifier().classify(rebuilt(entry))
    coloured = "\n".join(f"\x1b[31m{line}\x1b[0m" for line in entry["output"].split("\n"))
    for output in (coloured, entry["output"].replace("\n", "\r\n"), "starting\n" + entry["output"] + "\n\n"):
        found = ErrorClassifier().classify(CommandError(entry["command"], entry["returncode"], output))
        assert (found.rule, found.category, found.retry) == (plain.rule, plain.category, plain.retry)
