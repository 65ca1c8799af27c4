"""The mirrors extension by itself."""

from __future__ import annotations

import launcher_recovery_mirrors as mirrors
import pytest

from launcher_recovery import RecoveryConfigError


def test_an_address_that_begins_like_an_entry_has_the_mirrors_of_that_entry_in_order(monkeypatch):
    monkeypatch.setenv(
        mirrors.VARIABLE, "https://a.example/=https://b.example/x/, https://a.example/=http://c.example/"
    )
    assert mirrors.recovery_sources("https://a.example/m/1.bin") == [
        "https://b.example/x/m/1.bin",
        "http://c.example/m/1.bin",
    ]


def test_an_address_that_no_entry_fits_has_no_mirror(monkeypatch):
    monkeypatch.setenv(mirrors.VARIABLE, "https://a.example/=https://b.example/")
    assert mirrors.recovery_sources("https://other.example/a") == []


def test_without_the_setting_there_are_no_mirrors(monkeypatch):
    monkeypatch.delenv(mirrors.VARIABLE, raising=False)
    assert mirrors.recovery_sources("https://a.example/") == []


@pytest.mark.parametrize("text", ["https://a.example/", "a=b", "https://a.example/=ftp://b.example/"])
def test_an_entry_that_is_not_two_addresses_is_refused_with_the_entry_in_the_message(monkeypatch, text):
    monkeypatch.setenv(mirrors.VARIABLE, text)
    with pytest.raises(RecoveryConfigError, match=f"{mirrors.VARIABLE} has the entry '{text}'"):
        mirrors.recovery_startup()
