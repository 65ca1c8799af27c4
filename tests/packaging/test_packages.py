"""What is built and installed: the wheel, and an extension put in as a stranger would."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sample_launcher.hub import Hub
from tests.nodes import make_environment

ROOT = Path(__file__).parents[2]
MIRRORS = ROOT / "hooks" / "mirrors"


def run(*argv: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in argv], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from the checkout's files alone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in tracked:
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, source)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """A wheel contains only launcher_recovery, with its pages, migrations and type marker."""
    names = zipfile.ZipFile(wheel).namelist()
    foreign = [name for name in names if not name.startswith(("launcher_recovery/", "launcher_recovery-"))]
    assert foreign == []
    for needed in (
        "launcher_recovery/py.typed",
        "launcher_recovery/web/static/index.html",
        "launcher_recovery/web/static/LICENSES.txt",
        "launcher_recovery/web/login/login.css",
        "launcher_recovery/persistence/migrations/0001_initial.py",
    ):
        assert needed in names
    pages = json.loads(zipfile.ZipFile(wheel).read("launcher_recovery/web/static/manifest.json"))
    for entry in pages.values():
        for file in (entry["file"], *entry["imports"]):
            assert f"launcher_recovery/web/static/{file}" in names
    assert [name for name in names if "/web/ui/" in name] == []  # what they are built from


@pytest.fixture(scope="module")
def stranger(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The interpreter of a new environment that has the wheel and the extension installed by pip."""
    folder = tmp_path_factory.mktemp("stranger")
    python = make_environment(folder / "venv")
    # Built outside of the checkout, so that nothing is left in it.
    copy = folder / "mirrors"
    copy.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "launcher_recovery_mirrors.py"):
        (copy / name).write_bytes((MIRRORS / name).read_bytes())
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, copy)
    return python


def test_the_command_is_installed_and_works_without_its_extra(stranger: Path) -> None:
    """`launcher-recovery` and `python -m launcher_recovery` are the same."""
    version = run(stranger.with_name("launcher-recovery"), "--version")
    assert version == run(stranger, "-m", "launcher_recovery", "--version")
    assert version.startswith("launcher-recovery 0.")


PROBE = """
import json, sys, tempfile, warnings
from pathlib import Path
from launcher_recovery import RecoveryConfig, RecoveryIntegrator
from launcher_recovery.transfer import download

url, sha256, disabled = sys.argv[1:]
integrator = RecoveryIntegrator(RecoveryConfig(persistence_enabled=False, disabled_extensions=disabled))
integrator.load()
data = integrator.lifecycle.open("probe", (), {}, title="probe")
sources = integrator.extensions.sources(url, data)
destination = Path(tempfile.mkdtemp()) / "model"
kind = integrator.kinds["download"]

def attempt():
    return str(download(url, destination, sha256=sha256, sources=sources))

try:
    integrator.engine.run(data, integrator.policy_for(kind, data, None), attempt)
    outcome = "downloaded"
except Exception as error:
    outcome = type(error).__name__
print(json.dumps([integrator.extensions.names, sources, outcome, integrator.extensions.problems]))
"""


def probe(python: Path, hub: Hub, mirrors: str, disabled: str = "") -> tuple[list[str], list[str], str, list[str]]:
    hub.add_model("model.bin", 100_000)
    done = subprocess.run(
        [python, "-c", PROBE, f"{hub.url}/nowhere/model.bin", hub.sha256("model.bin"), disabled],
        env={"PATH": "", "LAUNCHER_MIRRORS": mirrors},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names, sources, outcome, problems = json.loads(done.stdout)
    return names, sources, outcome, problems


def test_an_installed_extension_is_found_and_its_mirror_serves_what_the_address_lacks(stranger: Path, hub: Hub) -> None:
    """Installed with pip and nothing else, the mirror is asked when the address of a download is gone."""
    mirrors = f"{hub.url}/nowhere/={hub.url}/models/"
    names, sources, outcome, problems = probe(stranger, hub, mirrors)
    assert "mirrors" in names
    assert sources == [f"{hub.url}/models/model.bin"]
    assert outcome == "downloaded"
    assert problems == []


def test_an_extension_that_is_blocked_by_name_is_not_loaded(stranger: Path, hub: Hub) -> None:
    """RECOVERY_DISABLED_EXTENSIONS keeps an installed extension out; the download fails as it would without."""
    names, sources, outcome, _ = probe(stranger, hub, f"{hub.url}/nowhere/={hub.url}/models/", disabled="mirrors")
    assert "mirrors" not in names
    assert sources == []
    assert outcome == "HTTPError"


def test_an_extension_that_raises_is_reported_by_name_and_harms_nothing(stranger: Path, hub: Hub) -> None:
    """A setting that the extension refuses is said once for each hook, and the download goes its way."""
    _, sources, outcome, problems = probe(stranger, hub, "nonsense")
    assert sources == []
    assert outcome == "HTTPError"
    assert all(problem.startswith("extension mirrors failed in recovery_") for problem in problems)
    assert any("LAUNCHER_MIRRORS has the entry 'nonsense'" in problem for problem in problems)
