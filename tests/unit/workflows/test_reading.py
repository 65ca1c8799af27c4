"""A workflow is read from a file, bytes, text or objects; what cannot be read is refused with the place."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path
from types import MappingProxyType

import pytest

from launcher_recovery.workflows import Limits, WorkflowError, check_workflow, read_workflow
from launcher_recovery.workflows.problems import KINDS, Severity
from launcher_recovery.workflows.reading import dump
from tests.unit.workflows.samples import codes, node, only, png, ui

WORKFLOW = ui(node(1, "KSampler", 5, "é"))
TEXT = json.dumps(WORKFLOW)


def test_all_forms_read_the_same(tmp_path: Path) -> None:
    file = tmp_path / "workflow.json"
    file.write_text(TEXT)
    for source in (file, TEXT, TEXT.encode(), WORKFLOW, MappingProxyType(WORKFLOW), TEXT.encode("utf-16")):
        assert read_workflow(source).content == WORKFLOW
        assert check_workflow(source).is_valid


def test_a_byte_order_mark_is_only_a_notice() -> None:
    for source in (TEXT.encode("utf-8-sig"), "\ufeff" + TEXT, TEXT.encode("utf-16")):
        report = check_workflow(source)
        assert report.is_valid
        assert report.workflow == WORKFLOW
    found = only(check_workflow(TEXT.encode("utf-8-sig")))
    assert (found.code, found.severity) == ("byte_order_mark", Severity.NOTICE)


@pytest.mark.parametrize(
    ("source", "code", "sentence"),
    [
        (b'{"nodes": [\n  {"id": 1,}\n]}', "bad_json", "It is not valid JSON: line 2, column 12: "),
        ('{"a": "b\nc"}', "bad_json", "line 1, column 9: invalid control character at"),
        ('{"nodes": []} {}', "bad_json", "line 1, column 15: extra data"),
        ('{\n"a": ' + "1" * 5000 + "}", "bad_json", "line 2, column 6: a number is too long"),
        (b'{\n"a": "\xff"}', "bad_encoding", "line 2, column 7 has the byte 0xff"),
        (" \n", "empty", "There is nothing in it."),
        (b"", "empty", "There is nothing in it."),
        ("\n<!doctype html>", "web_page", "It is a web page, not a workflow"),
        (b"RIFF\0\0\0\0WAVErest", "other_file", "It is a sound or a film, not a workflow"),
        (b"PK\x03\x04rest", "other_file", "It is a ZIP archive, not a workflow"),
        ("[]", "not_a_workflow", "it must be an object, not a list"),
        ("3", "not_a_workflow", "it must be an object, not a number"),
        ("null", "not_a_workflow", "it must be an object, not null"),
        ('{"nodes": {}}', "not_a_workflow", "its nodes must be a list, not an object"),
        ('{"detail": "Not found"}', "not_a_workflow", "neither nodes nor entries with a class_type, but detail"),
        ({"nodes": [{1: 2}]}, "not_a_workflow", "nodes[0] has the name 1, which is no text"),
        ({"nodes": [], "a": {1, 2}}, "not_a_workflow", "a is a set"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(source: object, code: str, sentence: str) -> None:
    report = check_workflow(source)  # type: ignore[arg-type]
    found = only(report)
    assert found.code == code
    assert sentence in found.message
    assert not report.is_valid
    assert (found.verdict.category.value, found.verdict.retry.value, found.verdict.fix) == (
        "validation", "after_fix", "fix_workflow",
    )  # fmt: skip


def test_line_and_column_are_for_programs_too() -> None:
    with pytest.raises(WorkflowError) as caught:
        read_workflow('{"a":\n  tru}')
    assert (caught.value.problem.details["line"], caught.value.problem.details["column"]) == (2, 3)
    assert caught.value.problem.to_dict()["line"] == 2
    assert isinstance(caught.value, ValueError)
    assert pickle.loads(pickle.dumps(caught.value)).problem == caught.value.problem


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert only(check_workflow(tmp_path / "none.json")).message == "The file cannot be read: No such file or directory."
    assert only(check_workflow(tmp_path)).code == "unreadable"


def test_a_name_that_is_there_twice_is_told_with_its_place() -> None:
    report = check_workflow('{"nodes": [{"id": 1, "type": "A", "id": 2, "id": 3}], "links": []}')
    assert codes(report) == ["duplicate_key", "duplicate_key"]
    assert report.problems[0].message == "The name id is there twice in nodes[0]; the last one counts."
    assert report.problems[0].pointer == ("nodes", 0)
    assert report.is_valid
    assert report.workflow["nodes"][0]["id"] == 3


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_told_with_its_place(value: str) -> None:
    report = check_workflow(f'{{"nodes": [{{"id": 1, "type": "KSampler", "widgets_values": [1, {value}]}}]}}')
    found = only(report)
    assert (found.code, found.pointer) == ("not_a_number", ("nodes", 0, "widgets_values", 1))
    assert "at nodes[0].widgets_values[1]" in found.message


def test_every_sentence_names_only_what_it_is_given() -> None:
    for code, kind in KINDS.items():
        assert kind.sentence.endswith((".", "{place}.", "{hint}.")), code
        assert kind.fix, code


# -- images -------------------------------------------------------------------------------------------


PROMPT = json.dumps({"1": {"class_type": "KSampler", "inputs": {}}})


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"workflow\0" + TEXT.encode()),
        (b"tEXt", b"workflow\0" + json.dumps(WORKFLOW, ensure_ascii=False).encode()),
        (b"tEXt", b"workflow\0" + json.dumps(WORKFLOW, ensure_ascii=False).encode("latin-1")),
        (b"zTXt", b"workflow\0\0" + zlib.compress(TEXT.encode())),
        (b"iTXt", b"workflow\0\0\0en\0w\0" + TEXT.encode()),
        (b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(TEXT.encode())),
    ],
)
def test_an_image_has_the_workflow_in_it(chunk: tuple[bytes, bytes], tmp_path: Path) -> None:
    image = png((b"tEXt", b"prompt\0" + PROMPT.encode()), (b"gAMA", bytes(4)), chunk)
    file = tmp_path / "image.png"
    file.write_bytes(image)
    for source in (image, file):
        assert read_workflow(source).content == WORKFLOW


def test_an_image_with_what_runs_only() -> None:
    report = check_workflow(png((b"tEXt", b"prompt\0" + PROMPT.encode())))
    assert (report.format, report.node_types) == ("api", ("KSampler",))


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (png(), "no_workflow_in_image"),
        (png((b"tEXt", b"parameters\0a cat, 20 steps")), "no_workflow_in_image"),
        (png((b"tEXt", b"workflow\0" + TEXT.encode()))[:60], "bad_image"),
        (png((b"tEXt", b"workflow\0" + TEXT.encode())).replace(b"KSampler", b"KSamplex"), "bad_image"),
        (png((b"zTXt", b"workflow\0\0not packed")), "bad_image"),
        (png((b"zTXt", b"workflow\0\0" + zlib.compress(bytes(70_000)))), "too_large"),
        (png((b"tEXt", b"workflow\0" + bytes(70_000))), "too_large"),
        (png((b"tEXt", b"workflow\0{")), "bad_json"),
    ],
)
def test_what_is_wrong_with_an_image(image: bytes, code: str) -> None:
    assert only(check_workflow(image, limits=Limits(text_bytes=65_000))).code == code


# -- writing ------------------------------------------------------------------------------------------


def test_text_is_written_as_it_was() -> None:
    assert dump({"a": [1, 2.0]}, '{\n  "a": 1}') == '{\n  "a": [\n    1,\n    2.0\n  ]\n}'
    assert dump({"a": [1, "é"]}, '{"a": 1}') == '{"a":[1,"é"]}'
    assert dump({"a": "\ud800"}) == '{"a": "\\ud800"}'
