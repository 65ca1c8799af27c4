"""Settings: where they come from, what is refused, and which operations they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import DEFAULT_CONFIG, RecoveryConfig, RecoveryConfigError, load_config
from launcher_recovery.config import KINDS


def test_defaults() -> None:
    """Without any setting everything is at the documented defaults, and off."""
    config = load_config(environ={})
    assert config == DEFAULT_CONFIG == RecoveryConfig()
    assert (config.enabled, config.mode, config.max_retries, config.max_delay) == (False, "recover", 3, 60)
    assert not config.is_explicit("max_retries")


def test_order_of_sources(tmp_path: Path) -> None:
    """Arguments go before the environment, that before `app.config`, that before the file, that before defaults."""
    file = tmp_path / "recovery.toml"
    file.write_text("[recovery]\nmax_retries = 1\ninitial_delay = 1.5\nmax_delay = 1\ntimeout = 1\ndeadline = 1\n")
    app = {"RECOVERY_INITIAL_DELAY": 2, "RECOVERY_MAX_DELAY": 2, "RECOVERY_TIMEOUT": 2, "SECRET_KEY": "x", 5: 6}
    environ = {"RECOVERY_CONFIG": str(file), "RECOVERY_MAX_DELAY": "3", "RECOVERY_TIMEOUT": "3", "PATH": "x"}
    config = load_config({"timeout": 4}, environ, app)
    assert (config.deadline, config.max_retries, config.initial_delay, config.max_delay, config.timeout) == (
        1,
        1,
        2,
        3,
        4,
    )
    assert config.sources["max_retries"] == f"{file}: max_retries"
    assert config.sources["initial_delay"] == 'app.config["RECOVERY_INITIAL_DELAY"]'
    assert (config.sources["max_delay"], config.sources["timeout"]) == ("RECOVERY_MAX_DELAY", "timeout")
    assert config.is_explicit("max_retries")
    assert not config.is_explicit("mode")
    assert load_config(environ={}, app_config={"RECOVERY_CONFIG": str(file)}).max_retries == 1


def test_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping given, the environment of the process counts."""
    monkeypatch.setenv("RECOVERY_MAX_RETRIES", "9")
    assert load_config().max_retries == 9


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("enabled", "YES", True), ("enabled", "off", False), ("enabled", "", False), ("mode", " Observe ", "observe"),
        ("max_retries", "0", 0), ("initial_delay", "0", 0.0), ("timeout", "", None), ("timeout", "2.5", 2.5),
        ("rollout", "25", {"*": 25.0}), ("rollout", "25%", {"*": 25.0}),
        ("rollout", "download:50, install_node:10", {"download": 50.0, "install_node": 10.0}),
        ("allowed_hosts", "a, b,,", ("a", "b")), ("allowed_roots", "/a:/b", ("/a", "/b")),
        ("persistence_path", "", None), ("persistence_path", "/a", "/a"), ("persistence_enabled", "0", False),
        ("database_url", "", None), ("database_url", " postgres://u:p@h/d ", "postgres://u:p@h/d"),
        ("disabled_extensions", "x", ("x",)), ("retention_days", "0.5", 0.5),
        ("staging_folder", "", None), ("staging_folder", "/data/partial/", "/data/partial"),
        ("bandwidth_limit", "", None), ("bandwidth_limit", "10M", 10 << 20), ("bandwidth_limit", "1.5MB", 1.5e6),
        ("bandwidth_limit", "4096", 4096), ("connections_per_host", "2", 2), ("connections_in_all", "8", 8),
        ("connections_per_download", "1", 1), ("reuse", " Hardlink ", "hardlink"), ("reuse", "off", "off"),
        ("workflow_tables", "/a.json:/b.json", ("/a.json", "/b.json")), ("workflow_tables", "", ()),
        ("concurrency", "", DEFAULT_CONFIG.concurrency),
        ("concurrency", "download:9, install_node:any/2,create_project:1/any", {
            **DEFAULT_CONFIG.concurrency, "download": (9, 4), "install_node": (None, 2), "create_project": (1, None),
        }),
    ],
)  # fmt: skip
def test_texts_of_the_environment(name: str, text: str, value: Any) -> None:
    """Every kind of setting is read from text; zero is a value."""
    config = load_config(environ={f"RECOVERY_{name.upper()}": text})
    assert getattr(config, name) == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("enabled", "maybe", "true or false"), ("mode", "on", "off, observe or recover"),
        ("max_retries", "-1", "a whole number of at least 0"), ("max_retries", 2.5, "a whole number"),
        ("max_retries", True, "a whole number"), ("circuit_breaker_threshold", 0, "a whole number of at least 1"),
        ("initial_delay", "-0.1", "a number of seconds, 0 or more"), ("max_delay", "nan", "a number of seconds"),
        ("max_delay", "inf", "a number of seconds"), ("timeout", "soon", "a number of seconds"),
        ("backoff_factor", None, "a number of at least 0"), ("rollout", "101", "a percentage such as 25"),
        ("rollout", "", "a percentage"), ("rollout", {}, "a percentage"), ("rollout", "fly:5", "a percentage"),
        ("modes", "off", "a table"),
        ("modes", {"fly": "off"}, "not 'fly'"), ("modes", {"download": "x"}, "off, observe"),
        ("staging_folder", "partial", "the absolute path of a folder"), ("staging_folder", 5, "the absolute path"),
        ("staging_folder", "/a\0b", "the absolute path"), ("bandwidth_limit", "fast", "bytes a second, such as 10M"),
        ("bandwidth_limit", "0", "at least 1"), ("bandwidth_limit", -5, "bytes a second"),
        ("bandwidth_limit", float("inf"), "bytes a second"), ("bandwidth_limit", True, "bytes a second"),
        ("connections_per_host", 0, "a whole number of at least 1"), ("connections_in_all", "many", "a whole number"),
        ("connections_per_download", 1.5, "a whole number"), ("reuse", "yes", "off, reflink, hardlink, copy or auto"),
        ("allowed_hosts", 5, "a list"), ("concurrency", "download:0", "whole numbers of at least 1, or any"),
        ("concurrency", "fly:1", "by kind"), ("concurrency", "download", "by kind"), ("concurrency", 4, "a list"),
        ("concurrency", {"download": "1/2/3"}, "such as download:8/4"), ("concurrency", {"download": True}, "by kind"),
    ],
)  # fmt: skip
def test_bad_values(name: str, value: Any, expected: str) -> None:
    """A bad value is refused; the message has its name, the value and what was expected."""
    with pytest.raises(RecoveryConfigError) as caught:
        RecoveryConfig(**{name: value})
    assert str(caught.value).startswith(f"{name}={value!r} is not usable: it must be ")
    assert expected in str(caught.value)
    with pytest.raises(RecoveryConfigError):
        DEFAULT_CONFIG.merged({name: value})


def test_bad_value_names_its_source() -> None:
    """The message says where the bad value was given: in the environment, or in a later change."""
    with pytest.raises(RecoveryConfigError, match=r"^RECOVERY_MAX_RETRIES='x' is not usable"):
        load_config(environ={"RECOVERY_MAX_RETRIES": "x"})
    with pytest.raises(RecoveryConfigError, match=r"^max_retries=-5 is not usable"):
        load_config(environ={"RECOVERY_MAX_RETRIES": "1"}).merged({"max_retries": -5})


@pytest.mark.parametrize("value", ["mysql://ann:h4nter2@h/d", "h4nter2", "sqlite:///", 5, "x h4nter2://"])
def test_bad_database_url_is_not_repeated(value: Any) -> None:
    """Of a URL that is refused only what it is for is shown."""
    with pytest.raises(
        RecoveryConfigError, match=r"^RECOVERY_DATABASE_URL='((mysql|sqlite)://)?…' is not usable"
    ) as caught:
        load_config(environ={"RECOVERY_DATABASE_URL": value})
    assert "it must be a URL such as postgresql://user:password@host:5432/database or" in str(caught.value)
    assert "h4nter2" not in str(caught.value)


def test_database_url_is_kept_secret() -> None:
    """It is not in the text of the settings."""
    config = RecoveryConfig(database_url="postgresql://ann:h4nter2@h/d")
    assert "h4nter2" not in repr(config) + str(config)


def test_one_place_for_the_state() -> None:
    """A file and a URL given at the same place are refused; else the one counts that was given at the higher place."""
    url, path = "postgresql://ann:h4nter2@h/d", "/var/recovery.db"
    both = {"RECOVERY_DATABASE_URL": url, "RECOVERY_PERSISTENCE_PATH": path}
    for way in (lambda: load_config(environ=both), lambda: load_config(environ={}, app_config=both)):
        with pytest.raises(RecoveryConfigError, match="are both given, but the state is kept in one place") as caught:
            way()
        assert "RECOVERY_DATABASE_URL" in str(caught.value)
        assert "h4nter2" not in str(caught.value)
    with pytest.raises(RecoveryConfigError, match=r"^database_url and persistence_path='/a' are both given"):
        RecoveryConfig(database_url=url, persistence_path="/a")
    config = load_config(environ={"RECOVERY_DATABASE_URL": url}, app_config={"RECOVERY_PERSISTENCE_PATH": path})
    assert (config.database_url, config.persistence_path) == (url, None)
    assert not config.is_explicit("persistence_path")
    config = load_config({"persistence_path": path}, both | {"RECOVERY_PERSISTENCE_PATH": ""})
    assert (config.database_url, config.persistence_path) == (None, path)
    config = load_config(environ={"RECOVERY_DATABASE_URL": ""}, app_config={"RECOVERY_PERSISTENCE_PATH": path})
    assert (config.database_url, config.persistence_path) == (None, path)


def test_unknown_names() -> None:
    """Unknown names are refused or warned of, with the nearest known one; the test suite's own are nobody's."""
    with pytest.warns(UserWarning, match="RECOVERY_MAX_RETRY is not a setting; did you mean RECOVERY_MAX_RETRIES"):
        load_config(environ={"RECOVERY_MAX_RETRY": "1", "RECOVERY_TEST_X": "1"})
    for way in (lambda: DEFAULT_CONFIG.merged({"max_retry": 1}), lambda: load_config({"max_retry": 1}, {})):
        with pytest.raises(RecoveryConfigError, match="'max_retry' is not a setting; did you mean max_retries"):
            way()
    with pytest.raises(RecoveryConfigError, match=r"'zzz' is not a setting$"):
        DEFAULT_CONFIG.merged({"zzz": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("not toml", "cannot be read"),
        ("x = 1", r"has no table \[recovery\]"),
        ("[recovery]\nmax_retry = 1", "'max_retry' is not a setting; did you mean max_retries"),
        ("[recovery]\nmax_retries = -1", r"recovery\.toml: max_retries=-1 is not usable"),
        ("[recovery]\nmodes = 'off'", r"recovery\.toml: modes='off' is not usable"),
    ],
)
def test_bad_file(tmp_path: Path, content: str | None, message: str) -> None:
    """A file that cannot be used is refused by name, also when the environment adds to what is bad in it."""
    file = tmp_path / "recovery.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(RecoveryConfigError, match=message):
        load_config(environ={"RECOVERY_CONFIG": str(file), "RECOVERY_MODE_DOWNLOAD": "off"})


def test_modes_of_kinds() -> None:
    """A kind has its own mode, else the general one; modes of several sources add up."""
    environ = {"RECOVERY_MODE": "observe", "RECOVERY_MODE_DOWNLOAD": "recover"}
    config = load_config(environ=environ, app_config={"RECOVERY_MODE_INSTALL_NODE": "off"})
    assert [config.mode_for(kind, "k") for kind in KINDS] == ["recover", "observe", "off", "observe", "observe"]


def test_rollout_is_steady_and_about_as_large_as_asked() -> None:
    """One key is always on the same side; a larger share has all of a smaller one; about that many are in."""
    keys = [f"download:/models/{number}" for number in range(2000)]

    def chosen(share: Any) -> set[str]:
        return {key for key in keys if RecoveryConfig(rollout=share).mode_for("download", key) == "recover"}

    assert chosen("0") == set()
    assert chosen("100") == set(keys)
    assert chosen("25") < chosen("50")
    assert 400 < len(chosen("25")) < 600
    assert chosen("25") == chosen({"download": 25, "*": 0})
    assert RecoveryConfig(mode="off", rollout="100").mode_for("download", "k") == "off"


def test_a_staging_folder_may_be_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no shell has replaced the `~`."""
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("USERPROFILE", "/home/ann")
    assert RecoveryConfig(staging_folder="~/partial").staging_folder == "/home/ann/partial"


def test_merge() -> None:
    """A merge gives a new record with the changes, which count as given by somebody; the old one stays."""
    merged = DEFAULT_CONFIG.merged({"max_retries": 3, "mode": "observe"})
    assert (merged.mode, DEFAULT_CONFIG.mode) == ("observe", "recover")
    assert merged.is_explicit("max_retries")
    assert not DEFAULT_CONFIG.is_explicit("max_retries")
    with pytest.raises(AttributeError):
        setattr(merged, "mode", "off")
