"""The built pages: nothing of them is inline or from elsewhere, they are small, and text stays text."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import launcher_recovery.web

WEB = Path(launcher_recovery.web.__file__).parent
STATIC = WEB / "static"
MOST = 40 * 1024
"""Bytes of all scripts together, compressed as a proxy would."""


def test_all_scripts_together_are_small() -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in STATIC.rglob("*.js")}
    assert sum(sizes.values()) <= MOST, sizes


def test_the_manifest_names_the_files_that_are_there_and_the_page_names_them() -> None:
    manifest = json.loads((STATIC / "manifest.json").read_text())
    page = (STATIC / "index.html").read_text()
    for entry in manifest.values():
        for file in (entry["file"], *entry["imports"]):
            assert (STATIC / file).is_file()
    for file in (
        manifest["recovery"]["file"],
        *manifest["recovery"]["imports"],
        manifest["style"]["file"],
    ):
        assert f'"{file}"' in page
    assert manifest["banner"]["file"] in (STATIC / "banner.js").read_text()


def test_nothing_is_inline_or_from_elsewhere() -> None:
    page = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page) == []
    # Names of XML, and what the libraries' messages refer to; nothing is loaded from there.
    namespaces = ("http://www.w3.org/", "https://socket.io/docs/", "https://lit.dev/")
    for path in (STATIC / "index.html", *(STATIC / "assets").iterdir()):
        found = re.findall(r"https?://[\w.-]+[^\s\"'`)]*", path.read_text())
        assert [url for url in found if not url.startswith(namespaces)] == [], path.name


def test_text_from_outside_can_only_become_text() -> None:
    ways = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|unsafeHTML|unsafeSVG|document\.write|\beval\(|new Function"
    )
    sources = [path for path in (WEB / "ui" / "src").rglob("*") if path.suffix in (".js", ".html")]
    assert len(sources) > 5
    assert [path.name for path in sources if ways.search(path.read_text())] == []


def test_the_licence_of_each_package_in_the_scripts_is_there() -> None:
    lock = json.loads((WEB / "ui" / "package-lock.json").read_text())
    text = (STATIC / "LICENSES.txt").read_text()
    needed = json.loads((WEB / "ui" / "package.json").read_text())["dependencies"]
    for name in needed:
        assert f"{name} {lock['packages'][f'node_modules/{name}']['version']} (" in text
    assert "resolved" not in (WEB / "ui" / "package-lock.json").read_text()  # which would name a host


def words(language: str) -> dict[str, str | list[str]]:
    found: dict[str, str | list[str]] = json.loads((WEB / "ui" / "src" / "words" / f"{language}.json").read_text())
    return found


def placeholders(text: str | list[str]) -> set[str]:
    return set(re.findall(r"{(\w+)}", " ".join(text) if isinstance(text, list) else text))


def test_each_language_has_all_words_with_the_same_blanks() -> None:
    english, chinese = words("en"), words("zh")
    assert list(english) == list(chinese)
    for key, text in english.items():
        # A problem that the server tells of is told in its own words, or in those of this language.
        if not key.startswith("problem."):
            assert placeholders(chinese[key]) == placeholders(text), key


def test_the_pages_use_the_words_that_there_are() -> None:
    english = words("en")
    code = "\n".join(path.read_text() for path in sorted((WEB / "ui" / "src").rglob("*.js")))
    calls = re.findall(r"\bt\(([^()]*(?:\([^()]*\)[^()]*)*)\)", code)
    used = {key for call in calls for key in re.findall(r'"([\w.]+)"', call) if key in english or "." in key}
    assert sorted(used - set(english)) == []
    prefixes = tuple(re.findall(r"`([\w.]+\.)\$\{", code))
    whole = set(re.findall(r'"([\w.]+)"', code)) | {f"{action}_all" for action in ("retry", "pause", "resume")}
    assert [key for key in english if key not in whole and not key.startswith(prefixes)] == []
