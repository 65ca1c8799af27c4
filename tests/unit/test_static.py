"""The built pages: nothing of them is inline or from elsewhere, they are small, and text stays text."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import launcher_recovery.web

WEB = Path(launcher_recovery.web.__file__).parent
STATIC = WEB / "static"
MOST = 40_000
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
        manifest["recovery.js"]["file"],
        *manifest["recovery.js"]["imports"],
        manifest["recovery.css"]["file"],
    ):
        assert f'"{file}"' in page
    assert manifest["banner.js"]["file"] in (STATIC / "banner.js").read_text()


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
