"""Metalink documents and headers: what they say of a file, and that nothing in them can do harm."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher_recovery.errors import RefusedError
from launcher_recovery.transfer.integrity.checksums import Checksum
from launcher_recovery.transfer.sources.metalink import (
    LONGEST_DOCUMENT,
    MetalinkFile,
    Pieces,
    from_file,
    from_headers,
    parse,
)

SHA256 = hashlib.sha256(b"x").hexdigest()
SHA1 = hashlib.sha1(b"x").hexdigest()
MD5 = hashlib.md5(b"x").hexdigest()

# After the example of RFC 5854 §3.1.
VERSION_4 = f"""<?xml version="1.0" encoding="UTF-8"?>
<metalink xmlns="urn:ietf:params:xml:ns:metalink" xmlns:x="urn:other">
  <published>2009-05-15T12:23:23Z</published>
  <file name="example.ext">
    <size>14471447</size>
    <identity>Example</identity>
    <hash type="sha-256">{SHA256.upper()}</hash>
    <hash type="whirlpool">12</hash>
    <hash type="md5">{MD5}</hash>
    <x:hash type="sha-1">none of ours</x:hash>
    <pieces length="10000000" type="sha-1"><hash>{SHA1}</hash><hash>{SHA1}</hash></pieces>
    <pieces length="14471447" type="sha-256"><hash>{SHA256}</hash></pieces>
    <pieces length="1" type="tiger"><hash>1</hash></pieces>
    <url location="fr">https://last.example/</url>
    <url location="de" priority="2">https://two.example/a?token=t&amp;b=1</url>
    <url priority="1">ftp://ftp.example/example.ext</url>
    <url priority="1"> http://one.example/example.ext </url>
    <url priority="2">https://also-two.example/</url>
    <url priority="3">http://one.example/example.ext</url>
    <url priority="1">https://</url>
    <url priority="1">file:///etc/passwd</url>
    <metaurl mediatype="torrent" priority="1">http://example.com/example.ext.torrent</metaurl>
  </file>
  <file name="folder/second.ext"><url>https://two.example/second.ext</url></file>
</metalink>
""".encode()

VERSION_3 = f"""<metalink version="3.0" xmlns="http://www.metalinker.org/">
  <files>
    <file name="example.ext">
      <size>5</size>
      <verification>
        <hash type="sha1">{SHA1}</hash>
        <pieces length="3" type="md5"><hash piece="1">{MD5}</hash><hash piece="0">{"0" * 32}</hash></pieces>
      </verification>
      <resources maxconnections="2">
        <url type="http">https://without.example/</url>
        <url type="http" preference="10">https://ten.example/</url>
        <url type="https" preference="100">https://best.example/</url>
        <url type="http" preference="much">https://odd.example/</url>
      </resources>
    </file>
  </files>
</metalink>""".encode()


def document(inside: str, name: str = "a") -> bytes:
    return f'<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="{name}">{inside}</file></metalink>'.encode()


def test_a_metalink_4_document_is_read() -> None:
    """Checksums that are known, the strongest pieces, and web addresses by priority, each once."""
    first, second = parse(VERSION_4)
    assert first == MetalinkFile(
        name="example.ext",
        size=14471447,
        checksums=(Checksum("sha256", SHA256), Checksum("md5", MD5)),
        pieces=Pieces(14471447, (Checksum("sha256", SHA256),)),
        urls=(
            "http://one.example/example.ext",
            "https://two.example/a?token=t&b=1",
            "https://also-two.example/",
            "https://last.example/",
        ),
    )
    assert second == MetalinkFile(name="folder/second.ext", urls=("https://two.example/second.ext",))


def test_a_metalink_3_document_is_read() -> None:
    """Its pieces are numbered, and its preferences are the better the higher."""
    (file,) = parse(VERSION_3)
    assert file == MetalinkFile(
        name="example.ext",
        size=5,
        checksums=(Checksum("sha1", SHA1),),
        pieces=Pieces(3, (Checksum("md5", "0" * 32), Checksum("md5", MD5))),
        urls=("https://best.example/", "https://ten.example/", "https://without.example/", "https://odd.example/"),
    )


def test_a_document_is_read_from_its_file(tmp_path: Path) -> None:
    """In any encoding that XML declares."""
    path = tmp_path / "a.meta4"
    path.write_bytes(VERSION_4.replace(b"UTF-8", b"UTF-16").decode().encode("utf-16"))
    assert from_file(path) == parse(VERSION_4)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "this is not a Metalink file: no element found"),
        (b"\x00\x01", "this is not a Metalink file: not well-formed"),
        (b"<html>", "this is XML, but not a Metalink file"),
        (b"<metalink/>", "this is XML, but not a Metalink file"),
        (b'<metalink xmlns="urn:ietf:params:xml:ns:metalink"/>', "describes no file"),
        (b'<?xml version="1.0" encoding="no-such"?><a/>', "this is not a Metalink file"),
        (b'<?xml version="1.0" encoding="utf-7"?><a/>', "this is not a Metalink file"),
        (VERSION_4[:-20], "this is not a Metalink file"),
        (document("<size>-1</size>"), "a size that is no number: '-1'"),
        (document("<size>" + "9" * 30 + "</size>"), "a size that is no number"),
        (document('<hash type="sha-256">12</hash>'), "is no sha256 checksum"),
        (document('<pieces type="md5"/>'), "a length of pieces that is no number"),
        (document('<pieces length="0" type="md5"/>'), "pieces of no length"),
        (document(f'<size>9</size><pieces length="3" type="md5"><hash>{MD5}</hash></pieces>'),
         "has 1 hashes of pieces of 3 bytes for 'a', which does not go with its size of 9 bytes"),
        (VERSION_3.replace(b'piece="1"', b'piece="0"'), "no hash, or several, for one of its pieces"),
        (VERSION_3.replace(b'piece="1"', b'piece="one"'), "a number of a piece that is no number"),
        (b"<a xmlns='urn:ietf:params:xml:ns:metalink'>", "this is XML, but not a Metalink file"),
        (document("<x>" * 100 + "</x>" * 100), "nested too deeply"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_sentence(data: bytes, said: str) -> None:
    """It says what is wrong."""
    with pytest.raises(RefusedError) as caught:
        parse(data)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../a", "a/../../b", "a/./b", "a//b", "..", "C:/a", "a\\..\\b", "a&#10;b", "a/", " /a"]
)
def test_no_name_leads_out_of_its_folder(name: str) -> None:
    """Neither by itself nor on another system."""
    with pytest.raises(RefusedError, match="no relative path below a folder"):
        parse(document("", name))


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE metalink [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE metalink SYSTEM "http://evil.example/x.dtd">',
        '<!DOCTYPE metalink [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        "<!DOCTYPE metalink>",
    ],
)
def test_entities_are_never_looked_at(doctype: str) -> None:
    """No document that declares any gets so far."""
    with pytest.raises(RefusedError, match="has a DOCTYPE"):
        parse(doctype.encode() + document("<size>&b;</size>"))


def test_a_document_of_any_length_is_not_read_to_its_end(tmp_path: Path) -> None:
    """10 MiB are enough for every real one."""
    path = tmp_path / "a.meta4"
    with path.open("wb") as file:
        file.write(VERSION_4)
        file.truncate(1 << 40)
    with pytest.raises(RefusedError, match="longer than 10 MiB"):
        from_file(path)
    assert parse(VERSION_4 + b" " * (LONGEST_DOCUMENT - len(VERSION_4))) == parse(VERSION_4)


# -- headers --------------------------------------------------------------------------------------------------------


def b64(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()


def test_mirrors_and_checksums_are_read_from_headers() -> None:
    """After the example of RFC 6249 §1.1."""
    headers = {
        "LINK": '<http://www2.example.com/example.ext>; rel=duplicate; pri=2; pref; geo="gb, ie",'
        ' <https://www1.example.com/example.ext>; pri=1; rel="describedby Duplicate" ,,'
        "<ftp://ftp.example.com/example.ext>; rel=duplicate; pri=1, </mirror/a,b>;rel=duplicate,"
        '<http://example.com/example.ext.meta4>; rel=describedby; type="application/metalink4+xml",'
        '<http://other.example/>; rel=duplicate; anchor="#foo"',
        "Digest": f"SHA-256={b64(SHA256)},MD5={b64(MD5)}, UNIXsum=30637, SHA={b64(SHA1)}",
    }
    mirrors, checksums = from_headers(headers, "https://example.com/dir/example.ext")
    assert mirrors == (
        "https://www1.example.com/example.ext",
        "http://www2.example.com/example.ext",
        "https://example.com/mirror/a,b",
    )
    assert checksums == (Checksum("sha256", SHA256), Checksum("md5", MD5), Checksum("sha1", SHA1))


def test_a_structured_digest_and_that_of_hugging_face_are_read() -> None:
    """RFC 9530; the digest of the content is left out, which may be that of a part."""
    headers = {"repr-digest": f"sha-256=:{b64(SHA256)}:, crc32c=:AAAA:", "content-digest": f"md5=:{b64(MD5)}:"}
    assert from_headers(headers) == ((), (Checksum("sha256", SHA256),))
    assert from_headers({"X-Linked-Etag": f'"{SHA256}"'}) == ((), (Checksum("sha256", SHA256),))
    # That of a small file is a hash of git, which is none of the file alone.
    assert from_headers({"X-Linked-Etag": f'"{SHA1}"'}) == ((), ())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Link": ""},
        {"Link": "http://a.example/; rel=duplicate"},
        {"Link": "<http://a.example/>; rel=next"},
        {"Link": "</relative>; rel=duplicate"},
        {"Link": "<javascript:alert(1)>; rel=duplicate"},
        {"Link": "<http://[bad>; rel=duplicate"},
        {"Digest": "SHA-256=abc"},
        {"Digest": "=,=,,SHA-256"},
        {"Repr-Digest": ":"},
    ],
)
def test_headers_that_say_nothing_usable_are_passed_over(headers: dict[str, str]) -> None:
    """They are an offer of the server; a wrong one is no error."""
    assert from_headers(headers) == ((), ())
    assert from_headers(headers, "http://[bad/")[1] == ()


def test_a_link_that_is_no_address_is_passed_over() -> None:
    """The others are taken."""
    headers = {"Link": "<http://[bad>; rel=duplicate, <b>; rel=duplicate"}
    assert from_headers(headers, "https://a.example/a") == (("https://a.example/b",), ())


@given(st.one_of(st.binary(max_size=400), st.text(max_size=300).map(lambda text: document(text.replace("&", "")))))
def test_no_document_does_more_than_be_refused(data: bytes) -> None:
    """Whatever it is."""
    try:
        parse(data)
    except RefusedError:
        return


@given(
    document=st.sampled_from([VERSION_3, VERSION_4]),
    start=st.integers(0, len(VERSION_4)),
    length=st.integers(0, 30),
    put=st.one_of(st.binary(max_size=10), st.sampled_from([b"<file>", b"</file>", b'<pieces length="2" type="md5">'])),
)
def test_no_damaged_document_does_more_than_be_refused(document: bytes, start: int, length: int, put: bytes) -> None:
    """A part of it lost, another put in."""
    try:
        files = parse(document[:start] + put + document[start + length :])
    except RefusedError:
        return
    for file in files:
        assert ".." not in file.name.split("/")
        assert all(url.startswith(("http://", "https://")) for url in file.urls)


PIECES_OF_HEADERS = st.sampled_from(
    [
        "<",
        ">",
        "<http://a.example/>",
        ";",
        ",",
        " ",
        "rel=",
        "duplicate",
        '"',
        "\\",
        "pri=",
        "1",
        "=",
        "SHA-256",
        "é",
        ":",
    ]
)


@given(st.one_of(st.text(max_size=80), st.lists(PIECES_OF_HEADERS, max_size=30).map("".join)))
def test_no_header_raises_anything(value: str) -> None:
    """What cannot be read is left out."""
    mirrors, _ = from_headers({"Link": value, "Digest": value, "Repr-Digest": value, "X-Linked-ETag": value}, value)
    assert all(mirror.startswith(("http://", "https://")) for mirror in mirrors)
