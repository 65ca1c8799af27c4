"""Every text is there in every language, and says the same things."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

from launcher_recovery import fixes
from launcher_recovery.classification import RULES
from launcher_recovery.fixes import Say
from launcher_recovery.fixes.catalogue import BUILTIN, FOR_KIND, RELATED
from launcher_recovery.fixes.words import LANGUAGES, spoken, worded
from launcher_recovery.fixes.words.english import TEXTS

# The fixes that the verdicts of the corpus name.
CORPUS = {
    "check_connection", "check_proxy", "check_clock", "wait_and_retry", "start_service", "raise_time_limit",
    "accept_license", "add_token", "fix_permissions", "mark_safe_directory", "update_url", "free_disk_space",
    "free_memory", "close_other_program", "remove_stale_lock", "shorten_path", "raise_limits", "pin_dependency",
    "install_build_tools", "install_dependency", "use_venv", "install_git", "install_git_lfs", "redownload",
    "restore_backup", "fix_workflow", "download_missing_model", "install_missing_nodes", "fix_settings",
    "fix_requirements", "remove_existing_folder", "report_bug", "choose_mirror", "enable_long_paths", "restart_worker",
}  # fmt: skip


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_a_language_has_all_texts_with_the_same_placeholders(language: str) -> None:
    assert {id: placeholders(text) for id, text in LANGUAGES[language].items()} == {
        id: placeholders(text) for id, text in TEXTS.items()
    }


def test_no_text_in_chinese_was_forgotten_to_be_translated() -> None:
    assert [id for id, text in LANGUAGES["zh"].items() if not re.search("[\u4e00-\u9fff]", text)] == []


def test_every_fix_has_a_title_a_text_and_a_label_for_each_parameter() -> None:
    for fix in BUILTIN.values():
        assert {f"{fix.id}.{name}" for name in ("title", "text", *(item.name for item in fix.parameters))} <= set(TEXTS)


def test_every_fix_that_can_be_applied_has_a_text_for_those_who_do_it_by_hand() -> None:
    by_hand = {id.removesuffix(".by_hand") for id in TEXTS if id.endswith(".by_hand")}
    assert by_hand - {"wrong"} == {fix.id for fix in BUILTIN.values() if fix.plan is not None}


def test_every_fix_that_a_verdict_names_is_there() -> None:
    named = {rule.fix for rule in RULES if rule.fix}
    assert CORPUS | named - {"none"} <= set(BUILTIN)


def test_fixes_name_only_fixes_that_are_there() -> None:
    assert {*RELATED, *FOR_KIND["install_node"], *FOR_KIND["create_project"], *sum(RELATED.values(), ())} <= set(
        BUILTIN
    )


def test_every_sentence_is_said_somewhere_and_every_one_said_is_there() -> None:
    said = set()
    for path in Path(fixes.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.add(node.value)
    prefixes = tuple(f"{name}." for name in BUILTIN)
    assert {id for id in TEXTS if not id.startswith(prefixes)} - said == set()
    begin = {id.partition(".")[0] for id in TEXTS}
    ids = {text for text in said if re.fullmatch(r"[a-z]+\.[a-z_]+", text) and text.partition(".")[0] in begin}
    assert ids - {"safe.directory"} <= set(TEXTS)


def test_a_language_with_a_region_is_that_language_and_an_unknown_one_is_english() -> None:
    say = Say("wrong.not_there", {"path": "/a"})
    assert worded(say, "zh-CN") == "/a 处没有任何内容。"
    assert [spoken(name) for name in ("zh-Hans-CN", "EN", "xx")] == ["zh", "en", "en"]
    assert worded(say, "xx") == worded(say) == "There is nothing at /a."


def test_the_text_of_an_extension_goes_first_and_what_it_lacks_is_taken_in_english() -> None:
    texts = {"en": {"title": "Ask {who}"}}
    assert worded(Say("mine.title", {"who": "Ann"}), "zh", texts, "title") == "Ask Ann"
    assert worded(Say("mine.title"), "zh", texts, "title") == "Ask ?"
    assert worded(Say("mine.call_the_author")) == "call the author"
