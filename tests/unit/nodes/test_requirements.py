"""What a node requires is installed by the pip of its project; failures leave the environment as it was."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.errors import CommandError
from launcher_recovery.nodes import _inspect, interpreter
from launcher_recovery.nodes.interpreter import pip_options
from launcher_recovery.nodes.requirements import Speaker, asks_anything
from tests.nodes import (
    Attempts,
    Far,
    Fault,
    Source,
    files,
    install,
    make_environment,
    noise,
    packages_of,
    versions,
    wheel,
)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of a project that has numpy and torch."""
    return make_environment(tmp_path / "environment", wheel("numpy", "2.0"), wheel("torch", "2.4.0"))


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    return tmp_path / "environment"


BEFORE = {"numpy": "2.0", "torch": "2.4.0"}


def needing(far: Far, source: Source, *lines: str) -> str:
    """The address of a node that requires these."""
    source.commit({"requirements.txt": far.requirements(*lines)})
    return far.serve(source)


def test_requirements_are_there_before_the_node_is_in_its_place_and_what_changed_is_told(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path, environment: Path
) -> None:
    far.offer(wheel("plain", "1.0", ("torch==2.1.0",)), wheel("torch", "2.1.0"))
    url = needing(far, source, "plain")
    install(attempts.next(), url, destination, None, python)
    assert files(destination) == {".git", "one", "requirements.txt"}
    assert versions(environment) == {"numpy": "2.0", "plain": "1.0", "torch": "2.1.0"}
    assert attempts.steps() == ["clone", "checkout", "submodules", "environment", "requirements"]
    recorded = attempts.lifecycle.store.load_step(attempts.id, "environment").result
    assert [line for line in recorded["packages"] if not line.startswith("pip==")] == ["numpy==2.0", "torch==2.4.0"]
    assert attempts.metadata["environment_changes"] == [
        {"name": "plain", "before": None, "after": "1.0"},
        {"name": "torch", "before": "2.4.0", "after": "2.1.0"},
    ]
    assert [warning["message"] for warning in attempts.metadata["warnings"]] == ["node changed torch 2.4.0 to 2.1.0."]
    assert attempts.metadata["warnings"][0]["fix"] == "restore_environment"


def test_a_node_without_requirements_needs_no_python(
    attempts: Attempts, far: Far, source: Source, destination: Path
) -> None:
    install(attempts.next(), far.serve(source), destination, None, "/no/such/python")
    assert attempts.steps() == ["clone", "checkout", "submodules"]


@pytest.mark.parametrize("text", ["", "\n  # later: numpy\n\n", "\ufeff# nothing\r\n"])
def test_a_requirements_file_that_asks_for_nothing_needs_no_python(
    text: str, attempts: Attempts, far: Far, source: Source, destination: Path
) -> None:
    source.commit({"requirements.txt": text.encode()})
    install(attempts.next(), far.serve(source), destination, None, "/no/such/python")
    assert attempts.steps() == ["clone", "checkout", "submodules"]
    assert (destination / "requirements.txt").read_bytes() == text.encode()


def test_what_may_ask_for_something_is_left_to_pip(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    assert not asks_anything(file)
    for content in (b"# x\n-r more.txt\n", b"numpy", "numpy".encode("utf-16"), "# é\n".encode("latin-1")):
        file.write_bytes(content)
        assert asks_anything(file)
    file.unlink()
    file.mkdir()
    assert not asks_anything(file)


FAULTS: dict[str, tuple[str, Fault, str]] = {
    "index 503": ("/simple/plain", Fault(status=503), "too many 503 error responses"),
    "file 503": ("/files/", Fault(status=503), "503"),
    "file cut": ("/files/", Fault(cut_after=1000), "hash|IncompleteRead|Connection broken|bytes"),
    "index hangs": ("/simple/plain", Fault(hangs=True), "Read timed out"),
    "file hangs": ("/files/", Fault(hangs=True), "timed out"),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_an_index_fails_with_changes_nothing_and_a_later_attempt_goes_on(
    attempts: Attempts,
    far: Far,
    source: Source,
    destination: Path,
    python: Path,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    path, what, words = FAULTS[fault]
    monkeypatch.setattr(interpreter, "PIP_TIMEOUT_S", 1 if what.hangs else 30)
    far.offer(wheel("plain", "1.0", size=100_000))
    url = needing(far, source, "plain")
    far.fail(path, what)
    with pytest.raises(CommandError) as raised:
        install(attempts.next(), url, destination, None, python)
    assert any(word in raised.value.output for word in words.split("|")), raised.value.output
    assert versions(environment) == BEFORE
    assert not destination.exists()
    assert attempts.steps() == ["clone", "checkout", "submodules", "environment"]
    asked = far.count("/git/")
    monkeypatch.setattr(interpreter, "PIP_TIMEOUT_S", 30)
    install(attempts.next(), url, destination, None, python)
    assert versions(environment) == {**BEFORE, "plain": "1.0"}
    assert far.count("/git/") == asked


def half(environment: Path, name: str, packages: Path | None = None) -> Path:
    """What a pip leaves that was killed just before the end: it writes RECORD last."""
    info = (packages or packages_of(environment)) / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    return info


def test_what_a_killed_pip_left_half_installed_is_not_taken_for_installed(
    attempts: Attempts,
    far: Far,
    source: Source,
    destination: Path,
    python: Path,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*given: object, **how: object) -> None:
        half(environment, "plain")
        raise KeyboardInterrupt

    was_half_before = half(environment, "other")
    far.offer(wheel("plain", "1.0"))
    url = needing(far, source, "plain")
    with monkeypatch.context() as patch:
        patch.setattr(interpreter.Interpreter, "pip", killed)
        with pytest.raises(KeyboardInterrupt):
            install(attempts.next(), url, destination, None, python)
    install(attempts.next(), url, destination, None, python)
    assert (packages_of(environment) / "plain" / "__init__.py").is_file()
    assert (packages_of(environment) / "plain-1.0.dist-info" / "RECORD").is_file()
    assert was_half_before.is_dir()


def test_what_an_earlier_attempt_was_warned_of_is_taken_back_when_it_is_not_so_any_more(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path
) -> None:
    far.offer(wheel("plain", "1.0"), wheel("torch", "2.1.0"))
    url = needing(far, source, "plain")
    operation = attempts.next()
    other = {"code": "other", "message": "y"}
    operation.metadata["warnings"] = [{"code": "environment_changed", "message": "x"}, other]
    operation.metadata["conflicts"] = [{"name": "x", "asked": []}]
    install(operation, url, destination, None, python)
    assert attempts.metadata["warnings"] == [other]
    assert "conflicts" not in attempts.metadata


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("missing==1.0",), "No matching distribution found for missing==1.0"),
        (("plain==9",), "No matching distribution found for plain==9"),
        (("plain @@ 1",), "Invalid requirement"),
    ],
)
def test_what_is_not_to_be_had(
    attempts: Attempts,
    far: Far,
    source: Source,
    destination: Path,
    python: Path,
    environment: Path,
    lines: tuple[str, ...],
    words: str,
) -> None:
    far.offer(wheel("plain", "1.0"))
    with pytest.raises(CommandError) as raised:
        install(attempts.next(), needing(far, source, *lines), destination, None, python)
    assert words in raised.value.output
    assert versions(environment) == BEFORE
    assert not destination.exists()


def broken_wheel(*requires: str) -> tuple[str, bytes]:
    """One that pip takes, and fails with when it has installed what that requires."""
    name, data = wheel("unlucky", "1.0", requires, size=50_000)
    at = data.index(noise(50_000, "unlucky")) + 25_000
    return name, data[:at] + b"damage" + data[at + 6 :]


def test_what_pip_had_changed_before_it_failed_is_put_back(
    attempts: Attempts,
    far: Far,
    source: Source,
    destination: Path,
    python: Path,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far.offer(
        broken_wheel("first", "torch==2.1.0"), wheel("first", "1.0"), wheel("torch", "2.1.0"), wheel("torch", "2.4.0")
    )
    url = needing(far, source, "unlucky")
    monkeypatch.setenv("PIP_INDEX_URL", f"{far.url}/simple")
    with pytest.raises(CommandError, match="CRC"):
        install(attempts.next(), url, destination, None, python)
    assert versions(environment) == BEFORE
    assert "warnings" not in attempts.metadata


def test_what_could_not_be_put_back_is_told(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path, environment: Path
) -> None:
    far.offer(broken_wheel("torch==2.1.0"), wheel("torch", "2.1.0"))  # and not the one that was there
    with pytest.raises(CommandError, match="CRC"):
        install(attempts.next(), needing(far, source, "unlucky"), destination, None, python)
    assert versions(environment) == {"numpy": "2.0", "torch": "2.1.0"}
    (warning,) = attempts.metadata["warnings"]
    assert (warning["code"], warning["fix"]) == ("environment_changed", "restore_environment")


def test_a_package_that_is_not_what_the_index_says(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path, environment: Path
) -> None:
    name, data = wheel("plain", "1.0")
    far.offer((name, data))
    far.hashes[name] = "0" * 64
    with pytest.raises(CommandError) as raised:
        install(attempts.next(), needing(far, source, "plain"), destination, None, python)
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in raised.value.output
    assert versions(environment) == BEFORE
    assert not destination.exists()


def test_what_another_node_installed_between_two_attempts_stays(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path, environment: Path
) -> None:
    """It is not among what was there before the first attempt, but no attempt of this node has brought it."""
    far.offer(wheel("plain", "1.0"))
    url = needing(far, source, "plain")
    far.fail("/simple/plain", Fault(status=503), Fault(status=503))
    with pytest.raises(CommandError):
        install(attempts.next(), url, destination, None, python)
    _, other = wheel("other", "1.0")
    with zipfile.ZipFile(io.BytesIO(other)) as archive:
        archive.extractall(packages_of(environment))
    with pytest.raises(CommandError):
        install(attempts.next(), url, destination, None, python)
    assert versions(environment) == {**BEFORE, "other": "1.0"}


def test_requirements_that_cannot_go_together_are_named_with_who_asks_for_what(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path, environment: Path
) -> None:
    beside = destination.parent / "other-node"
    beside.mkdir(parents=True)
    (beside / "requirements.txt").write_text("# x\nNumPy==2.0 ; python_version>'3'\ntorch\n-e .\n")
    far.offer(wheel("plain", "1.0", ("numpy<2",)), wheel("numpy", "2.1"), wheel("numpy", "1.26"))
    with pytest.raises(CommandError) as raised:
        install(attempts.next(), needing(far, source, "plain==1.0", "numpy>=2.1"), destination, None, python)
    assert str(raised.value).endswith(
        "node asks for numpy>=2.1, plain 1.0 asks for numpy<2 and other-node asks for NumPy==2.0."
    )
    verdict = ErrorClassifier().classify(raised.value)
    assert (verdict.category.value, verdict.fix) == ("dependency", "pin_dependency")
    assert verdict.explanation == (
        "Packages do not fit together: "
        "node asks for numpy>=2.1, plain 1.0 asks for numpy<2 and other-node asks for NumPy==2.0."
    )
    assert attempts.metadata["conflicts"] == [
        {
            "name": "numpy",
            "asked": [
                {"by": "node", "wants": "numpy>=2.1"},
                {"by": "plain 1.0", "wants": "numpy<2"},
                {"by": "other-node", "wants": "NumPy==2.0"},
            ],
        }
    ]
    assert versions(environment) == BEFORE


def test_a_node_that_breaks_what_another_one_asks_for_is_told_with_both(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path
) -> None:
    """pip itself knows nothing of what other nodes ask for."""
    for name, text in (("other-node", "numpy>=2\n"), ("fine-node", "numpy\n"), ("broken-node", "numpy==7\n")):
        (destination.parent / name).mkdir(parents=True)
        (destination.parent / name / "requirements.txt").write_text(text)
    off = destination.parent / "off-node.disabled"
    off.mkdir()
    (off / "requirements.txt").write_text("numpy>=2\n")
    home = destination.parent.parent
    (home / "main.py").touch()
    (home / "requirements.txt").write_text("numpy>=1.27\n")
    far.offer(wheel("numpy", "1.26"))
    install(attempts.next(), needing(far, source, "numpy<2"), destination, None, python)
    messages = [warning["message"] for warning in attempts.metadata["warnings"]]
    assert messages == [
        "node changed numpy 2.0 to 1.26.",
        "node asks for numpy<2, ComfyUI asks for numpy>=1.27 and other-node asks for numpy>=2.",
    ]
    assert attempts.metadata["conflicts"][0]["name"] == "numpy"


def test_what_pip_says_of_installed_packages_that_do_not_fit_any_more_is_told(
    attempts: Attempts, far: Far, source: Source, destination: Path, tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "own", wheel("numpy", "2.0"), wheel("needs", "1.0", ("numpy>=2",)))
    far.offer(wheel("numpy", "1.26"))
    install(attempts.next(), needing(far, source, "numpy<2"), destination, None, python)
    messages = [warning["message"] for warning in attempts.metadata["warnings"]]
    assert messages[0] == "needs 1.0 needs numpy>=2, but numpy is 1.26 now."


def test_requirements_of_another_commit_are_installed_again(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path, environment: Path
) -> None:
    far.offer(wheel("plain", "1.0"), wheel("other", "1.0"))
    url = needing(far, source, "plain")
    first = source.head
    needing(far, source, "other")
    with pytest.raises(CommandError):
        install(attempts.next(), f"{url}x", destination, None, python)
    install(attempts.next(), url, destination, None, python)
    os.rename(destination, destination.with_name("moved"))
    install(attempts.next(), url, destination, first, python)
    assert versions(environment) == {**BEFORE, "plain": "1.0", "other": "1.0"}


def test_paths_in_requirements_are_relative_to_the_node(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path, environment: Path
) -> None:
    name, data = wheel("plain", "1.0")
    source.commit({f"lib/{name}": data, "lib/more.txt": f"./lib/{name}\n"})
    source.commit({"requirements.txt": "--no-index\n-r lib/more.txt\n"})
    install(attempts.next(), far.serve(source), destination, None, python)
    assert versions(environment) == {**BEFORE, "plain": "1.0"}


def test_variables_for_the_launchers_python_are_not_for_the_projects(
    attempts: Attempts,
    far: Far,
    source: Source,
    destination: Path,
    python: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far.offer(wheel("plain", "1.0"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pip.py").write_text("raise SystemExit('not this pip')")
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    monkeypatch.setenv("PYTHONHOME", str(elsewhere))
    # A module of the node that has the name of one that pip needs.
    source.commit({"json.py": "raise SystemExit('not this json')"})
    with monkeypatch.context() as server:
        server.delenv("PYTHONHOME")
        url = needing(far, source, "plain")
    install(attempts.next(), url, destination, None, python)
    assert files(destination) >= {"json.py"}


def test_options_are_those_that_a_pip_has() -> None:
    assert "--progress-bar=off" in pip_options((23, 2, 1))
    assert not any(option.startswith("--resume-retries") for option in pip_options((25, 0)))
    assert "--progress-bar=raw" in pip_options((24, 1))
    assert "--resume-retries=20" in pip_options((25, 1, 1))


def test_what_pip_does_is_told_in_a_few_words() -> None:
    told: list[Any] = []
    speak = Speaker(told.append)
    for line in (
        "Looking in indexes: http://u:p@h/simple",
        "Collecting torch==2.4.0",
        "  Downloading https://h/torch-2.4.0-cp311-cp311-linux_x86_64.whl (797.2 MB)",
        "Progress 398600000 of 797200000",
        "  Downloading plain-1.0-py3-none-any.whl.metadata",
        "Building wheels for collected packages: x",
        "Installing collected packages: torch",
        "something else",
    ):
        speak(line)
    assert told == [
        "pip: Collecting torch==2.4.0",
        "downloading torch-2.4.0-cp311-cp311-linux_x86_64.whl (797.2 MB)",
        "downloading torch-2.4.0-cp311-cp311-linux_x86_64.whl: 399 MB of 797 MB",
        "downloading plain-1.0-py3-none-any.whl.metadata",
        "pip: Building wheels for collected packages",
        "pip: Installing collected packages",
    ]


def test_an_interpreter_that_is_none_is_said(
    attempts: Attempts, far: Far, source: Source, destination: Path, tmp_path: Path
) -> None:
    fake = tmp_path / "fake"
    fake.write_text("#!/bin/sh\necho hello\n")
    fake.chmod(0o755)
    with pytest.raises(CommandError, match="did not tell what it has"):
        install(attempts.next(), needing(far, source, "plain"), destination, None, fake)


def test_what_an_environment_has_is_told_line_by_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program that runs in the project's interpreter, in this one."""
    packages = tmp_path / "packages"
    for name, url in (
        ("editable", {"url": "file:///a", "dir_info": {"editable": True}}),
        ("cloned", {"url": "https://h/a", "vcs_info": {"vcs": "git", "commit_id": "abc"}}),
        ("fetched", {"url": "https://h/a.whl", "archive_info": {}}),
        ("odd", {"no": "address"}),
    ):
        info = packages / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").touch()
        (info / "direct_url.json").write_text(json.dumps(url))
    (half(tmp_path, "broken", packages) / "direct_url.json").write_text("{")
    requirements = tmp_path / "requirements.txt"
    (tmp_path / "more.txt").write_text("Odd==1.0\n-r requirements.txt\n-r none.txt\n")
    requirements.write_text(
        "\ufeff# x\n--index-url http://h\nfetched<1 --hash=sha256:a # y\ncloned[extra]>=1,\\\n  <2\n"
        "editable; python_version<'3'\n===\nunknown>=1\nfree\n-r more.txt\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(sys, "path", [str(packages), *sys.path])
    _inspect.main([f"node={requirements}", "gone=/no/such/file"])
    lines = [line.removeprefix(_inspect.MARK) for line in capsys.readouterr().out.splitlines()]
    found = [json.loads(line) for line in lines]
    assert found[0]["kind"] == "python"
    ours = {one["name"]: one for one in found if one["kind"] == "package" and one["version"] == "1.0"}
    assert {name: ours[name]["source"] for name in ("editable", "cloned", "fetched", "odd", "broken")} == {
        "editable": "-e file:///a",
        "cloned": "git+https://h/a@abc",
        "fetched": "https://h/a.whl",
        "odd": None,
        "broken": None,
    }
    assert [name for name in ("odd", "broken") if ours[name]["half"]] == ["broken"]
    asked = {(one["wants"], one["satisfied"]) for one in found if one["kind"] == "ask"}
    assert asked == {("fetched<1", False), ("cloned<2,>=1", True), ("unknown>=1", True), ("Odd==1.0", True)}


def test_what_reads_versions_is_not_loaded_for_packages_that_are_only_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("numpy\ntorch[extra]  # the newest\n")
    monkeypatch.setitem(sys.modules, "pip._vendor.packaging.requirements", None)
    _inspect.main([f"node={requirements}"])
    assert '"ask"' not in capsys.readouterr().out
