"""What is not the file is recognised by its first bytes, and nothing else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher_recovery import errors as ours
from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.transfer.content.recognising import refuse_what_is_no_file

MODEL = "model.safetensors"
WHERE = "https://hub.example/f/model.safetensors?token=hunter2"
OCTETS = "application/octet-stream"

OID = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 12345\n".encode()
LOGIN = b"<!DOCTYPE html>\n<html><head><title>Log in &amp; go</title></head><body>Please log in.</body></html>\n"
CHALLENGE = b'<!DOCTYPE html><html lang="en-US"><head><title>Just a moment...</title></head>'
PORTAL = b"<html><!-- <?xml?><WISPAccessGatewayParam></WISPAccessGatewayParam> --><title>Hotel</title></html>"
S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code><Message>Something about it.</Message></Error>'
PAGE_NAMES = [
    "model.safetensors",
    "m.gguf",
    "m.ckpt",
    "m.pt",
    "m.pth",
    "m.bin",
    "m.onnx",
    "m.zip",
    "m.PNG",
    "a/b\\m.bin",
]


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(begin: int, end: int) -> dict[str, object]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


WHOLE = safetensors({"__metadata__": {"format": "pt"}, "a": tensor(0, 2), "b": tensor(2, 5)}, bytes(5))


def refused(first: bytes, **given: object) -> ours.UnexpectedContentError:
    call: dict[str, object] = {"content_type": OCTETS, "name": MODEL, "size": None, "where": WHERE, **given}
    with pytest.raises(ours.UnexpectedContentError) as caught:
        refuse_what_is_no_file(first, **call)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert "hunter2" not in message
    return caught.value


def let_through(first: bytes, **given: object) -> None:
    call: dict[str, object] = {"content_type": OCTETS, "name": MODEL, "size": None, "where": WHERE, **given}
    refuse_what_is_no_file(first, **call)  # type: ignore[arg-type]


def fix(error: BaseException) -> tuple[str, str | None]:
    verdict = ErrorClassifier().classify(error)
    return verdict.retry.value, verdict.fix


# -- web pages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGE_NAMES)
@pytest.mark.parametrize(
    "page",
    [
        LOGIN,
        LOGIN.lower(),
        b"\xef\xbb\xbf\r\n  <html>",
        b"<!-- one --> <!-- two -->\n<head>",
        b"<!-- only this",
        b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN">',
        b"<script>location='/login'</script>",
        b"<meta http-equiv=refresh>",
    ],
)
def test_a_web_page_is_refused_whatever_type_it_is_called(name: str, page: bytes) -> None:
    """Names that are never text are known, so that the first bytes suffice."""
    error = refused(page, name=name)
    assert isinstance(error, ours.LoginRequiredError)
    assert fix(error) == ("after_fix", "add_token")


def test_a_login_page_is_told_with_its_title() -> None:
    """The sentence names address, title and file; the verdict is that of a missing token."""
    error = refused(LOGIN, content_type="text/html; charset=utf-8", size=len(LOGIN))
    assert str(error).startswith(
        "https://hub.example/f/model.safetensors?token=*** answered with a web page (“Log in & go”) instead of "
        "model.safetensors; it probably wants an access token"
    )


@pytest.mark.parametrize(
    "name", ["LICENSE", "workflow.json", "nodes.yaml", "data.csv", "node.py", "model", "m.unknown"]
)
def test_where_a_page_could_be_meant_its_type_must_agree(name: str) -> None:
    """What might be text is refused only when the server as well calls it a page."""
    assert isinstance(refused(LOGIN, name=name, content_type="text/html"), ours.LoginRequiredError)
    let_through(LOGIN, name=name, content_type="text/plain")


@pytest.mark.parametrize(
    "name", ["index.html", "INDEX.HTM", "feed.xml", "icon.svg", "README.md", "notes.txt", "a.jinja2"]
)
@pytest.mark.parametrize("body", [LOGIN, CHALLENGE, POINTER, S3 % b"AccessDenied", b'{"error": "gone"}'])
def test_files_that_are_such_text_themselves_are_let_through(name: str, body: bytes) -> None:
    """A page is a page, also with a title like that of a login."""
    let_through(body, name=name, content_type="text/html")
    let_through(body, name=name, content_type="application/xml")


@pytest.mark.parametrize(
    ("asked", "where", "kind"),
    [
        # Plain HTTP can be answered by anyone in between.
        ("http://hub.example/m", "http://portal.hotel.example/hello", ours.CaptivePortalError),
        ("http://hub.example/m", "http://10.0.0.1/login", ours.CaptivePortalError),
        ("http://10.0.0.7/m", "http://10.0.0.1/login", ours.CaptivePortalError),
        ("https://hub.example/m", "https://gateway.office.test/blocked", ours.CaptivePortalError),
        # With TLS it was the host itself that sent us to a login.
        ("https://hub.example/m", "https://login.company.test/", ours.LoginRequiredError),
        ("https://hub.example/m", "https://company.test/oauth2/authorize", ours.LoginRequiredError),
        ("https://civitai.com/api/download/models/1", "https://civitai.com/login?returnUrl=x", ours.LoginRequiredError),
        ("http://hub.example/m", "http://www.hub.example/m", ours.LoginRequiredError),
        ("https://hub.example/m", "https://HUB.example/m", ours.LoginRequiredError),
        ("http://10.0.0.1/m", "http://10.0.0.1/login", ours.LoginRequiredError),
        ("http://[bad/m", "https://hub.example/m", ours.CaptivePortalError),
    ],
)
def test_a_page_of_another_host_is_a_captive_portal_unless_it_is_a_login_there(
    asked: str, where: str, kind: type[Exception]
) -> None:
    """The fix differs: look at the connection, or add a token."""
    error = refused(LOGIN, asked=asked, where=where)
    assert type(error) is kind
    portal = kind is ours.CaptivePortalError
    assert fix(error) == (("yes", "check_connection") if portal else ("after_fix", "add_token"))


def test_the_page_of_a_captive_portal_is_known_by_its_marks() -> None:
    """Also where it answers in the name of the host."""
    error = refused(PORTAL, where="http://hub.example/m?token=hunter2")
    assert type(error) is ours.CaptivePortalError
    assert "http://hub.example/m?token=*** was answered by hub.example with a web page (“Hotel”)" in str(error)


@pytest.mark.parametrize(
    "page", [CHALLENGE, b"<html><script src='/cdn-cgi/challenge-platform/h/b/orchestrate/chl_page/v1'></script>"]
)
def test_a_challenge_of_cloudflare_is_waited_for(page: bytes) -> None:
    """It lets others pass later; a token does not help."""
    error = refused(page, content_type="text/html")
    assert type(error) is ours.BrowserCheckError
    assert fix(error) == ("yes", "wait_and_retry")


@pytest.mark.parametrize(
    ("title", "status", "verdict"),
    [
        ("404 Not Found", 404, ("no", "update_url")),
        ("Page | Not Found", 404, ("no", "update_url")),
        ("Error 503", 503, ("yes", "wait_and_retry")),
        ("Hub - Too Many Requests", 429, ("yes", "wait_and_retry")),
        ("403 Forbidden", 403, ("after_fix", "add_token")),
    ],
)
def test_a_page_that_is_an_error_of_the_server_counts_as_one(title: str, status: int, verdict: tuple[str, str]) -> None:
    """Some servers say it with a status of 200."""
    error = refused(f"<html><title>{title}</title>".encode(), content_type="text/html")
    assert isinstance(error, ours.ErrorDocumentError)
    assert error.status_code == status
    assert fix(error) == verdict


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        ("https://huggingface.co/o/r/blob/main/m.safetensors", "put /resolve/ in place of /blob/"),
        ("https://github.com/o/r/blob/main/m.safetensors", "put /raw/ in place of /blob/"),
        ("https://gitlab.com/o/r/-/blob/main/m.safetensors", "put /-/raw/ in place of /-/blob/"),
        ("https://civitai.com/models/123/name", "https://civitai.com/api/download/models/"),
        ("https://drive.google.com/file/d/x/view", "drive.usercontent.google.com/download?id="),
        ("https://www.dropbox.com/s/x/m.safetensors?dl=0", "put dl=1 in place of dl=0"),
    ],
)
def test_the_address_of_a_page_about_the_file_is_told_apart(asked: str, advice: str) -> None:
    """A token would not help; another address does."""
    error = refused(b"<html><title>m at main</title>", asked=asked, where=asked)
    assert type(error) is ours.UnexpectedContentError
    assert advice in str(error)
    assert fix(error) == ("no", "update_url")


# -- error messages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said", "status"),
    [
        (
            b'{"error":"Unauthorized","message":"The creator of this asset requires you to be logged in to download"}',
            "The creator of this asset requires you to be logged in",
            401,
        ),
        (b'{"error":"Invalid credentials in Authorization header"}', "Invalid credentials", 401),
        (b'{"error":"Entry not found"}', "Entry not found", None),
        (b'{"detail":"Not Found"}', "Not Found", 404),
        (b'{"error":{"code":429,"message":"Slow down","status":"RESOURCE_EXHAUSTED"}}', "Slow down", 429),
        (b'{"errors":[{"message":"first"},{"message":"second"}]}', "first", None),
        (b'{"type":"about:blank","title":"Forbidden","status":403}', "Forbidden", 403),
        (b'\xef\xbb\xbf {"message": "Service Unavailable", "success": false}', "Service Unavailable", 503),
        (S3 % b"NoSuchKey", "NoSuchKey: Something about it.", 404),
        (S3 % b"AccessDenied", "AccessDenied", 403),
        (b"<Error><Code>BlobNotFound</Code></Error>", "BlobNotFound", None),
    ],
)
def test_an_error_message_in_place_of_a_model_is_quoted(body: bytes, said: str, status: int | None) -> None:
    """With the status that it amounts to, which decides on the fix."""
    error = refused(body, content_type="application/json", size=len(body))
    assert isinstance(error, ours.ErrorDocumentError)
    assert f"answered with an error instead of model.safetensors: {said}" in str(error)
    assert error.status_code == status
    assert isinstance(refused(body, name="m.bin"), ours.ErrorDocumentError)


def test_what_a_server_says_is_shortened_and_shown_without_secrets() -> None:
    """At most 200 characters, on one line."""
    body = json.dumps({"error": "bad\n\x07 token=abcdefgh12345678 " + "x" * 5000}).encode()
    message = str(refused(body))
    assert "abcdefgh12345678" not in message
    quote = message.partition("model.safetensors: ")[2]
    assert quote.startswith("bad token=***")
    assert len(quote) == 200


def test_a_document_of_an_unknown_kind_is_refused_only_when_it_is_nothing_but_an_error() -> None:
    """Other files in JSON may have a member of such a name."""
    let_through(b'{"message": "hello", "nodes": []}', name="graph", content_type="application/json")
    let_through(b'{"error": "x"}', name="graph", content_type=OCTETS)
    let_through(b'{"error": "x"}', name="graph.json", content_type="application/json")
    assert isinstance(
        refused(b'{"error": "x"}', name="graph", content_type="application/problem+json"), ours.ErrorDocumentError
    )


def test_a_message_in_plain_text_is_quoted() -> None:
    """When it is all that comes, and called text."""
    message = b"Too Many Requests\n"
    error = refused(message, content_type="text/plain; charset=utf-8", name="m.ckpt", size=len(message))
    assert str(error).endswith("answered with text instead of m.ckpt: Too Many Requests")
    assert fix(error) == ("yes", "wait_and_retry")
    let_through(b"3000000 300\nword", content_type="text/plain", name="words.bin", size=1 << 30)
    let_through(b"a text", content_type=OCTETS, name="m.bin", size=6)
    let_through(b"3000000 300\nword", content_type="text/plain", name="words.bin", size=None)


# -- pointers and emptiness -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [MODEL, "m.bin", "m.unknown", "tokenizer.json"])
def test_a_git_lfs_pointer_is_refused_with_its_size(name: str) -> None:
    """The address leads to the repository, not to the store of large files."""
    error = refused(POINTER, name=name, content_type="text/plain")
    assert isinstance(error, ours.PointerFileError)
    assert f"gives the Git LFS pointer of {name}, not the file of 12345 bytes" in str(error)
    assert fix(error) == ("no", "update_url")


@pytest.mark.parametrize(
    ("where", "better"),
    [
        ("https://huggingface.co/o/r/raw/main/m.bin", "https://huggingface.co/o/r/resolve/main/m.bin"),
        (
            "https://raw.githubusercontent.com/o/r/main/m.bin",
            "https://media.githubusercontent.com/media/o/r/main/m.bin",
        ),
        ("https://hub.example/m.bin", "on Hugging Face the one with /resolve/"),
    ],
)
def test_the_address_to_use_instead_of_a_pointer_is_told(where: str, better: str) -> None:
    """The two hubs that have pointers at guessable addresses, and a hint for the rest."""
    assert f"use its download address: {better}" in str(refused(POINTER, where=where))


def test_only_a_whole_pointer_counts() -> None:
    """A longer file that begins so is none."""
    let_through(POINTER + b"x" * 2000, name="m.unknown")
    let_through(POINTER.replace(b"sha256", b"sha257"), name="m.unknown")


def test_an_empty_body_is_refused_where_bytes_are_expected() -> None:
    """By the size, or because no model is empty."""
    assert "sent nothing at all instead of m.dat, which is 5 bytes" in str(refused(b"", name="m.dat", size=5))
    assert "sent nothing at all instead of model.safetensors, which is a model" in str(refused(b"", size=0))
    let_through(b"", name="__init__.py", size=0)
    let_through(b"", name="empty.dat", size=None)


# -- headers of models ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "size", "problem"),
    [
        (b"\x00" * 4, 4, "is too short to have a header"),
        (b"PK\x03\x04" + bytes(100), None, "does not begin with a safetensors header, but like a zip or PyTorch file"),
        ((100_000_001).to_bytes(8, "little") + b"{", None, "does not begin with a safetensors header"),
        (bytes(16), None, "does not begin with a safetensors header"),
        ((20).to_bytes(8, "little") + b"[" + bytes(40), None, "does not begin with a safetensors header"),
        (WHOLE[:20], 50, "has 50 bytes, but announces a header of"),
        (safetensors({"a": tensor(0, 5)}, bytes(4)), len(WHOLE) * 0 + len(safetensors({"a": tensor(0, 5)})) + 4,
         "has 4 bytes of tensors, but its header describes 5"),
        (safetensors({"a": {}}), None, "has a header that describes no tensors"),
        (safetensors({"a": {"data_offsets": [3, 1]}}), None, "has a header that describes no tensors"),
        (safetensors({"a": {"data_offsets": [True, 1]}}), None, "has a header that describes no tensors"),
        ((10).to_bytes(8, "little") + b'{"a": nope', None, "has a header that describes no tensors"),
        ((4000).to_bytes(8, "little") + b'{"a":' * 800, None, "has a header that describes no tensors"),
    ],
)  # fmt: skip
def test_a_safetensors_file_needs_its_header(first: bytes, size: int | None, problem: str) -> None:
    """Its length, its beginning, and where the tensors end."""
    error = refused(first, size=size)
    assert type(error) is ours.UnexpectedContentError
    assert f"is not model.safetensors: it {problem}" in str(error)
    assert fix(error) == ("no", "update_url")


@pytest.mark.parametrize("seen", [*range(1, 20), 60, len(WHOLE) - 5, len(WHOLE)])
def test_a_right_safetensors_file_is_let_through_however_little_is_seen(seen: int) -> None:
    """With its size known and without; one without tensors as well, and one whose header is padded."""
    let_through(WHOLE[:seen], size=len(WHOLE))
    let_through(WHOLE[:seen], size=None)
    padded = (100).to_bytes(8, "little") + json.dumps({"a": tensor(0, 3)}).encode().ljust(100) + bytes(3)
    for file in (padded, safetensors({})):
        let_through(file[:seen], size=len(file))


def test_a_gguf_file_begins_with_its_letters() -> None:
    """GGUF, in every version and byte order."""
    let_through(b"GGUF\x03\x00\x00\x00", name="m.gguf")
    let_through(b"GG", name="m.gguf", size=100)
    assert "is not m.gguf: it does not begin with the letters GGUF, but like a zip" in str(
        refused(b"PK\x03\x04....", name="m.gguf")
    )
    assert "it does not begin with the letters GGUF" in str(refused(b"GG", name="m.gguf", size=2))


@given(
    first=st.binary(min_size=1, max_size=2048).filter(lambda data: any(byte < 9 for byte in data)),
    name=st.sampled_from(
        ["m.ckpt", "m.pt", "m.pth", "m.bin", "m.onnx", "m", "m.weird", "m.zip", "README.md", "m.json"]
    ),
    content_type=st.sampled_from([None, "", "text/html", "text/plain", "application/json", "application/xml", OCTETS]),
    size=st.one_of(st.none(), st.integers(1, 1 << 40)),
)
def test_no_binary_is_ever_refused(first: bytes, name: str, content_type: str | None, size: int | None) -> None:
    """Whatever a server calls it."""
    let_through(first, name=name, content_type=content_type, size=size)
    let_through(b"<html>" + first, name=name, content_type=content_type, size=size)


DOCUMENTS = st.recursive(
    st.none() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "errors", "message", "status", "x"]), inner)
    ),
    max_leaves=9,
).map(lambda value: json.dumps(value).encode())
CUT = st.sampled_from([LOGIN, POINTER, CHALLENGE, PORTAL, S3, WHOLE]).flatmap(
    lambda body: st.integers(0, len(body)).map(lambda end: body[:end])
)


@given(
    first=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode), CUT, DOCUMENTS),
    name=st.one_of(st.sampled_from([*PAGE_NAMES, "m.json", "m"]), st.text(max_size=20)),
    content_type=st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["text/html", "application/json"])),
    size=st.one_of(st.none(), st.integers(0, 400)),
    asked=st.one_of(st.none(), st.text(max_size=30), st.just("http://a.example/")),
)
def test_nothing_else_is_ever_raised(
    first: bytes, name: str, content_type: str | None, size: int | None, asked: str | None
) -> None:
    """Whatever comes, it is let through or refused with one sentence that has a verdict with a fix."""
    try:
        let_through(first, name=name, content_type=content_type, size=size, asked=asked)
    except ours.UnexpectedContentError as caught:
        error = caught
    else:
        return
    assert ErrorClassifier().classify(error).fix is not None
    assert "\n" not in str(error)
