"""What was given away is left out of every text, by its value."""

from __future__ import annotations

from launcher_recovery.known_secrets import know, without_known


def test_all_forms_of_a_secret_are_left_out_the_longest_first() -> None:
    assert without_known("token-1 and token-12") == "token-1 and token-12"
    know("token-1", "token-12")
    assert without_known("token-1 and token-12, token-1") == "*** and ***, ***"


def test_what_is_too_short_to_be_told_from_words_is_left() -> None:
    know("a", "", "model")
    assert without_known("a model") == "a model"
