"""An import may have pip install packages, and nothing else."""

from __future__ import annotations

import pytest

from launcher_recovery.errors import RefusedError
from launcher_recovery.requirement_lines import check, is_blank


@pytest.mark.parametrize(
    "line",
    [
        "torch",
        "torch==2.1.0+cu121",
        "name == 1!2.0",
        "name!=1.*",
        "name ~= 1.2, <2",
        "numpy (>=1.0,<2)",
        "name[extra, other]>=1",
        "x ; python_version < '3.12'",
        "x>=1;sys_platform=='win32'",
        "name @ https://h/name.whl",
        "name@git+https://h/name.git@v1#egg=name",
        "name @ file:///wheels/name.whl",
        "https://h/name.whl ; python_version > '3'",
        "git+https://h/name",
        "git+ssh://git@h/name.git",
        "git+file:///srv/name",
        f"name==1.0 --hash=sha256:{'0' * 64} --hash=sha256:{'1' * 64}",
        "name # why it is needed",
    ],
)
def test_packages_can_be_asked_for(line: str) -> None:
    check(line)


@pytest.mark.parametrize(
    "line",
    ["-r other.txt", "--index-url https://h/simple", "-e git+https://h/a", "-c c.txt", "a -r b", "a ; b --pre", "-"],
)
def test_options_are_refused(line: str) -> None:
    with pytest.raises(RefusedError, match="is or has an option of pip, which an import must not set"):
        check(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# nothing",
        "a b",
        "a==",
        "==1.0",
        "./folder",
        "/srv/name.whl",
        "folder/name.whl",
        "a\nb",
        "a \\",
        "a @ https://h/${HOME}",
        "https://",
        "http://[",
        "ftp://h/a.whl",
        "hg+https://h/a",
        "git+git@h:a",
        "git+https://h/a@--upload-pack=b",
        "git+ssh://-oProxyCommand=b/a",
        "--hash=sha256:00",
        "x" * 2001,
    ],
)
def test_what_is_no_package_is_refused(line: str) -> None:
    with pytest.raises(RefusedError, match="is no package that can be asked for"):
        check(line)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(RefusedError) as raised:
        check("--extra-index-url https://me:moose@h/simple")
    assert "moose" not in str(raised.value)


@pytest.mark.parametrize(
    ("line", "blank"), [("", True), ("  ", True), (" # x", True), ("a # x", False), ("a#b", False)]
)
def test_lines_that_ask_for_nothing(line: str, blank: bool) -> None:
    assert is_blank(line) is blank
