"""Where the imports of a woven launcher may write: where the launcher itself does, with real links on a real disk."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from launcher_recovery import integration
from launcher_recovery.errors import RefusedError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.joinpoints import Host, JoinPoint
from launcher_recovery.weave import weave
from launcher_recovery.weave.hosts import comfyui_launcher
from tests.woven import FETCH, load

Write = Callable[..., None]
POINT = JoinPoint("wv_utils", "fetch", "download", advice=lambda call: call.proceed(), tolerant=True)
HOST = Host("mine", (POINT,), ("wv_server.py",))


class Launcher:
    """Its projects, the models that they share, of which each project has a link, and what is outside of both."""

    def __init__(self, folder: Path) -> None:
        self.projects, self.models, self.outside = folder / "projects", folder / "models", folder / "outside"
        self.comfyui = self.projects / "mine" / "comfyui"
        for made in (self.comfyui / "custom_nodes", self.models / "loras", self.outside):
            made.mkdir(parents=True)
        (self.comfyui / "models").symlink_to(self.models)
        (self.models / "elsewhere").symlink_to(self.outside)
        (self.comfyui / "custom_nodes" / "elsewhere").symlink_to(self.outside)

    @property
    def roots(self) -> list[str]:
        return [str(self.projects), str(self.models)]


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    return Launcher(tmp_path)


def woven(write: Write, *hosts: Host) -> RecoveryIntegrator:
    """This process's integrator, once a function of each host was called."""
    write(wv_utils=FETCH, wv_other=FETCH)
    assert weave(hosts, default=True)
    for name in {point.module for host in hosts for point in host.join_points}:
        load(name)
    load("wv_utils").fetch("u")
    made = integration.attached_integrator()
    assert made is not None
    return made


def check(made: RecoveryIntegrator, kind: str, destination: Path) -> None:
    arguments = {"url": "https://example.com/a", "destination": str(destination), "ref": None}
    made.kinds[kind].check(arguments, made.config.allowed_roots)


def test_the_launchers_own_link_to_its_models_is_followed_and_no_other(write: Write, launcher: Launcher) -> None:
    made = woven(write, replace(HOST, roots=lambda: launcher.roots))
    assert made.config.allowed_roots == tuple(launcher.roots)
    assert made.config.sources["allowed_roots"] == "the settings of mine"
    for kind in ("download", "install_node"):
        check(made, kind, launcher.comfyui / "models" / "loras" / "a")
        check(made, kind, launcher.comfyui / "custom_nodes" / "a")
        for outside in (
            launcher.comfyui / "models" / "elsewhere" / "a",
            launcher.models / "elsewhere" / "a",
            launcher.comfyui / "custom_nodes" / "elsewhere" / "a",
            launcher.outside / "a",
            launcher.models.with_name("models-too") / "a",
        ):
            with pytest.raises(RefusedError, match="is outside the allowed folders"):
                check(made, kind, outside)
    assert [problem for problem in made.known_problems() if problem["code"] == "roots"] == []


def test_a_setting_goes_before_what_the_launcher_says(
    write: Write, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOVERY_ALLOWED_ROOTS", os.pathsep.join([*launcher.roots, str(launcher.outside)]))
    asked: list[str] = []

    def roots() -> Sequence[str]:
        asked.append("roots")
        return launcher.roots

    made = woven(write, replace(HOST, roots=roots))
    check(made, "download", launcher.models / "elsewhere" / "a")
    assert asked == []


def _raises() -> Sequence[str]:
    raise AttributeError("module 'settings' has no attribute 'PROJECTS_DIR'")


@pytest.mark.parametrize("roots", [None, lambda: (), _raises])
def test_where_a_launcher_writes_that_is_not_known_may_be_anywhere_which_is_told_once(
    roots: Callable[[], Sequence[str]] | None, write: Write, launcher: Launcher, caplog: pytest.LogCaptureFixture
) -> None:
    known = Host("known", (replace(POINT, module="wv_other"),), roots=lambda: launcher.roots)
    made = woven(write, replace(HOST, roots=roots), known)
    assert made.config.allowed_roots == ()
    check(made, "download", launcher.models / "elsewhere" / "a")
    (problem,) = [problem["message"] for problem in made.known_problems() if problem["code"] == "roots"]
    assert "below which folders mine writes" in problem
    assert "set RECOVERY_ALLOWED_ROOTS" in problem
    assert caplog.text.count("below which folders") == 1


def test_all_folders_of_two_launchers_in_one_process_count(write: Write, launcher: Launcher) -> None:
    other = Host("other", (replace(POINT, module="wv_other"),), roots=lambda: [str(launcher.outside)])
    made = woven(write, replace(HOST, roots=lambda: launcher.roots), other)
    assert set(made.config.allowed_roots) == {*launcher.roots, str(launcher.outside)}


# -- ComfyUI Launcher ---------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Its module of that name, with what it has when nothing is set."""
    for name in comfyui_launcher.HOST.neighbours:
        (tmp_path / name).write_text("")
    made = types.ModuleType("settings")
    made.__file__ = str(tmp_path / "settings.py")
    vars(made).update(PROJECTS_DIR="./projects", MODELS_DIR="./models")
    monkeypatch.setitem(sys.modules, "settings", made)
    monkeypatch.chdir(tmp_path)
    return made


def test_comfyui_launcher_says_where_it_writes(settings: types.ModuleType, tmp_path: Path) -> None:
    """Also the folder in which it makes the first models when there are none."""
    assert comfyui_launcher.HOST.roots is not None
    assert comfyui_launcher.HOST.roots() == tuple(
        str(tmp_path / name) for name in ("projects", "models", "tmp_comfyui")
    )
    vars(settings)["MODELS_DIR"] = "/data/models/"
    assert comfyui_launcher.HOST.roots()[1:] == ("/data/models", "/data/tmp_comfyui")


def test_settings_of_something_else_say_nothing(
    settings: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert comfyui_launcher.HOST.roots is not None
    (tmp_path / "tasks.py").unlink()
    assert comfyui_launcher.HOST.roots() == ()
    monkeypatch.delitem(sys.modules, "settings")
    assert comfyui_launcher.HOST.roots() == ()
