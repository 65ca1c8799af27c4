"""The stand-in for launchers without plugins does what they do, and has the shape of the real one.

That is looked at when LAUNCHER_DIR names a checkout of the ComfyWorkflows launcher; it is also run, when there is an
interpreter with what it needs: LAUNCHER_PYTHON, or that of the environment which its own script makes in the checkout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.origin.behaviours import drop, refuse, script
from tests.standin import HOST, MODEL, PROJECT_STATES, StandIn, World, table
from tests.standin.processes import PATIENCE_S, WORKER
from tests.standin.real import CHECKOUT, PYTHON, needs_checkout, needs_python
from tests.standin.shape import Shape, shape_of

_QUICK = table.How(size=1 << 20, patience_s=PATIENCE_S, is_quick=True)
_SOON_STUCK = replace(_QUICK, patience_s=20.0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        yield made


def _stand_in(folder: Path, world: World, **which: Any) -> StandIn:
    return StandIn(folder, world.environment, is_quick=True, **which)


# -- processes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["the stand-in", pytest.param("the real launcher", marks=needs_python)])
def test_an_import_becomes_a_project_that_can_be_started_and_deleted(which: str, tmp_path: Path, world: World) -> None:
    real = {"host": CHECKOUT, "python": PYTHON}
    host = _stand_in(tmp_path / "host", world, **(real if which == "the real launcher" else {}))
    wanted = world.launcher_json()
    with host:
        assert host.get("/api/projects").json() == []
        assert host.get("/api/get_config").json() == {"credentials": {"civitai": {"apikey": ""}}}
        assert host.import_project("My Project!", wanted, port=host.first_project_port) == "my-project"
        states = [state.get("state") for state in host.follow("my-project")]
        assert states[-1] == "ready", host.log(WORKER)
        assert states == [state for state in PROJECT_STATES if state in states]
        assert world.origin.settled().sent() == world.file.size

        project = host.projects / "my-project"
        comfyui = project / "comfyui"
        assert (comfyui / "models").resolve() == host.models
        assert (host.models / "checkpoints" / MODEL).read_bytes() == world.file.content()
        assert sorted(path.name for path in (comfyui / "custom_nodes").iterdir()) == [
            "ComfyUI-ComfyWorkflows", "ComfyUI-Manager", "example", "node",
        ]  # fmt: skip
        assert json.loads((project / "launcher.json").read_text()) == wanted
        assert MODEL in (comfyui / "web" / "scripts" / "defaultGraph.js").read_text()
        assert len(list(project.glob("venv/lib/python3*/site-packages/frontend"))) == 1
        log = host.log(WORKER)
        # Pip finds these packages here and nowhere else.
        assert all(text in log for text in ("Successfully installed helper-1.0", "the script of the node"))

        shown = host.project("my-project")
        assert shown is not None
        assert {key: shown[key] for key in ("id", "port", "project_folder_path")} == {
            "id": "my-project", "port": host.first_project_port, "project_folder_path": str(project),
        }  # fmt: skip
        assert shown["state"] == {
            "id": "my-project",
            "name": "My Project!",
            "state": "ready",
            "status_message": "Ready",
        }
        assert host.post("/api/projects/my-project/start").json() == {"success": True, "port": shown["port"]}
        running = host.project("my-project")
        assert running is not None
        assert running["state"]["state"] == "running"
        assert host.post("/api/projects/my-project/stop").json() == {"success": True}
        assert host.post("/api/projects/my-project/delete").json() == {"success": True}
        assert host.project("my-project") is None
        assert not project.exists()

        # What it does not know is its page, and all is well; a project that is not there is an error of its own.
        page = host.get("/")
        for path in ("/api/nothing", "/a/b"):
            assert (host.get(path).status_code, host.get(path).content) == (200, page.content)
        assert host.get("/api/projects/my-project").status_code == 500
        assert host.terminate(WORKER) == 0


def test_what_fails_deletes_the_project() -> None:
    seen = table.observe("ComfyUI's clone cut once", _QUICK)
    assert (seen.state, seen.sent, seen.models) == ("", 0, {})
    assert table.as_markdown("name", seen).startswith("| name | **project deleted** | 0.00 |")


_CARELESS: dict[str, tuple[str, bool, dict[str, str]]] = {
    "none": ("ready", False, {MODEL: "whole"}),
    "no worker when it is imported": ("ready", False, {MODEL: "whole"}),
    "web killed in mid-download": ("ready", False, {MODEL: "whole"}),
    "model dropped twice at 50 %": ("ready", False, {MODEL: "whole"}),
    "model dropped 4 times at 50 %": ("ready", False, {}),
    "model 503 four times": ("ready", False, {}),
    "model 429 for 5 s": ("ready", False, {}),
    "model's server down for 20 s": ("ready", False, {}),
    "model 404 for ever": ("ready", False, {}),
    "model with a wrong byte once": ("ready", False, {MODEL: "whole"}),
    "model's checksum fits nothing": ("ready", False, {}),
    "node's clone 503 once": ("", False, {}),
    "node's clone cut once": ("", False, {}),
    "ComfyUI's clone cut once": ("", False, {}),
    "package cut once": ("", False, {}),
    "index 503 eight times": ("", False, {}),
}
"""How rows end: state, whether it is stuck, and what is in the folder of models."""

_STUCK = {
    "model hangs at 50 % once": "download_files",
    "worker killed in mid-download": "download_files",
    "worker and web killed in mid-download": "download_files",
    "only the task's process killed in mid-download": "download_files",
    "worker killed before the task began": "download_comfyui",
    "ComfyUI's clone hangs once": "download_comfyui",
}
"""In which state projects of other rows stay for ever."""


@pytest.mark.slow
@pytest.mark.parametrize("name", _CARELESS)
def test_the_host_as_it_is_ends_badly(name: str) -> None:
    seen = table.observe(name, _QUICK)
    assert (seen.state, seen.is_stuck, seen.models) == _CARELESS[name]
    assert (seen.message == "Ready") is (seen.state == "ready")


@pytest.mark.slow
@pytest.mark.parametrize("name", _STUCK)
def test_the_host_as_it_is_does_not_end(name: str) -> None:
    seen = table.observe(name, _SOON_STUCK)
    assert (seen.state, seen.is_stuck) == (_STUCK[name], True)
    assert table.as_markdown(name, seen).startswith(f"| {name} | **stuck** in {seen.state}, model ")


@pytest.mark.slow
def test_a_worker_that_is_told_to_end_at_once_deletes_the_project() -> None:
    seen = table.observe("worker told to end at once in mid-download, started again", _QUICK)
    assert (seen.state, seen.models[MODEL].endswith("% of the size")) == ("", True)


@pytest.mark.slow
def test_a_second_import_goes_around_what_a_killed_one_left() -> None:
    seen = table.observe("the same, then imported again as another project", _SOON_STUCK)
    assert seen.state == "ready"
    assert sorted(seen.models) == ["model (1).safetensors", MODEL]
    assert (seen.models["model (1).safetensors"], seen.models[MODEL].endswith("% of the size")) == ("whole", True)


def test_the_table_runs_the_rows_and_hosts_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, table.How]] = []

    def observe(name: str, how: table.How) -> table.Seen:
        asked.append((name, how))
        return table.Seen("download_files", "Downloading", True, (), 3, 2, 4.4, {MODEL: "50 % of the size"})

    monkeypatch.setattr(table, "observe", observe)
    table.main(["--row", "404", "--row", "503 eight"])
    head, line, *rows = capsys.readouterr().out.splitlines()
    assert rows == [
        f"| {name} | **stuck** in download_files, model 50 % of the size | 1.50 | 4.4, then no end | “Downloading” "
        f"| {MODEL}: 50 % of the size |"
        for name in ("model 404 for ever", "index 503 eight times")
    ]
    assert {text.count("|") for text in (head, line, *rows)} == {7}
    assert asked[0][1] == table.How()

    table.main(["--row", "none", "--plugin", "--set", "A=b=c", "--host", "/x", "--python", "/y/python", "--size", "1"])
    woven = table.How(
        size=1 << 20, patience_s=600.0, environment={"A": "b=c"}, host=Path("/x"), python="/y/python", is_woven=True
    )
    assert [how for _, how in asked[-2:]] == [replace(woven, is_woven=False), woven]
    assert [row.split(" | ")[0] for row in capsys.readouterr().out.splitlines()[2:]] == [
        "| none, without the plugin", "| none",
    ]  # fmt: skip
    table.main(["--row", "none", "--prefix", "nice -n 5", "--patience", "7", "--quick"])
    assert asked[-1][1] == table.How(patience_s=7.0, prefix=("nice", "-n", "5"), is_quick=True)


# -- one function -------------------------------------------------------------------------------------


def test_a_command_that_fails_is_an_assertion_and_its_output_is_printed(tmp_path: Path, world: World) -> None:
    printed = _stand_in(tmp_path / "host", world).run_python(
        "import utils\n"
        "utils.run_command(['echo', 'joined', '&&', 'cd', '..', '&&', 'echo', 'by', 'a', 'shell'])\n"
        "try:\n    utils.run_command(['echo', 'why', '>&2;', 'exit', '3'])\n"
        "except AssertionError as error:\n    print(repr(error))\n"
    )
    assert printed.splitlines() == ["joined", "by a shell", "why", "AssertionError()"]


def test_files_that_cannot_be_had_are_returned_and_leftovers_are_gone_around(tmp_path: Path, world: World) -> None:
    host = _stand_in(tmp_path / "host", world)
    sources = [
        {**world.launcher_json(**source)["files"][0][0]}
        for source in (
            {"dest_relative_path": "models/a"},
            {"download_url": "", "dest_relative_path": "models/b"},
            {"download_url": world.origin.url("/nothing"), "dest_relative_path": "models/c"},
            {"dest_relative_path": "models/c"},
        )
    ]
    wanted = {**world.launcher_json(), "workflow_json": ["a"]}
    wanted["files"] = [[sources[0]], [sources[1]], sources[2:]]
    code = (
        "import json, sys, utils\n"
        f"wanted = json.loads({json.dumps(json.dumps(wanted))})\n"
        "utils.set_config(utils.DEFAULT_CONFIG)\n"
        f"missing = utils.setup_files_from_launcher_json({str(tmp_path)!r}, wanted)\n"
        "print(json.dumps([sorted(missing), wanted['workflow_json']]))\n"
    )
    models = tmp_path / "comfyui" / "models"
    models.mkdir(parents=True)
    (models / "a").write_bytes(b"half of i")
    world.model(script(drop(1000), refuse("503 Service Unavailable"), None))
    printed = host.run_python(code)
    assert json.loads(printed.splitlines()[-1]) == [["models/b"], ["a (1)"]]
    assert "IncompleteRead" in printed
    assert {path.name: path.read_bytes() == world.file.content() for path in models.iterdir()} == {
        "a": False, "a (1)": True, "c": True,
    }  # fmt: skip


# -- shape --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shape() -> Shape:
    return shape_of(HOST / "server")


def test_a_shape_is_read_from_the_source(shape: Shape) -> None:
    assert shape.functions["utils", "run_command"] == "cmd, cwd=None, bg=False"
    assert shape.functions["server", "index"] == "path"
    assert ("/api/projects/<id>/delete", ("POST",), "delete_project") in shape.routes
    assert ("/", ("GET",), "index") in shape.routes
    assert shape.errors == {(404, "index")}
    assert shape.states == {*PROJECT_STATES, "running"}
    assert ("utils", "COMFYUI_REPO_URL") in shape.constants
    assert shape.calls["utils", "create_virtualenv"] == ["run_command"]


@needs_checkout
def test_the_shape_is_that_of_the_real_launcher(shape: Shape) -> None:
    assert CHECKOUT is not None
    real = shape_of(CHECKOUT / "server")
    public = {where: told for where, told in shape.functions.items() if not where[1].startswith("_")}
    assert public == {where: real.functions.get(where) for where in public}
    assert (shape.routes, shape.errors, shape.states) == (real.routes, real.errors, real.states)
    assert shape.constants <= real.constants
    task = ("tasks", "create_comfyui_project")
    assert shape.calls[task] == real.calls[task]
    # Whatever the real task calls is there to be woven.
    assert set(real.calls[task]) <= {name for _, name in public}
