"""Errors of the libraries that fetch: requests, urllib3, httpx, aiohttp, urllib, http.client, sockets, TLS."""

from __future__ import annotations

import errno

from launcher_recovery.classification.rule import Rule, any_of
from launcher_recovery.classification.rules.hubs import UNREACHABLE
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R


def _in(package: str, *names: str) -> frozenset[str]:
    return frozenset(f"{package}.{name}" for name in names)


_HTTPX = ("httpx", "httpcore")
_PROXY = _in("requests.exceptions", "ProxyError") | _in("urllib3.exceptions", "ProxyError") | {
    "httpx.ProxyError", "httpcore.ProxyError", "aiohttp.ClientProxyConnectionError", "python_socks._errors.ProxyError",
    "socks.ProxyConnectionError", "socks.ProxyError",
}  # fmt: skip
_TLS = _in("requests.exceptions", "SSLError") | _in("urllib3.exceptions", "SSLError") | {
    "ssl.SSLError", "ssl.SSLCertVerificationError", "aiohttp.ClientSSLError", "aiohttp.ClientConnectorCertificateError",
    "httpx.ConnectError", "httpcore.ConnectError", "urllib.error.URLError", "urllib3.exceptions.MaxRetryError",
}  # fmt: skip
_UNVERIFIED = r"(certificate verify failed|CERTIFICATE_VERIFY_FAILED)"
_TUNNEL = r"Tunnel connection failed: "
_NO_PROXY = "The proxy does not answer, or does not let us through: look at its address in the settings."
_UNTRUSTED = (
    "Something between you and {host} opens encrypted connections, such as a company's proxy or a virus scanner, and its "
    "certificate is not trusted here."
)

RULES: tuple[Rule, ...] = (
    # -- proxies ---------------------------------------------------------------------------------------
    Rule(
        "proxy-login", C.PERMISSION, R.AFTER_FIX, "The proxy wants a user name and password.", "RFC 9110 §15.5.8",
        fix="check_proxy", types={"builtins.OSError", "httpx.ProxyError", "httpcore.ProxyError"},
        message=rf"{_TUNNEL}407\b|^407 Proxy Authentication Required",
    ),
    Rule(
        "proxy-fails", C.NETWORK, R.YES, "The proxy has a problem of its own at the moment.", "http.client",
        fix="check_proxy", types={"builtins.OSError"}, message=rf"^{_TUNNEL}5\d\d\b",
    ),
    Rule(
        "proxy-refuses", C.NETWORK, R.AFTER_FIX, _NO_PROXY, "http.client", fix="check_proxy",
        types={"builtins.OSError"}, message=rf"^{_TUNNEL}4\d\d\b",
    ),
    Rule(
        "proxy-timeout", C.TIMEOUT, R.YES, "The proxy did not answer in time.", "urllib3", fix="check_proxy", types=_PROXY,
        message=r"ProxyError\(.{0,300}(timed out|Timeout)|^.{0,300}\btimed out\b",
    ),
    Rule(
        "proxy-refused", C.NETWORK, R.AFTER_FIX, _NO_PROXY, "urllib3", fix="check_proxy", types=_PROXY,
        message=r"Connection refused|WRONG_VERSION_NUMBER|wrong version number|WinError 10061|actively refused"
        r"|Your proxy appears to only use HTTP",
    ),
    Rule("proxy", C.NETWORK, R.YES, _NO_PROXY, "urllib3, httpx, aiohttp", fix="check_proxy", types=_PROXY),
    Rule(
        "proxy-address", C.VALIDATION, R.AFTER_FIX, "The address of the proxy in the settings cannot be used.",
        "requests, urllib3, httpx", fix="check_proxy",
        types=_in("requests.exceptions", "InvalidProxyURL") | _in("urllib3.exceptions", "ProxySchemeUnknown", "ProxySchemeUnsupported"),
    ),
    Rule(
        "proxy-kind", C.DEPENDENCY, R.AFTER_FIX, "For this kind of proxy (SOCKS) a package is missing.", "requests, httpx",
        fix="check_proxy", message=r"^Missing dependencies for SOCKS support|^Using SOCKS proxy, but the 'socksio' package",
        types={"requests.exceptions.InvalidSchema", "builtins.ImportError"},
    ),
    # -- TLS -------------------------------------------------------------------------------------------
    Rule(
        "tls-clock", C.NETWORK, R.AFTER_FIX, "The certificate of {host} is not valid at this time: the clock of this computer "
        "may be wrong.", "OpenSSL verify(1)", fix="check_clock", types=_TLS,
        message=rf"{_UNVERIFIED}.{{0,80}}(not yet valid|has expired)|certificate (is not yet valid|has expired)",
    ),
    Rule(
        "tls-untrusted", C.NETWORK, R.AFTER_FIX, _UNTRUSTED, "OpenSSL verify(1)", fix="check_proxy", types=_TLS,
        message=rf"{_UNVERIFIED}.{{0,80}}(self[- ]signed|unable to get (local )?issuer|unable to verify|unable to get issuer"
        r"|EE certificate key too weak|CA (signature|certificate) (digest algorithm|key) too weak|Basic Constraints"
        r"|Missing Authority Key Identifier|terminated in a root certificate which is not trusted)",
    ),
    Rule(
        "tls-other-name", C.NETWORK, R.AFTER_FIX, "Another server answers in the place of {host}: its certificate is for "
        "another name.", "OpenSSL verify(1)", fix="check_proxy", types=_TLS,
        message=rf"{_UNVERIFIED}.{{0,80}}(Hostname mismatch|IP address mismatch)|^hostname '.{{1,300}}' doesn't match",
    ),
    Rule(
        "tls-certificate", C.NETWORK, R.AFTER_FIX, "The identity of {host} could not be verified.",
        "Python ssl documentation", fix="check_clock",
        types={"ssl.SSLCertVerificationError", "aiohttp.ClientConnectorCertificateError"},
    ),
    Rule(
        "tls-certificate-told", C.NETWORK, R.AFTER_FIX, "The identity of {host} could not be verified.",
        "Python ssl documentation", fix="check_proxy", types=_TLS, message=_UNVERIFIED,
    ),
    Rule(
        "tls-bundle", C.VALIDATION, R.AFTER_FIX, "The file with the trusted certificates is not where the settings say.",
        "requests adapters.py", fix="check_proxy", types={"builtins.OSError"},
        message=r"^Could not find a suitable TLS CA certificate bundle, invalid path: ",
    ),
    Rule(
        # Said by a server without a kind of encryption in common, but also by one that is starting, or by a balancer
        # of which one machine is wrong.
        "tls-refused", C.NETWORK, R.YES, "{host} broke off while the encryption was being agreed on; a proxy may be in "
        "between.", "RFC 8446 §6.2", fix="check_proxy", types=_TLS, message=any_of(r"_ALERT_HANDSHAKE_FAILURE\b"),
    ),
    Rule(
        "tls-version", C.NETWORK, R.AFTER_FIX, "{host} and this computer have no kind of encryption in common; a proxy may "
        "be in between.", "OpenSSL ssl.h", fix="check_proxy", types=_TLS, message=any_of(
            r"\bWRONG_VERSION_NUMBER\b", r"\bUNSUPPORTED_PROTOCOL\b", r"_ALERT_PROTOCOL_VERSION\b", r"\bHTTP_REQUEST\b",
            r"\bNO_PROTOCOLS_AVAILABLE\b", r"\bDH_KEY_TOO_SMALL\b", r"\bUNSAFE_LEGACY_RENEGOTIATION",
            r"\bTLSV1_ALERT_UNRECOGNIZED_NAME\b", r"\bTLSV1_UNRECOGNIZED_NAME\b", r"\bHTTPS_PROXY_REQUEST\b",
        ),
    ),
    # -- connecting ------------------------------------------------------------------------------------
    Rule(
        # EACCES of a socket, and WSAEACCES: no file is meant.
        "blocked", C.NETWORK, R.AFTER_FIX, "A firewall on this computer does not let the launcher connect to {host}.",
        "connect(2), Windows Sockets Error Codes", fix="check_connection", winerrors={10013},
    ),
    Rule(
        "blocked-told", C.NETWORK, R.AFTER_FIX, "A firewall on this computer does not let the launcher connect to {host}.",
        "connect(2), Windows Sockets Error Codes", fix="check_connection", types=_in("urllib3.exceptions", "NewConnectionError"),
        message=r"\[(Errno 13|WinError 10013)\]",
    ),
    Rule(
        # Before "timeout": urllib3 has them under its class of that name.
        "not-connected", C.NETWORK, R.YES, "{host} could not be reached.", "urllib3 documentation",
        fix="check_connection", types=_in("urllib3.exceptions", "NewConnectionError", "NameResolutionError"),
    ),
    Rule(
        "bad-url", C.VALIDATION, R.AFTER_FIX, "The address is not a usable web address.", "requests, urllib3, httpx, aiohttp",
        fix="update_url", types=_in(
            "requests.exceptions", "MissingSchema", "InvalidSchema", "InvalidURL", "TooManyRedirects"
        ) | _in("urllib3.exceptions", "LocationParseError", "LocationValueError", "URLSchemeUnknown")
        | _in("httpx", "UnsupportedProtocol", "InvalidURL", "TooManyRedirects") | _in("httpcore", "UnsupportedProtocol")
        | _in("aiohttp", "InvalidURL", "NonHttpUrlClientError", "TooManyRedirects") | {"httpx._urlparse.InvalidURL", "http.client.InvalidURL"},
    ),
    Rule(
        "bad-url-told", C.VALIDATION, R.AFTER_FIX, "The address is not a usable web address.", "urllib.request, urllib.parse",
        fix="update_url", types={"urllib.error.URLError", "builtins.ValueError"},
        message=r"^<?urlopen error (unknown url type|no host given)|^unknown url type: |^Invalid IPv6 URL$|^unknown url type$"
        r"|^label (empty or too long|too long)|^encoding with 'idna' codec failed|\bInvalid isoformat url\b",
    ),
    # -- timeouts --------------------------------------------------------------------------------------
    Rule(
        "lock-timeout", C.RESOURCE, R.YES, "Another program is at work on the same thing and has not let go of it in time.",
        "filelock, portalocker", fix="close_other_program",
        types={"filelock._error.Timeout", "filelock.Timeout", "portalocker.exceptions.LockException", "portalocker.exceptions.AlreadyLocked"},
    ),
    Rule(
        "timeout", C.TIMEOUT, R.YES, "{host} did not answer in time.", "requests and Python documentation",
        fix="check_connection", types=_in("requests.exceptions", "Timeout", "ConnectTimeout", "ReadTimeout")
        | _in("urllib3.exceptions", "TimeoutError", "ConnectTimeoutError", "ReadTimeoutError")
        | {f"{package}.{name}" for package in _HTTPX for name in (
            "TimeoutException", "ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout",
        )}
        | _in("aiohttp", "ServerTimeoutError", "ConnectionTimeoutError", "SocketTimeoutError")
        | {
            "builtins.TimeoutError", "socket.timeout", "asyncio.exceptions.TimeoutError", "subprocess.TimeoutExpired",
            "concurrent.futures._base.TimeoutError", "multiprocessing.context.TimeoutError", "multiprocessing.TimeoutError",
            "celery.exceptions.TimeoutError", "websockets.exceptions.ConnectionTimeout",
        },
    ),
    Rule(
        "timeout-told", C.TIMEOUT, R.YES, "{host} did not answer in time.", "urllib3, OpenSSL", fix="check_connection",
        types=_in("requests.exceptions", "ConnectionError", "SSLError") | _in("urllib3.exceptions", "MaxRetryError", "SSLError"),
        message=r"\b(Read timed out|Connection to \S{1,300} timed out|read operation timed out|handshake operation timed out)",
    ),
    # -- connections that break off --------------------------------------------------------------------
    Rule(
        "undecodable", C.INTEGRITY, R.ONCE, "What {host} sent is damaged.", "requests, urllib3, httpx",
        fix="redownload", types=_in("requests.exceptions", "ContentDecodingError") | _in("urllib3.exceptions", "DecodeError")
        | _in("httpx", "DecodingError") | _in("aiohttp", "ContentEncodingError"),
    ),
    Rule(
        "connection", C.NETWORK, R.YES, "The connection to {host} broke off.", "requests and Python documentation",
        fix="check_connection", types=_in("requests.exceptions", "ConnectionError", "ChunkedEncodingError", "SSLError")
        | _in("urllib3.exceptions", "ProtocolError", "IncompleteRead", "InvalidChunkLength", "SSLError")
        | _in("http.client", "IncompleteRead", "RemoteDisconnected", "BadStatusLine", "LineTooLong")
        | {f"{package}.{name}" for package in _HTTPX for name in (
            "NetworkError", "ConnectError", "ReadError", "WriteError", "CloseError", "RemoteProtocolError",
        )}
        | _in("aiohttp", "ClientConnectionError", "ClientConnectorError", "ClientOSError", "ServerDisconnectedError",
              "ClientPayloadError", "ClientConnectorDNSError", "ServerConnectionError")
        | {
            "builtins.ConnectionError", "socket.gaierror", "ssl.SSLError", "urllib.error.ContentTooShortError",
            "aiohttp.http_exceptions.TransferEncodingError", "aiohttp.http_exceptions.ContentLengthError",
            "websocket._exceptions.WebSocketConnectionClosedException", "websockets.exceptions.ConnectionClosedError",
            "socketio.exceptions.ConnectionError", "engineio.exceptions.ConnectionError",
            "botocore.exceptions.EndpointConnectionError", "botocore.exceptions.IncompleteReadError",
        },
    ),
    Rule(
        "connection-told", C.NETWORK, R.YES, "The connection to {host} broke off.", "urllib.request", fix="check_connection",
        types={"urllib.error.URLError"}, message=rf"^<urlopen error \[Errno (-\d+|{errno.ENETUNREACH}|{errno.ECONNREFUSED}|{errno.ECONNRESET})\]",
    ),
    Rule(
        "no-json", C.NETWORK, R.ONCE, "{host} answered with something else than what was asked for.", "requests, aiohttp",
        fix="check_connection", types={"requests.exceptions.JSONDecodeError", "aiohttp.ContentTypeError"},
    ),
    *UNREACHABLE,
)  # fmt: skip
