"""What pip (20 to 26) and uv print."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule, any_of, lines
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R

_PIP = "pip _internal/exceptions.py"
_FINDER = "pip _internal/index/package_finder.py"
_INSTALL = "pip _internal/commands/install.py"
_UV = "uv crates/uv, uv-client"
# What comes after the retries: the index had no answer, so that pip knows of no version at all (pip 20.3 leaves it out).
_NOTHING = r"\(from versions: none\)|^[ \t]{0,24}ERROR: Could not find a version that satisfies the requirement [^()\n]{1,300}( \(from .{1,300}\))?$"
_RETRYING = r"(?:WARNING: )?Retrying \(Retry\(total=\d+.{0,200}after connection broken by ['\"]"
# The second as launcher_recovery.nodes.pip_log has it.
_OSERROR = r"(?:ERROR: )?Could not (?:install packages due to an (?:OSError|EnvironmentError): |fetch URL \S{1,600}: (?:connection error: )?)"
# pip 26 says it in words of its own (_internal/exceptions/network.py).
_FETCH = r"(?:ERROR: )?Could not fetch URL \S{1,600}: "
_TLS = r"(SSLError\(|SSLCertVerificationError|certificate verify failed|CERTIFICATE_VERIFY_FAILED)"
_UNTRUSTED = (
    "The identity of the package index could not be verified: something such as a company's proxy may be in between."
)
_CLOCK = "The certificate of the package index is not valid at this time: the clock of this computer may be wrong."
_NO_PROXY = "The proxy cannot be reached, or does not let pip through: look at its address in the settings."
_SLOW = "The package index did not answer in time."
_FAILS = "The package index has a problem of its own at the moment."
_LOGIN = "The package index wants you to log in."
_BROKE = "The connection to the package index broke off."
_BLOCKED = "A firewall on this computer does not let pip connect to the package index."
_CONFLICT = "The packages that are asked for do not fit together."
_REQUIREMENT = "A requirement is not written as pip wants it."

RULES: tuple[Rule, ...] = (
    Rule("pip-cancelled", C.CANCELLED, R.NO, "It was cancelled.", "pip _internal/cli/base_command.py",
         output=lines(r"ERROR: Operation cancelled by user", r"Operation cancelled by user$")),
    Rule("pip-long-path", C.RESOURCE, R.AFTER_FIX, "The path of a file is longer than Windows allows.", _INSTALL,
         fix="enable_long_paths", output=lines(r"HINT: This error might have occurred since this system does not have Windows Long Path support")),
    Rule("pip-in-use", C.RESOURCE, R.YES, "Another program has a file of the package open.", _INSTALL, fix="close_other_program",
         output=lines(rf"{_OSERROR}\[WinError (32|33)\]")),
    Rule("pip-rights", C.PERMISSION, R.AFTER_FIX, "The folder of the packages cannot be written to.", _INSTALL,
         fix="fix_permissions", output=lines(rf"{_OSERROR}\[(Errno (1|13|30)|WinError (5|19))\]",
                                            r"Consider using the `--user` option or check the permissions\.")),
    Rule("pip-managed", C.DEPENDENCY, R.AFTER_FIX, "Packages cannot be installed into the Python of the system; the project needs an "
         "environment of its own.", "PEP 668", fix="use_venv", output=lines(
             r"error: externally-managed-environment", r"This environment is externally managed$", r"error: The interpreter at .{1,400} is externally managed",
             r"ERROR: Could not find an activated virtualenv", r"error: No virtual environment found",
             r"error: uninstall-(distutils-installed-package|no-record-file)", r"ERROR: Cannot uninstall ")),
    Rule("pip-half", C.DEPENDENCY, R.AFTER_FIX, "A package in the Python environment is incomplete: some of its files are gone. Installing it again "
         "mends that.", _INSTALL, fix="install_dependency", output=lines(
             rf"{_OSERROR}\[(Errno 2|WinError [23])\] .{{1,80}}: '.{{1,600}}\.(dist|egg)-info[/\\]", r"error: Cannot uninstall .{0,200}RECORD file not found")),
    # -- what was asked for ----------------------------------------------------------------------------------
    Rule("pip-hash", C.INTEGRITY, R.ONCE, "What arrived of a package is not what its checksum says: it was cut off, damaged or replaced.", _PIP,
         fix="redownload", output=lines(r"ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", r".{0,80}Hash mismatch for `", r"Hash for \S{1,200} \(.{1,80}\) from archive .{1,400} not found in known hashes",
                                       r"ERROR: .{0,300}\bhash mismatch\b")),
    Rule("pip-damaged", C.INTEGRITY, R.ONCE, "A package arrived damaged.", _PIP, fix="redownload",
         output=lines(r"ERROR: Wheel '.{1,300}' located at .{1,600} is invalid", r"ERROR: .{0,300} has an invalid wheel, ",
                      r"(zipfile\.BadZipFile|zlib\.error|tarfile\.ReadError): ", r"ERROR: For req: .{1,400}\bInvalid wheel\b",
                      r"ERROR: Cannot unpack file ", r".{0,80}Failed to (read|extract|unzip) .{0,400}(archive|zip)",
                      r".{0,80}invalid (local|central directory) header|unable to (locate|find) (the )?end of central directory")),
    Rule("pip-requirement", C.VALIDATION, R.AFTER_FIX, _REQUIREMENT, "pip _internal/req", fix="fix_requirements", output=lines(
        r"ERROR: Invalid requirement: ", r"ERROR: .{0,300}Expected (end|semicolon|package name|matching)\b", r"ERROR: Directory '.{1,600}' is not installable",
        r"ERROR: Invalid (URL|wheel filename|editable|version)", r"ERROR: .{1,600} (is not a valid editable requirement|should either be a path to a local project)",
        r"ERROR: (Hashes are required in --require-hashes mode|In --require-hashes mode, all requirements must)", r"ERROR: Can't verify hashes for these ",
        r"ERROR: You must give at least one requirement", r"ERROR: (Unnamed requirements are not allowed|Links are not allowed as constraints|Constraints cannot have extras)",
        r"ERROR: Double requirement given", r"ERROR: .{0,300}: unrecognized arguments: ", r"error: Couldn't parse requirement in ",
        r"error: Failed to parse: `", r"ERROR: .{0,300} does not appear to be a Python project", r"ERROR: Package name .{0,200} does not match",
        r"ERROR: Requested .{1,600} has (invalid metadata|inconsistent)")),
    Rule("pip-no-file", C.NOT_FOUND, R.AFTER_FIX, "The file with the requirements is not there.", "pip _internal/req/req_file.py",
         fix="fix_requirements", output=lines(r"ERROR: Could not open requirements file: ", r"error: File not found: `.{1,400}`",
                                             r"ERROR: .{0,600}looks like a filename, but the file does not exist",
                                             r"WARNING: Requirement '.{1,600}' looks like a filename, but the file does not exist")),
    Rule("pip-options", C.VALIDATION, R.AFTER_FIX, "An option is not one that this pip knows.", "pip _internal/cli/parser.py",
         fix="fix_settings", output=lines(r"no such option: -", r"ERROR: Can not perform a '--user' install", r"ERROR: unknown command ", r"option --?\S{1,60}: invalid ",
                                         r"ERROR: Configuration file ", r"error: unexpected argument '")),
    # As launcher_recovery.nodes.conflicts says it.
    Rule("pip-conflict-told", C.DEPENDENCY, R.AFTER_FIX, "Packages do not fit together: {told}.", "pip resolver documentation",
         fix="pin_dependency", output=r"^(?P<told>\S.{0,400} asks for \S.{0,400} and \S.{0,200} asks for \S.{0,400})\.$",
         beside=r"ResolutionImpossible|conflicting dependencies"),
    Rule("pip-conflict", C.DEPENDENCY, R.AFTER_FIX, _CONFLICT, "pip resolver documentation", fix="pin_dependency", output=lines(
        r"ERROR: ResolutionImpossible", r"ERROR: Cannot install .{1,900} because these package versions have conflict",
        r"error: resolution-too-deep")),
    Rule("pip-other-python", C.DEPENDENCY, R.AFTER_FIX, "A package does not fit the Python of this project.", _FINDER,
         fix="pin_dependency", output=lines(
             r"ERROR: Package '.{1,300}' requires a different Python", r"ERROR: .{1,600} is not a supported wheel on this platform",
             r"ERROR: .{1,300} requires Python '", r"ERROR: Ignored the following versions that require a different python")),
    # -- the connection ---------------------------------------------------------------------------------------
    Rule("pip-proxy-login", C.PERMISSION, R.AFTER_FIX, "The proxy wants a user name and password.", "pip _vendor/urllib3",
         fix="check_proxy", output=lines(rf"(?:{_OSERROR}|ERROR: ).{{0,900}}Tunnel connection failed: 407",
                                        r"error: proxy-connection-failed(.|\n){0,1200}Tunnel connection failed: 407")),
    Rule("pip-proxy-login-index", C.PERMISSION, R.AFTER_FIX, "The proxy wants a user name and password.", "pip _vendor/urllib3",
         fix="check_proxy", output=lines(rf"{_RETRYING}.{{0,600}}Tunnel connection failed: 407"), beside=_NOTHING),
    Rule("pip-blocked", C.NETWORK, R.AFTER_FIX, _BLOCKED, "connect(2), Windows Sockets Error Codes", fix="check_connection",
         output=lines(rf"(?:{_OSERROR}|ERROR: ).{{0,900}}\[WinError 10013\]")),
    Rule("pip-blocked-index", C.NETWORK, R.AFTER_FIX, _BLOCKED, "connect(2), Windows Sockets Error Codes", fix="check_connection",
         output=lines(rf"{_RETRYING}NewConnectionError.{{0,500}}\[(Errno 13|WinError 10013)\]"), beside=_NOTHING),
    Rule("pip-clock", C.NETWORK, R.AFTER_FIX, _CLOCK, "OpenSSL verify(1)", fix="check_clock", output=any_of(
        lines(rf"(?:{_OSERROR}|ERROR: ).{{0,900}}{_TLS}.{{0,300}}certificate (is not yet valid|has expired)",
              r"error: ssl-verification-failed(.|\n){0,1200}certificate (is not yet valid|has expired)"),
        r"invalid peer certificate: (Expired|NotValidYet)")),
    Rule("pip-clock-index", C.NETWORK, R.AFTER_FIX, _CLOCK, "OpenSSL verify(1)", fix="check_clock",
         output=lines(rf"{_RETRYING}{_TLS}.{{0,300}}certificate (is not yet valid|has expired)"), beside=_NOTHING),
    Rule("pip-tls", C.NETWORK, R.AFTER_FIX, _UNTRUSTED, "OpenSSL verify(1)", fix="check_proxy", output=any_of(
        lines(rf"(?:{_OSERROR}|ERROR: ).{{0,900}}{_TLS}", r"error: ssl-(verification-failed|missing)",
              r"Could not fetch URL .{1,600}There was a problem confirming the ssl certificate",
              r"WARNING: pip is configured with locations that require TLS/SSL, however the ssl module"),
        r"invalid peer certificate: \w")),
    Rule("pip-tls-index", C.NETWORK, R.AFTER_FIX, _UNTRUSTED, "OpenSSL verify(1)", fix="check_proxy", output=lines(rf"{_RETRYING}{_TLS}"),
         beside=_NOTHING),
    Rule("pip-proxy", C.NETWORK, R.AFTER_FIX, _NO_PROXY, "pip _vendor/urllib3", fix="check_proxy", output=lines(
        rf"{_OSERROR}.{{0,900}}ProxyError\(", rf"{_FETCH}proxy connection error: ", r"error: proxy-connection-failed", r"(\S{0,80}\.)?ProxyError: HTTPS?ConnectionPool",
        r"ERROR: .{0,900}(InvalidProxyURL|Missing dependencies for SOCKS support|Please check proxy URL)")),
    Rule("pip-proxy-timeout", C.TIMEOUT, R.YES, "The proxy did not answer in time.", "pip _vendor/urllib3", fix="check_proxy",
         output=lines(rf"{_RETRYING}ProxyError\(.{{0,300}}(timed out|Timeout)"), beside=_NOTHING),
    Rule("pip-proxy-index", C.NETWORK, R.AFTER_FIX, _NO_PROXY, "pip _vendor/urllib3", fix="check_proxy",
         output=lines(rf"{_RETRYING}ProxyError\("), beside=_NOTHING),
    Rule("pip-timeout", C.TIMEOUT, R.YES, _SLOW, "pip _vendor/urllib3", fix="check_connection", output=lines(
        rf"{_OSERROR}.{{0,900}}([Tt]imed out|ConnectTimeoutError|ReadTimeoutError)", r"error: connection-timeout",
        rf"{_FETCH}\S{{1,300}} didn't respond within ",
        r"((pip\._vendor\.)?(urllib3|requests)\.exceptions\.)(ReadTimeoutError|ConnectTimeoutError|ReadTimeout|ConnectTimeout): ",
        r"(.{0,60}: )?(operation timed out|Failed to download distribution due to network timeout|deadline has elapsed)\b")),
    Rule("pip-timeout-index", C.TIMEOUT, R.YES, _SLOW, "pip _vendor/urllib3", fix="check_connection",
         output=lines(rf"{_RETRYING}(?:ConnectTimeout|ReadTimeout|NewConnection|<?\S{{1,80}} ).{{0,500}}[Tt]imed out"), beside=_NOTHING),
    Rule("pip-timeout-download", C.TIMEOUT, R.YES, _SLOW, "pip _internal/network/download.py", fix="check_connection",
         output=lines(r"WARNING: Connection timed out while downloading"), beside=r"error: incomplete-download"),
    Rule("pip-untrusted", C.VALIDATION, R.AFTER_FIX, "The package index is not encrypted (http), and the settings do not allow that.",
         "pip _internal/index/collector.py, network/session.py", fix="fix_settings",
         output=lines(r"WARNING: The repository located at \S{1,300} is not a trusted or secure host"), beside=_NOTHING),
    Rule("pip-slow-down", C.RATE_LIMIT, R.YES, "The package index asked us to slow down.", "pip _vendor/urllib3", fix="wait_and_retry",
         output=lines(r"ERROR: HTTP error 429 while getting ", r"ERROR: .{0,900}\b429 Client Error: ", rf"{_OSERROR}.{{0,900}}too many 429 error responses", r".{0,80}HTTP status client error \(429 ")),
    Rule("pip-slow-down-index", C.RATE_LIMIT, R.YES, "The package index asked us to slow down.", "pip _vendor/urllib3", fix="wait_and_retry",
         output=lines(rf"{_RETRYING}ResponseError\('too many 429 error responses'\)"), beside=_NOTHING),
    Rule("pip-index-fails", C.NETWORK, R.YES, _FAILS, "pip _internal/operations/prepare.py", fix="wait_and_retry", output=lines(
        r"ERROR: (HTTP error 5\d\d while|.{0,600}because of HTTP error 5\d\d)", r"ERROR: .{0,900}\b5\d\d Server Error: ", rf"{_OSERROR}.{{0,900}}too many 5\d\d error responses",
        r".{0,80}HTTP status server error \(5\d\d ")),
    Rule("pip-index-fails-index", C.NETWORK, R.YES, _FAILS, "pip _vendor/urllib3", fix="wait_and_retry",
         output=lines(rf"{_RETRYING}ResponseError\('too many 5\d\d error responses'\)"), beside=_NOTHING),
    Rule("pip-login", C.PERMISSION, R.AFTER_FIX, _LOGIN, "pip _internal/network/auth.py; uv", fix="add_token", output=any_of(
        lines(r"ERROR: (HTTP error 40[13] while|.{0,600}because of HTTP error 40[13])", r"ERROR: .{0,900}\b40[13] Client Error: ",
              r"User for .{1,300}: ERROR: ", r".{0,80}HTTP status client error \(40[13] "),
        r"^hint: An index .{1,600} (returned a|lack of valid authentication credentials).{0,40}\b40[13] (Forbidden|Unauthorized)")),
    Rule("pip-login-index", C.PERMISSION, R.AFTER_FIX, _LOGIN, "pip _internal/network/auth.py", fix="add_token",
         output=lines(r"WARNING: 40[13] Error, Credentials not correct for "), beside=_NOTHING),
    Rule("pip-gone", C.NOT_FOUND, R.AFTER_FIX, "A package is not there any more at the address that is named for it.", "pip _internal/operations/prepare.py",
         fix="fix_requirements", output=lines(r"ERROR: (HTTP error 4(04|10) while|.{0,600}because of HTTP error 4(04|10))",
                                       r"ERROR: .{0,300}\b4(04|10) Client Error: ", r".{0,80}HTTP status client error \(4(04|10) ")),
    Rule("pip-network", C.NETWORK, R.YES, _BROKE, "pip, uv", fix="check_connection", output=lines(
        r"(pip\._vendor\.)?(urllib3|requests)\.exceptions\.(ProtocolError|IncompleteRead|ConnectionError|ChunkedEncodingError|SSLError)",
        r"(pip\._vendor\.urllib3|http\.client|urllib3\.exceptions)\S{0,40}(IncompleteRead|RemoteDisconnected)\b",
        rf"{_OSERROR}HTTPS?ConnectionPool", rf"{_FETCH}connection error: ", rf"{_OSERROR}\(['\"]?Connection ", r"error: (connection-failed|incomplete-download)",
        r"ERROR: .{0,600}\bConnection (aborted|broken|reset)\b",
        r".{0,80}(Failed to (fetch|download)|Request failed after \d+ retr)(.|\n){0,1200}(dns error|[Cc]onnection (refused|reset|closed)"
        r"|error sending request|tcp connect error|unexpected EOF|error decoding response body|client error \(Connect\))")),
    Rule("pip-network-index", C.NETWORK, R.YES, _BROKE, "pip _vendor/urllib3", fix="check_connection", output=lines(_RETRYING), beside=_NOTHING),
    # -- what is on the index -----------------------------------------------------------------------------------
    Rule("pip-missing", C.DEPENDENCY, R.AFTER_FIX, "A package that is asked for cannot be had in that version, or not for the Python of this project.", _FINDER,
         fix="pin_dependency", output=any_of(
             lines(r"ERROR: No matching distribution found for", r"ERROR: Could not find a version that satisfies"),
             r"\bwas not found in the package registry\b|\bwere not found in the provided package locations\b")),
    Rule("uv-conflict", C.DEPENDENCY, R.AFTER_FIX, _CONFLICT, _UV, fix="pin_dependency",
         output=lines(r"((\u00d7 )|error: )?No solution found when resolving (dependencies|tool)")),
    Rule("uv-lock", C.RESOURCE, R.YES, "Another program is installing packages at the moment.", _UV, fix="close_other_program",
         output=lines(r"(error: )?(.{0,60}: )?[Cc]ould not acquire lock\b")),
    # The last retry had begun, and nothing else says how it ended.
    Rule("pip-retries", C.NETWORK, R.YES, _BROKE, "pip _vendor/urllib3", fix="check_connection",
         output=lines(r"WARNING: Retrying \(Retry\(total=0\b")),
    Rule("pip-broken-set", C.DEPENDENCY, R.AFTER_FIX, _CONFLICT, "pip _internal/commands/check.py", fix="pin_dependency", output=lines(
        r"ERROR: pip's dependency resolver does not currently take into account", r"\S{1,100} \S{1,60} (has requirement|requires) .{1,300}, (but you have|which is not installed)",
        r"error: invalid-installed-package")),
)  # fmt: skip
