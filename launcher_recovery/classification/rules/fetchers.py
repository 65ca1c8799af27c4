"""Programs that download: curl, wget, aria2. What they print names the cause, their exit status the kind of it."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule, any_of
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R
from launcher_recovery.records import WaitingFor

_CURL = frozenset({"curl"})
_WGET = frozenset({"wget", "wget2"})
_ARIA = frozenset({"aria2c"})
_CURL_DOCS = "curl(1), Exit codes"
_WGET_DOCS = "wget(1), Exit status"
_ARIA_DOCS = "aria2c(1), Exit status"
_BROKE = "The connection to {host} broke off."
_SLOW = "{host} did not answer in time."
_UNTRUSTED = "The identity of {host} could not be verified: something such as a company's proxy may be in between."
_NO_URL = "The address is not a usable web address."


def _curl(*codes: int) -> str:
    return rf"^curl: \(({'|'.join(map(str, codes))})\)"


def _aria(*codes: int) -> str:
    return rf"\berrorCode=({'|'.join(map(str, codes))})\b"


RULES: tuple[Rule, ...] = (
    Rule("login-page", C.PERMISSION, R.AFTER_FIX, "{host} sent its login page instead of the file: add an access token for it.", "wget",
         fix="add_token", output=r"^Location: \S{0,400}/(login|signin|sign-in|users/sign_in|auth)\b\S{0,600} \[following\]$(.|\n){0,3000}?^Length: .{0,60}\[text/html\]"),
    # -- certificates, proxies --------------------------------------------------------------------------------
    Rule("fetch-clock", C.NETWORK, R.AFTER_FIX, "The certificate of {host} is not valid at this time: the clock of this computer may be wrong.",
         "OpenSSL verify(1)", fix="check_clock", output=any_of(
             rf"{_curl(60, 51, 35)}.{{0,200}}certificate (has expired|is not yet valid)", r"^[ \t]{0,24}Issued certificate (has expired|not yet valid)",
             r"^ERROR: cannot verify .{1,300}(.|\n){0,300}(has expired|not yet (valid|activated))", r"^ERROR: The certificate of .{1,300} (has expired|is not yet activated)")),
    Rule("fetch-tls", C.NETWORK, R.AFTER_FIX, _UNTRUSTED, "libcurl, wget, aria2", fix="check_proxy", output=any_of(
        _curl(51, 58, 60, 77, 83, 90, 91), r"(?<!URLError: )<urlopen error \[SSL: CERTIFICATE_VERIFY_FAILED\]", r"^ERROR: cannot verify ", r"^ERROR: (The certificate of|no certificate subject alternative name|certificate common name)",
        r"SSL/TLS handshake failure: .{0,80}(certificate|not signed by known authorities|issuer is not known)", r"^To connect to \S{1,300} insecurely, use `--no-check-certificate'")),
    Rule("fetch-proxy-login", C.PERMISSION, R.AFTER_FIX, "The proxy wants a user name and password.", "libcurl, wget", fix="check_proxy",
         output=r"^curl: \(\d+\) .{0,120}\b(HTTP code 407 from proxy|response 407)|^Proxy tunneling failed: .{0,60}(Proxy Authentication Required|407)|\b407 Proxy Authentication Required"),
    Rule("fetch-proxy", C.NETWORK, R.AFTER_FIX, "The proxy cannot be reached, or does not let the program through: look at its address in the settings.",
         "libcurl, wget", fix="check_proxy", output=any_of(_curl(5, 97), r"^curl: \(\d+\) .{0,120}(HTTP code 4\d\d from proxy|CONNECT tunnel failed, response 4)",
                                                           r"^Proxy tunneling failed: ", r"^Error parsing proxy URL ")),
    # -- the disk ---------------------------------------------------------------------------------------------
    Rule("fetch-disk-full", C.RESOURCE, R.AFTER_FIX, "The disk is full.", "curl, wget, aria2", fix="free_disk_space", waits=WaitingFor.DISK_SPACE,
         output=any_of(r"^(curl: \(23\) |Cannot write to |fallocate failed|Warning: |\S{1,300}: )(.{0,300}(: |\())?No space left on device(?=$|\)|\.)", rf"{_aria(9)}", r"\bNot enough disk space\b")),
    Rule("fetch-rights", C.PERMISSION, R.AFTER_FIX, "The folder cannot be written to.", "curl, wget, aria2", fix="fix_permissions", output=any_of(
        r"^\S{1,600}: (Permission denied|Read-only file system)$", r"^(Warning|curl): .{0,400}\b(Permission denied|Read-only file system)", r"errorCode=(15|16|17|18) .{0,600}(Permission denied|Read-only file system)")),
    # -- the answer -------------------------------------------------------------------------------------------
    Rule("fetch-checksum", C.INTEGRITY, R.ONCE, "The file that arrived is damaged.", _ARIA_DOCS, fix="redownload",
         output=any_of(_aria(32), r"^\S{1,600}: FAILED$(.|\n){0,300}computed checksum", r"^sha\d+sum: WARNING: ")),
    Rule("fetch-range", C.INTEGRITY, R.ONCE, "The rest of the file cannot be fetched by itself; it is fetched from the start.", "libcurl, aria2", fix="redownload",
         output=any_of(_curl(33, 36, 31), _aria(8))),
    Rule("fetch-timeout", C.TIMEOUT, R.YES, _SLOW, "libcurl, wget, aria2", fix="check_connection", output=any_of(
        _curl(28), _aria(2, 5), r"(?<!URLError: )<urlopen error (timed out|_ssl\.c:\d+: .{0,60}timed out|\[(Errno 110|WinError 10060)\])", r"^(Connecting to .{1,300}|HTTP request sent, awaiting response|.{0,80}Read error at byte .{1,60}).{0,60}(Connection |Operation )?timed out",
        r"^(Read error|Unable to establish SSL connection).{0,120}timed out", r"^failed: Connection timed out\.")),
    Rule("fetch-no-url", C.VALIDATION, R.AFTER_FIX, _NO_URL, "libcurl, wget", fix="update_url", output=any_of(
        _curl(1, 3, 47), r"^\S{0,600}: (Unsupported scheme|Invalid (URL|host name|port number)|Scheme missing)", r"^\d+ redirections exceeded\.", _aria(23), r"\bUnrecognized URI or unsupported protocol")),
    Rule("fetch-gone", C.NOT_FOUND, R.AFTER_FIX, "The address is not there any more on {host}.", "libcurl, aria2", fix="update_url", output=any_of(_curl(78), _aria(3, 4))),
    Rule("fetch-login", C.PERMISSION, R.AFTER_FIX, "{host} wants you to log in: add an access token for it.", "libcurl, wget, aria2", fix="add_token", output=any_of(
        _curl(67, 9), _aria(24), r"^Username/Password Authentication Failed\.")),
    Rule("fetch-overloaded", C.NETWORK, R.YES, "{host} has a problem of its own at the moment.", _ARIA_DOCS, fix="wait_and_retry", output=any_of(_aria(29))),
    Rule("fetch-network", C.NETWORK, R.YES, _BROKE, "libcurl, wget, aria2", fix="check_connection", output=any_of(
        r"(?<!URLError: )<urlopen error \[(Errno (-[23]|101|104|111|113|11001)|WinError 100(51|53|54|61|65))\]",
        _curl(2, 4, 6, 7, 8, 12, 16, 18, 26, 34, 35, 52, 55, 56, 65, 80, 92, 95, 96), _aria(6, 19), r"^wget: unable to resolve host address ", r"^failed: (Connection refused|Network is unreachable|No route to host|Name or service not known|Temporary failure)",
        r"^Connecting to .{1,300}failed: (?!.{0,40}timed out)", r"^Read error at (byte|headers)|^Read error \(", r"^No data received\.", r"^Unable to establish SSL connection\.", r"^Giving up\.",
        r"errorCode=1 (Failed to establish connection|Network problem has occurred|SSL/TLS handshake failure|Name resolution)", r"\bretrying in \d+ seconds?\b", r"^Resolving .{1,300}failed: ", r"Connection closed at byte \d+\. Giving up")),
    # -- nothing was printed, or nothing that helps: the exit status (an HTTP status that was named goes before it) -----------
    Rule("curl-network", C.NETWORK, R.YES, _BROKE, _CURL_DOCS, fix="check_connection", programs=_CURL, exits={2, 6, 7, 8, 16, 18, 35, 52, 55, 56, 92, 95, 96}),
    Rule("curl-proxy", C.NETWORK, R.AFTER_FIX, "The proxy cannot be reached: look at its address in the settings.", _CURL_DOCS, fix="check_proxy", programs=_CURL, exits={5, 97}),
    Rule("curl-timeout", C.TIMEOUT, R.YES, _SLOW, _CURL_DOCS, fix="check_connection", programs=_CURL, exits={28}),
    Rule("curl-tls", C.NETWORK, R.AFTER_FIX, _UNTRUSTED, _CURL_DOCS, fix="check_proxy", programs=_CURL, exits={51, 58, 60, 77}),
    Rule("curl-write", C.RESOURCE, R.AFTER_FIX, "What was downloaded could not be written: the disk may be full.", _CURL_DOCS, fix="free_disk_space", programs=_CURL, exits={23}),
    Rule("curl-write-said", C.RESOURCE, R.AFTER_FIX, "What was downloaded could not be written: the disk may be full.", _CURL_DOCS, fix="free_disk_space", output=_curl(23)),
    Rule("curl-memory", C.RESOURCE, R.AFTER_FIX, "The computer ran out of memory.", _CURL_DOCS, fix="free_memory", programs=_CURL, exits={27}),
    Rule("curl-range", C.INTEGRITY, R.ONCE, "The rest of the file cannot be fetched by itself; it is fetched from the start.", _CURL_DOCS, fix="redownload", programs=_CURL, exits={33, 36}),
    Rule("curl-url", C.VALIDATION, R.AFTER_FIX, _NO_URL, _CURL_DOCS, fix="update_url", programs=_CURL, exits={1, 3, 47}),
    Rule("curl-missing", C.NOT_FOUND, R.AFTER_FIX, "The address is not there any more on {host}.", _CURL_DOCS, fix="update_url", programs=_CURL, exits={78}),
    Rule("curl-login", C.PERMISSION, R.AFTER_FIX, "{host} wants you to log in: add an access token for it.", _CURL_DOCS, fix="add_token", programs=_CURL, exits={9, 67}),
    Rule("wget-network", C.NETWORK, R.YES, _BROKE, _WGET_DOCS, fix="check_connection", programs=_WGET, exits={4}),
    Rule("wget-no-folder", C.NOT_FOUND, R.AFTER_FIX, "The folder for the file is not there.", "wget", programs=_WGET, output=r"^\S{1,600}: No such file or directory$"),
    Rule("wget-tls", C.NETWORK, R.AFTER_FIX, _UNTRUSTED, _WGET_DOCS, fix="check_proxy", programs=_WGET, exits={5}),
    Rule("wget-login", C.PERMISSION, R.AFTER_FIX, "{host} wants you to log in: add an access token for it.", _WGET_DOCS, fix="add_token", programs=_WGET, exits={6}),
    Rule("wget-arguments", C.VALIDATION, R.AFTER_FIX, "An option is not one that this wget knows.", _WGET_DOCS, fix="fix_settings", programs=_WGET, exits={2}),
    Rule("aria-timeout", C.TIMEOUT, R.YES, _SLOW, _ARIA_DOCS, fix="check_connection", programs=_ARIA, exits={2, 5}),
    Rule("aria-missing", C.NOT_FOUND, R.AFTER_FIX, "The address is not there any more on {host}.", _ARIA_DOCS, fix="update_url", programs=_ARIA, exits={3, 4}),
    Rule("aria-network", C.NETWORK, R.YES, _BROKE, _ARIA_DOCS, fix="check_connection", programs=_ARIA, exits={6, 19, 29}),
    Rule("aria-disk-full", C.RESOURCE, R.AFTER_FIX, "The disk is full.", _ARIA_DOCS, fix="free_disk_space", programs=_ARIA, exits={9}),
    Rule("aria-login", C.PERMISSION, R.AFTER_FIX, "{host} wants you to log in: add an access token for it.", _ARIA_DOCS, fix="add_token", programs=_ARIA, exits={24}),
    Rule("aria-stopped", C.CANCELLED, R.NO, "It was stopped.", _ARIA_DOCS, programs=_ARIA, exits={7}),
    Rule("aria-checksum", C.INTEGRITY, R.ONCE, "The file that arrived is damaged.", _ARIA_DOCS, fix="redownload", programs=_ARIA, exits={32}),
)  # fmt: skip
