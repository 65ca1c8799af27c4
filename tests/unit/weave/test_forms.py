"""Commands as launchers put them together for a shell: what is known of them, and what is left to the shell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher_recovery.weave.advice.forms import CheckOut, Clone, Install, MakeEnvironment, Script, form_of

URL = "https://h/node.git"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment, as far as commands look at it."""
    folder = tmp_path / "a project" / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "activate").touch()
    return folder


def test_a_clone() -> None:
    assert form_of(["git", "clone", URL, "/p/node"], None) == Clone(URL, Path("/p/node"))
    found = form_of(["git", "clone", URL, "/p/node", "--recursive"], None)
    assert found == Clone(URL, Path("/p/node"), ("--recursive",))
    assert form_of(["git", "clone", "--depth=1", URL, "node"], "/p") == Clone(URL, Path("/p/node"), ("--depth=1",))
    assert form_of(["git", "clone", URL, "node"], None) == Clone(URL, Path.cwd() / "node")
    assert isinstance(found, Clone)
    assert found.title == "git clone node"
    assert found.arguments == {"url": URL, "destination": "/p/node", "options": ["--recursive"]}


def test_two_paths_of_one_folder_are_one_command(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    keys = {form.key for place in ("node", "link/node") if (form := form_of(["git", "clone", URL, place], tmp_path))}
    assert len(keys) == 1


@pytest.mark.parametrize("url", ["--upload-pack=touch /x", "-u", "https://h/$(touch x)", "; touch x"])
def test_what_a_shell_would_take_for_more_is_one_address(url: str) -> None:
    assert form_of(["git", "clone", url, "/p/node"], None) == Clone(url, Path("/p/node"))


def test_words_that_are_quoted_for_the_shell() -> None:
    assert form_of(["git", "clone", f'"{URL}"', "'/p/a node'"], None) == Clone(URL, Path("/p/a node"))
    assert form_of(["git", "clone", URL, "'/p/a' 'b'"], "/") == Clone(URL, Path("/'/p/a' 'b'"))
    assert form_of(["git", "clone", URL, "'/p/a'b'"], "/") == Clone(URL, Path("/'/p/a'b'"))


def test_a_check_out() -> None:
    found = form_of(["git", "checkout", "0123456789abcdef"], "/p/node")
    assert found == CheckOut(Path("/p/node"), "0123456789abcdef")
    assert isinstance(found, CheckOut)
    assert found.title == "git checkout 0123456789 of node"
    assert found.arguments == {"folder": "/p/node", "ref": "0123456789abcdef"}


def test_an_environment() -> None:
    found = form_of(["python", "-m", "venv", "/p/venv"], None)
    assert found == MakeEnvironment(Path("/p/venv"))
    assert isinstance(found, MakeEnvironment)
    assert (found.title, found.arguments) == ("python -m venv venv", {"folder": "/p/venv"})


@pytest.mark.parametrize("before", [["."], ["call"], []])
def test_what_is_run_in_an_environment(environment: Path, tmp_path: Path, before: list[str]) -> None:
    """The rest of the line is one word, with spaces where a path has them."""
    file = tmp_path / "a node" / "requirements.txt"
    file.parent.mkdir()
    file.touch()
    activate = [*before, str(environment / "bin" / "activate"), "&&"]
    for command in (f"pip install -r {file}", f"python -m pip install -r '{file}'", 'pip install -r "a node/%s"'):
        words = [*activate, command.replace("%s", file.name)]
        found = form_of(words, tmp_path)
        assert found == Install(environment, file, tmp_path)
    assert isinstance(found, Install)
    assert found.title == "pip install -r requirements.txt of a node"
    python = environment / "bin" / "python"
    assert found.arguments == {"python": str(python), "file": str(file), "folder": str(tmp_path)}
    script = form_of([*activate, "python /p/node/install.py"], tmp_path)
    assert script == Script(environment, Path("/p/node/install.py"), tmp_path)
    assert isinstance(script, Script)
    assert script.title == "python install.py of node"
    assert script.key != found.key


def test_a_script_that_activates_nothing_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "other").touch()
    for script in ("bin/other", "bin/activate", "elsewhere/activate"):
        assert form_of([".", script, "&&", "pip install -r x"], tmp_path) is None


@pytest.mark.parametrize(
    "command",
    [
        "pip install x",
        "pip install -r x && rm y",
        "pip install -r x y",
        "pip install -r $HOME/x",
        "pip install -r ",
        "python x.py --all",
        "python -c pass",
        "python",
        "cd /p && exec python main.py",
        "",
    ],
)
def test_other_commands_in_an_environment_are_left_to_the_shell(environment: Path, command: str) -> None:
    assert form_of([".", str(environment / "bin" / "activate"), "&&", command], None) is None


@pytest.mark.parametrize(
    ("words", "cwd"),
    [
        ([], None),
        (["git"], None),
        (["git", "clone"], None),
        (["git", "clone", URL], None),
        (["git", "clone", URL, "/p/node", "/p/other"], None),
        (["git", "clone", "--depth", "1", URL, "/p/node"], None),
        (["git", "clone", "--bare", URL], None),
        (["git", "clone", "--bare", "git@h:node"], None),
        (["git", "clone", "", "/p/node"], None),
        (["git", "clone", URL, ""], None),
        (["git", "clone", URL, "~/node"], None),
        (["git", "clone", URL, "$HOME/node"], None),
        (["git", "clone", URL, "/p/no\0de"], None),
        (["git clone", URL, "/p/node"], None),
        (["git", "checkout", "main"], None),
        (["git", "checkout", ""], "/p"),
        (["git", "checkout", "-b", "main"], "/p"),
        (["git", "pull"], "/p"),
        (["python", "-m", "venv"], None),
        (["python", "-m", "venv", "--clear", "/p"], None),
        (["python", "-m", "venv", "~/p"], None),
        (["mklink", "/D", "/a", "/b"], None),
        ([".", "x"], None),
        (["."], None),
    ],
)
def test_other_commands_are_left_to_the_shell(words: list[str], cwd: str | None) -> None:
    before = list(words)
    assert form_of(words, cwd) is None
    assert words == before


def test_an_interpreter_is_where_the_system_has_it(environment: Path) -> None:
    found = Install(environment, Path("x"), Path("y"))
    assert found.python == environment.joinpath(*(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
