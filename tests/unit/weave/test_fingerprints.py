"""What a function looks like: the same for the same code, however it is laid out, and another for other code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.joinpoints import Host, JoinPoint
from launcher_recovery.weave.fingerprints import fingerprint_of, fingerprints_in

SOURCE = '''
class Projects:
    """Docs."""

    @staticmethod
    def create(a, /, b: int = 1, *rest, c=None, **more) -> None:
        """More docs."""
        for item in rest:
            print(f"{a} {item!r:>5}", b"x", 1.5, ..., None, "None", sep="")

if True:
    try:
        def fetch(url, *, retries=3): return url
    except ImportError:
        async def other(): pass
'''


def test_it_is_that_of_every_version_of_python() -> None:
    """The hash is one of text that is written here, and not by a version of Python."""
    assert fingerprint_of("def f(a):\n    return a + 1\n", "f").code == "541a6b509371394cd257538cb1ad8205"


def test_layout_comments_and_docstrings_do_not_count() -> None:
    one = fingerprint_of('def f(a):\n    """Docs."""\n    return g(a, "x")  # comment\n', "f")
    other = fingerprint_of("def f( a ) :\n\n    # why\n    return g(\n        a, 'x',\n    )\n", "f")
    assert one == other
    assert one.parameters == ("a",)


@pytest.mark.parametrize(
    "source",
    [
        "def f(a):\n    return g(a, 'y')",
        "def f(a):\n    return h(a, 'x')",
        "def f(a=1):\n    return g(a, 'x')",
        "@cached\ndef f(a):\n    return g(a, 'x')",
        "async def f(a):\n    return g(a, 'x')",
        "def f(a):\n    return g(a, b'x')",
        "def f(a):\n    return g(a, None)",
        "def f(a):\n    return g(a, 'None')",
        "def f(a):\n    pass",
    ],
)
def test_what_is_done_counts(source: str) -> None:
    assert fingerprint_of(source, "f").code != fingerprint_of("def f(a):\n    return g(a, 'x')", "f").code


def test_none_and_its_name_are_told_apart() -> None:
    assert fingerprint_of("def f(): return None", "f") != fingerprint_of("def f(): return 'None'", "f")
    assert fingerprint_of("def f(): return None", "f") != fingerprint_of("def f(): return", "f")


def test_methods_branches_and_parameters(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(SOURCE)
    found = fingerprints_in(file)
    assert set(found) == {"Projects.create", "fetch", "other"}
    assert found["Projects.create"].parameters == ("a", "/", "b", "*rest", "c", "**more")
    assert found["fetch"].parameters == ("url", "*", "retries")
    file.write_text("def fetch(url): return url\n")  # of another size, whatever the clock of the file system says
    assert fingerprints_in(file)["fetch"].parameters == ("url",)


def test_the_file_is_not_run() -> None:
    read = "fingerprint_of('import sys; sys.exit(3)\\ndef g(): 1', 'g')"
    code = f"from launcher_recovery.weave.fingerprints import fingerprint_of; {read}"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    with pytest.raises(KeyError):
        fingerprint_of("def g(): 1", "f")


@pytest.mark.parametrize(
    ("module", "function", "neighbours", "words"),
    [
        ("my utils", "fetch", None, "needs dotted names, not 'my utils'"),
        ("utils", "fetch()", None, r"needs dotted names, not 'fetch\(\)'"),
        ("__main__", "fetch", None, "__main__ is not imported"),
        ("utils", "fetch", ("/etc",), "not '/etc'"),
        ("utils", "fetch", ("../x",), "not '../x'"),
    ],
)
def test_a_join_point_that_cannot_be_is_refused(
    module: str, function: str, neighbours: tuple[str, ...] | None, words: str
) -> None:
    with pytest.raises(RecoveryConfigError, match=words):
        JoinPoint(module, function, "download", neighbours=neighbours)


def test_a_host_that_cannot_be_is_refused() -> None:
    point = JoinPoint("utils", "fetch", "download")
    with pytest.raises(RecoveryConfigError, match="the host mine has two join points utils:fetch"):
        Host("mine", (point, JoinPoint("utils", "fetch", "other")))
    with pytest.raises(RecoveryConfigError, match="of the host mine must be paths within a folder"):
        Host("mine", (point,), neighbours=("",))
    assert Host("mine", (point,), ("a",)).neighbours_of(point) == ("a",)
    own = JoinPoint("flask.app", "Flask.run", "page", neighbours=())
    assert Host("mine", (own,), ("a",)).neighbours_of(own) == ()
