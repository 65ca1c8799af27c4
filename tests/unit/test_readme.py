"""The README is true: its code runs, and it names every setting."""

from __future__ import annotations

import re
import types
from pathlib import Path

import pytest

from launcher_recovery import FixedDelayStrategy, RecoveryData, owners
from launcher_recovery.config import DEFAULT_CONFIG, KINDS
from launcher_recovery.manager import Extensions

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def block(word: str) -> str:
    """The example that has this word."""
    (found,) = (text for text in BLOCKS if word in text)
    return found


def test_the_function_of_the_readme_runs_and_keeps_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first example returns its result and leaves the database it names."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(BLOCKS[0], names)
    fetch = names["fetch"]
    assert callable(fetch)
    assert fetch("model") == "model: 3 parts"
    assert (tmp_path / "recovery.db").exists()
    for store in list(owners._beating):
        owners.let_go(store)
        store.close()


def test_the_extension_of_the_readme_is_accepted_and_chooses_its_strategy() -> None:
    """It registers as an extension, and its strategy is the one that is chosen."""

    class Module:
        pass

    names: dict[str, object] = {}
    exec(block("recovery_choose_strategy"), names)
    plugin = Module()
    vars(plugin)["recovery_choose_strategy"] = names["recovery_choose_strategy"]
    extensions = Extensions(DEFAULT_CONFIG)
    extensions.register(plugin, "sundays")
    strategy = extensions.choose_strategy(RecoveryData("1", "function"))
    assert isinstance(strategy, FixedDelayStrategy)
    assert strategy.decides
    assert extensions.problems == []


def test_the_launcher_of_the_readme_is_one_that_can_be_woven() -> None:
    names: dict[str, object] = {}
    exec(block("recovery_join_points"), names)
    plugin = types.SimpleNamespace(recovery_join_points=names["recovery_join_points"])
    extensions = Extensions(DEFAULT_CONFIG)
    extensions.register(plugin, "mine")
    (host,) = extensions.join_points()
    assert [point.name for point in host.join_points] == ["utils:fetch"]
    assert extensions.problems == []


def test_the_check_of_the_readme_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(block("check_workflow"), names)
    assert capsys.readouterr().out == "error The model a.pt is missing in vae. download_missing_model\n"
    assert names["mended"] == {"1": {"class_type": "VAELoader", "inputs": {"vae_name": "a.pt"}}}


def test_the_sources_of_the_readme_are_asked() -> None:
    names: dict[str, object] = {}
    exec(block("recovery_node_sources"), names)
    plugin = type("Plugin", (), {name: staticmethod(value) for name, value in names.items() if callable(value)})()
    extensions = Extensions(DEFAULT_CONFIG)
    extensions.register(plugin, "ours")
    assert [source.url for source in extensions.node_sources("OurNode")] == ["https://git.example/nodes"]
    assert extensions.node_sources("Other") == []
    (source,) = extensions.model_sources("a.pt", "vae")
    assert source.url == "https://models.example/vae/a.pt"


def test_every_setting_is_in_the_readme() -> None:
    """Each RECOVERY_ variable is named, those of one row by their endings."""
    variables = [f"RECOVERY_{name.upper()}" for name in vars(DEFAULT_CONFIG) if name not in ("modes", "sources")]
    variables += [f"RECOVERY_MODE_{kind.upper()}" for kind in KINDS] + ["RECOVERY_CONFIG"]
    written = set(re.findall(r"`(\w+)`", README))
    missing = []
    for variable in variables:
        endings = {variable[position:] for position, letter in enumerate(variable) if letter == "_"}
        if variable not in written and not endings & written:
            missing.append(variable)
    assert missing == []
