"""Each hook is typed and documented as it is: no other arguments, when and where it is called, what comes of an answer
and of an exception. That each is called, and harmed by none, is in test_manager."""

from __future__ import annotations

import inspect
import re
import typing

import pytest

from launcher_recovery import hookspecs

HOOKS = [name for name in vars(hookspecs) if name.startswith("recovery_")]
_SECTION = re.compile(r"^(Called|Args|Returns):(.*?)(?=^\S|\Z)", re.M | re.S)


def sections(hook: str) -> dict[str, str]:
    """What the documentation says under each heading."""
    return {name: text.strip() for name, text in _SECTION.findall(inspect.getdoc(getattr(hookspecs, hook)) or "")}


def test_there_are_hooks_and_each_is_marked() -> None:
    assert len(HOOKS) == 16
    assert all(hasattr(getattr(hookspecs, hook), f"{hookspecs.NAMESPACE}_spec") for hook in HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_documentation_has_the_arguments_of_the_signature(hook: str) -> None:
    function = getattr(hookspecs, hook)
    documented = re.findall(r"^ *(\w+): ", sections(hook).get("Args", ""), re.M)
    assert documented == [*inspect.signature(function).parameters]
    assert {*typing.get_type_hints(function)} == {*documented, "return"}


@pytest.mark.parametrize("hook", HOOKS)
def test_the_documentation_says_when_where_what_for_and_what_an_exception_does(hook: str) -> None:
    function = getattr(hookspecs, hook)
    text, found = inspect.getdoc(function) or "", sections(hook)
    assert re.match(r"[A-Z][^\n]+\.( An observer\.)?$", text.split("\n\n")[0].replace("\n", " "))
    assert re.search(r"\bprocess\b", found["Called"])
    assert re.search(r"\bthread\b", found["Called"])
    assert ("Returns" in found) is (typing.get_type_hints(function)["return"] is not type(None))
    assert "\nAn exception" in text
    is_single = getattr(function, f"{hookspecs.NAMESPACE}_spec")["firstresult"]
    if "Returns" in found:
        assert ("None: " in found["Returns"]) is is_single
        assert ("All answers are used" in found["Returns"]) is not is_single
