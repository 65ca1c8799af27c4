"""However often and whenever the launcher is killed, the import ends as if nothing had happened."""

from __future__ import annotations

import random
import sqlite3
import subprocess
from pathlib import Path

import pytest

from sample_launcher.hub import Drop, Fault, Hub, RateLimit, Status
from tests.launcher import MODEL, Launcher, sent, sha256, wanted

MIB = 1 << 20
RATE = 12_000_000
LOST_AT_MOST = 3 * MIB


def faults(rng: random.Random, count: int) -> list[Fault]:
    """Faults of the hub on top of the kills, every other one a drop: refusals alone would use up the attempts."""
    drops: list[Fault] = [Drop(after=rng.randrange(6 * MIB), reset=rng.random() < 0.5) for _ in range(count)]
    refusals: list[Fault] = [Status(status=503), RateLimit(retry_after=1)]
    return [drop if number % 2 else rng.choice([drop, *refusals]) for number, drop in enumerate(drops)]


def torture(folder: Path, hub: Hub, seed: int, kills: int, size: int, longest: float) -> None:
    """Import a project, killing the launcher at `kills` random moments, at most `longest` seconds apart."""
    rng = random.Random(seed)
    armed = faults(rng, kills)
    hub.add_model(MODEL, size, armed, rate=RATE)
    with Launcher(folder / "launcher-data") as launcher:
        project = launcher.import_project("Tortured", wanted(hub, node=True, comfyui=True))
        for number in range(kills):
            moment = rng.uniform(0, longest)
            assert not launcher.ends_by_itself_within(moment), launcher.log
            launcher.kill()
            launcher.start()
            assert len(launcher.operations(kind="create_project")) == 1, f"after kill {number + 1} of seed {seed}"

        state = launcher.settled(project)
        assert (state["state"], state["status_message"]) == ("ready", "Ready"), launcher.operations()
        launcher.operation_in("create_project", project, "success")
        found = launcher.operations(project=project)
        assert {one["state"] for one in found} == {"success"}
        kinds = sorted(one["kind"] for one in found)
        assert kinds == [
            *("create_project", "download", "install_comfyui", "install_node", "make_environment", "validate_workflow")
        ]
        for one in found:
            numbers = [attempt["number"] for attempt in launcher.detail(one["operation_id"])["attempts"]]
            assert numbers == list(range(1, len(numbers) + 1))
            assert one["attempt"] == len(numbers)
        assert sha256(launcher.model()) == hub.sha256(MODEL)
        assert [path.name for path in launcher.model().parent.iterdir()] == [MODEL]
        comfyui = launcher.data / "projects" / project / "comfyui"
        assert sorted(path.name for path in (comfyui / "custom_nodes").iterdir()) == [
            *("demo-node", "example_node.py.example")
        ]
        assert (comfyui / "custom_nodes" / "demo-node" / "__init__.py").is_file()
        python = comfyui.parent / "venv" / "bin" / "python"
        ran = subprocess.run([python, comfyui / "main.py"], check=True, capture_output=True, text=True, timeout=60)
        assert ran.stdout == "ComfyUI of the demo: CheckpointLoaderSimple\n"
        assert sent(hub) - size < (kills + len(armed)) * LOST_AT_MOST
        assert launcher.terminate() == 0
    # Read by itself, without the package's own code.
    with sqlite3.connect(folder / "launcher-data" / "recovery.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


@pytest.mark.parametrize("seed", [11])
def test_three_kills_at_random_moments(tmp_path: Path, hub: Hub, seed: int) -> None:
    torture(tmp_path, hub, seed, kills=3, size=24 * MIB, longest=3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_fifty_kills_at_random_moments(tmp_path: Path, hub: Hub, seed: int) -> None:
    torture(tmp_path, hub, seed, kills=50, size=400 * MIB, longest=3)
