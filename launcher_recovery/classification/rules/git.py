"""What git, git-lfs and ssh print (in English: the launcher runs them with LC_ALL=C)."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule, any_of, lines
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R
from launcher_recovery.records import WaitingFor

_HTTP = "git http.c, remote-curl.c"
_SAYS = r"(?:fatal|error): "
_UNABLE = r"fatal: unable to access '.{0,400}': "
_CURL = r"error: RPC failed; curl "
_URL_ERROR = r"(?:fatal|error): .{0,600}The requested URL returned error: "
_LFS = r"(?:batch response: |LFS: |Error downloading object: |error transferring \"[0-9a-f]{64}\": |error: failed to fetch some objects|Smudge error: ).{0,500}"
_BAD_TLS = any_of(
    r"SSL certificate problem: ", r"server certificate verification failed", r"SSL: (no alternative certificate subject name|"
    r"certificate subject name)", r"schannel: (CertGetCertificateChain trust error|SNI or certificate check failed|next "
    r"InitializeSecurityContext failed)", r"error setting certificate (file|verify locations)", r"SSL peer certificate or SSH remote key was not OK",
)  # fmt: skip
_LOCAL = "The folder of the node holds changes of its own, which the update would overwrite."
# The words of the system where they say what happened, and are no part of a name.
_BEFORE = r"(.{0,900}(: |\[(Errno|WinError) \d{1,4}\] |\())?"
_AFTER = r"(?=$|: |\)|\.|,| \(os error)"
_DAMAGED = "The copy of the repository is damaged."
_NO_REF = "The repository has no such branch, tag or commit."
_RIGHTS = "The folder cannot be written to."
# What pip ran and what failed is a build, whose script asked git for a version before and went on without.
_BUILD = lines(
    r"(python setup\.py|Getting requirements to build|Preparing (metadata|editable)|Building (wheel|editable))\b.{0,200} did not run successfully",
    r"ERROR: Command errored out with exit status \d+: .{0,400}setup\.py",
    r"Failed to build `",
)

RULES: tuple[Rule, ...] = (
    # -- on this computer: these go first, for what git says of the network may be their consequence ---------
    Rule("git-lfs-missing", C.DEPENDENCY, R.AFTER_FIX, "Git LFS is not installed on this computer.", "gitattributes(5), sh(1)",
         fix="install_git_lfs", output=any_of(
             r"^.{0,200}\bgit-lfs: (command )?not found$", r"^git: 'lfs' is not a git command", r"'git-lfs' is not recognized as an internal",
             r"^error: external filter '\"?git-lfs .{0,200}' failed 127", r"^error: cannot (run|spawn) git-lfs\b",
         )),
    Rule("git-safe-directory", C.PERMISSION, R.AFTER_FIX, "The folder belongs to another user of this computer, so git refuses to "
         "work in it.", "git setup.c", fix="mark_safe_directory", output=lines(
             r"fatal: detected dubious ownership in repository at ", r"fatal: unsafe repository \('.{1,400}' is owned by someone else\)")),
    Rule("git-lock", C.RESOURCE, R.ONCE, "Another git is at work in the folder, or one was ended and left its lock file there.",
         "git lockfile.c", fix="remove_stale_lock", output=lines(
             r"(fatal|error): (.{0,300}: )?[Uu]nable to create '.{1,600}\.lock': File exists", r"error: could not lock config file .{1,600}: File exists", r"error: cannot lock ref '.{1,300}': is at \w{40,64} but expected ",
             r"fatal: Unable to create '.{1,600}\.lock'\.?$")),
    Rule("pip-no-space", C.RESOURCE, R.AFTER_FIX, "The disk is full.", "pip, git", fix="free_disk_space",
         output=lines(rf"(ERROR|OSError|fatal|error): {_BEFORE}No space left on device{_AFTER}",
                      rf"(ERROR|OSError|fatal|error): {_BEFORE}There is not enough space on the disk{_AFTER}"),
         waits=WaitingFor.DISK_SPACE),
    Rule("pip-quota", C.RESOURCE, R.AFTER_FIX, "What this user may store on the disk is used up (a quota).", "pip, git",
         fix="free_disk_space", output=lines(rf"(ERROR|OSError|fatal|error): {_BEFORE}Disk quota exceeded{_AFTER}"),
         waits=WaitingFor.DISK_SPACE),
    Rule("git-memory", C.RESOURCE, R.AFTER_FIX, "The computer ran out of memory.", "git wrapper.c, run-command.c", fix="free_memory",
         output=lines(r"fatal: Out of memory, (malloc|realloc|calloc|\w+) failed", r"fatal: mmap failed: Cannot allocate memory",
                      r"error: (index-pack|pack-objects|unpack-objects|git-remote-https?) died of signal 9", r"(fatal|error): .{0,200}: Cannot allocate memory$")),
    Rule("git-forks", C.RESOURCE, R.YES, "The system does not let git start another program at the moment.", "git run-command.c",
         fix="raise_limits", output=lines(r"(fatal|error): (cannot fork|unable to (fork|create (async )?thread)).{0,200}Resource temporarily unavailable")),
    Rule("git-long-path", C.RESOURCE, R.AFTER_FIX, "A path in the repository is longer than Windows allows.", "git compat/mingw.c",
         fix="enable_long_paths", output=lines(r"(error|fatal): .{0,900}(: |\()Filename too long")),
    Rule("git-name-too-long", C.RESOURCE, R.AFTER_FIX, "A path in the repository is longer than the disk allows.", "errno(3)",
         fix="shorten_path", output=lines(r"(error|fatal): .{0,900}(: |\()File name too long")),
    Rule("git-bad-path", C.VALIDATION, R.AFTER_FIX, "The repository holds a file whose name this system does not take.", "git read-cache.c",
         fix="report_bug", output=lines(r"(error|fatal): invalid path '", r"error: unable to create file .{1,900}(: |\()Invalid argument")),
    Rule("git-exists", C.VALIDATION, R.AFTER_FIX, "The folder for it is there already, and is not empty.", "git builtin/clone.c",
         fix="remove_existing_folder", output=lines(
             r"fatal: destination path '.{0,600}' already exists and is not an empty directory", r"fatal: could not create work tree dir '.{0,600}': File exists",
             r"fatal: '.{0,600}' already exists in the index")),
    Rule("git-local-changes", C.VALIDATION, R.AFTER_FIX, _LOCAL, "git unpack-trees.c, builtin/pull.c", fix="remove_existing_folder",
         output=lines(
             r"error: (Your local changes to the following files|The following untracked working tree files) would be (overwritten|removed)",
             r"fatal: Not possible to fast-forward, aborting", r"fatal: Need to specify how to reconcile divergent branches",
             r"CONFLICT \(\S{1,30}\): ", r"error: (Pulling|Merging|Committing) is not possible because you have unmerged files",
             r"fatal: You have not concluded your merge", r"fatal: refusing to merge unrelated histories")),
    Rule("git-no-repository", C.VALIDATION, R.AFTER_FIX, "The folder of the node is no git repository.", "git setup.c",
         fix="remove_existing_folder", output=lines(r"fatal: not a git repository\b"),
         unless=_BUILD),
    Rule("git-damaged", C.INTEGRITY, R.ONCE, _DAMAGED, "git object-file.c, packfile.c, read-cache.c", fix="redownload", output=lines(
        r"error: object file .{1,400} is empty", r"(fatal|error): loose object \w+ \(stored in ", r"(fatal|error): (bad object HEAD|missing object \w+)",
        r"(error|fatal): (packfile .{1,400} (does not match index|cannot be accessed|is truncated)|index file corrupt|bad index file sha1 signature|index file smaller than expected)",
        r"(error|fatal): (inflate: data stream error|unable to unpack \w+ header|corrupt loose object|garbage at end of loose object)",
        r"(error|fatal): (unable to read (tree|blob|sha1 file of|\w{40})|missing blob|failed to read object|could not read [0-9a-f]{40}|invalid object )",
        r"fatal: reference is not a tree: (?![0-9a-f]{7,64}$)", r"fatal: (pack (has bad object|is corrupted|has junk at the end)|index-pack failed: .{0,80}corrupt|serious inflate inconsistency|corrupt patch|SHA1 COLLISION)",
        r"fatal: bad config (file )?line \d+ in file .{0,400}\.git/config", r"error: unable to (resolve reference|read) refs?/.{1,300}: (broken|bad)", r"error: refs/.{1,300} does not point to a valid object",
    )),
    Rule("git-bad-setting", C.VALIDATION, R.AFTER_FIX, "The settings of git on this computer cannot be read.", "git config.c",
         fix="fix_settings", output=lines(r"fatal: bad (numeric |boolean )?config (value|line|variable)", r"fatal: unknown (repository|config) ")),
    Rule("git-bad-address", C.VALIDATION, R.AFTER_FIX, "The address of the repository is not one that git understands.", "git transport.c, libcurl",
         fix="update_url", output=lines(rf"{_UNABLE}(URL (using|rejected)|Protocol .{{1,60}} not supported|Unsupported protocol|Port number)",
                                       r"git: 'remote-.{1,60}' is not a git command", r"fatal: ([Uu]nable to find remote helper for '|protocol '.{1,60}' is not supported|transport '.{1,60}' not allowed|strange (path|host)name|repository name missing|no path specified)",
                                       r"fatal: (No url found for submodule path|no submodule mapping found|You must specify a repository to clone|Too many arguments)")),
    Rule("git-old", C.DEPENDENCY, R.AFTER_FIX, "The git on this computer is too old, or not wholly installed.", "git parse-options.c",
         fix="install_git", output=lines(r"error: unknown option `", r"git: '(?!remote-(?!https?'|ftps?')).{1,60}' is not a git command",
                                        r"fatal: [Uu]nable to find remote helper for 'https?'", r"fatal: Unknown repository extension", r"fatal: expected git repo version")),
    Rule("git-wrong-option", C.DEPENDENCY, R.AFTER_FIX, "The git on this computer does not know an option: it may be too old.", "git usage.c",
         fix="install_git", programs={"git"}, exits={129}),
    Rule("git-no-ssh", C.DEPENDENCY, R.AFTER_FIX, "The program ssh is not installed on this computer.", "git connect.c",
         fix="install_dependency", output=lines(r"error: cannot (run|spawn) ssh\b", r"ssh: (command )?not found")),
    # -- git-lfs --------------------------------------------------------------------------------------------
    Rule("lfs-quota", C.RESOURCE, R.AFTER_FIX, "The repository has used up what it may give of its large files (its Git LFS quota).",
         "GitHub, Git LFS billing", fix="choose_mirror", output=r"\bThis repository (is over|exceeded) its (LFS |data )(quota|budget)"),
    Rule("lfs-rate", C.RATE_LIMIT, R.YES, "The git server asked us to slow down.", "git-lfs tq, lfshttp", fix="wait_and_retry",
         output=rf"{_LFS}(\bHTTP 429\b|rate limit(ed| exceeded)|Rate limit exceeded)"),
    Rule("lfs-login", C.PERMISSION, R.AFTER_FIX, "The git server wants you to log in for its large files.", "git-lfs lfshttp/errors.go",
         fix="add_token", output=rf"{_LFS}(Authentication required|Authorization error: |You must have push access|Bad credentials)|Git credentials for https?://\S{{1,300}} not found"),
    Rule("lfs-missing", C.NOT_FOUND, R.AFTER_FIX, "The git server does not have one of the large files.", "git-lfs tq, lfshttp/errors.go",
         fix="update_url", output=rf"{_LFS}(Object does not exist on the server|Repository (or object )?not found|\[404\]|\[0\] remote missing object )|^\[404\] Object does not exist"),
    Rule("lfs-damaged", C.INTEGRITY, R.ONCE, "A large file of the repository arrived damaged.", "git-lfs tools",
         fix="redownload", output=r"\bexpected OID [0-9a-f]{64}, got [0-9a-f]{64} after \d+ bytes"),
    Rule("lfs-timeout", C.TIMEOUT, R.YES, "The git server did not answer in time.", "git-lfs, Go net", fix="check_connection",
         output=rf"{_LFS}(i/o timeout|TLS handshake timeout|context deadline exceeded|Client\.Timeout exceeded)"),
    Rule("lfs-network", C.NETWORK, R.YES, "The connection to the git server broke off.", "git-lfs, Go net", fix="check_connection",
         output=rf"{_LFS}(no such host|connection (reset by peer|refused)|unexpected EOF|network is unreachable|Fatal error: Server error|\bHTTP 5\d\d\b|dial tcp |server misbehaving|Internal server error|Service Unavailable|Bad Gateway)"),
    # -- the answer of the server ---------------------------------------------------------------------------
    Rule("git-proxy-login", C.PERMISSION, R.AFTER_FIX, "The proxy wants a user name and password.", "libcurl", fix="check_proxy",
         output=lines(rf"{_UNABLE}.{{0,80}}(Received HTTP code 407 from proxy after CONNECT|CONNECT tunnel failed, response 407)",
                      rf"{_URL_ERROR}407\b")),
    Rule("git-proxy", C.NETWORK, R.AFTER_FIX, "The proxy cannot be reached, or does not let git through: look at its address in the "
         "settings.", "libcurl", fix="check_proxy", output=lines(
             rf"{_UNABLE}(Could not resolve proxy|Unsupported proxy|.{{0,80}}(Received HTTP code 4\d\d from proxy|CONNECT tunnel failed, response 4)|Proxy CONNECT aborted|[Cc]an't complete SOCKS)",
             r"fatal: unable to access 'https?://(?:[^@/'\n]{0,200}@)?(?P<asked>[^/:'\n]{1,253})(?=[/:'])[^'\n]{0,400}': Failed to connect to (?!(?P=asked)\b)\S{1,253} port \d+")),
    Rule("git-proxy-fails", C.NETWORK, R.YES, "The proxy has a problem of its own at the moment.", "libcurl", fix="check_proxy",
         output=lines(rf"{_UNABLE}.{{0,80}}(Received HTTP code 5\d\d from proxy|CONNECT tunnel failed, response 5)")),
    Rule("git-tls-clock", C.NETWORK, R.AFTER_FIX, "The certificate of the git server is not valid at this time: the clock of this computer "
         "may be wrong.", "libcurl", fix="check_clock", output=lines(rf"{_UNABLE}.{{0,200}}certificate (has expired|is not yet valid)")),
    Rule("git-tls", C.NETWORK, R.AFTER_FIX, "The identity of the git server could not be verified: something such as a company's proxy may "
         "be in between.", "libcurl", fix="check_proxy", output=lines(rf"{_UNABLE}.{{0,200}}(?:{_BAD_TLS})")),
    Rule("git-timeout", C.TIMEOUT, R.YES, "The git server did not answer in time.", _HTTP, fix="check_connection", output=lines(
        rf"{_CURL}28\b", rf"{_UNABLE}.{{0,300}}([Tt]imed out|Timeout was reached|Operation too slow|SSL connection timeout|Connection timeout)",
        rf"{_URL_ERROR}(408|504|522|524)\b", r"error: RPC failed; HTTP (408|504|522|524)\b",
        r"ssh: connect to host \S{1,300} port \d+: (Connection|Operation) timed out", r"Connection timed out during banner exchange",
        r"fatal: unable to connect to (.|\n){0,400}errno=(Connection|Operation) timed out", r"Timeout, server \S{1,300} not responding")),
    Rule("git-http-429", C.RATE_LIMIT, R.YES, "The git server asked us to slow down.", "git http.c", fix="wait_and_retry",
         output=lines(rf"{_URL_ERROR}429\b", r"error: RPC failed; HTTP 429\b", r"remote: .{0,200}\b(rate limit|Too Many Requests|too many requests)\b")),
    Rule("git-http-5xx", C.NETWORK, R.YES, "The git server has a problem of its own at the moment.", "git http.c", fix="wait_and_retry",
         output=lines(rf"{_URL_ERROR}5\d\d\b", r"error: RPC failed; HTTP 5\d\d\b", r"remote: Internal Server Error", r"(remote: )?fatal: remote error: .{0,200}(unavailable|try again)")),
    Rule("git-taken-down", C.PERMISSION, R.AFTER_FIX, "The site has blocked this repository.", "GitHub, DMCA Takedown Policy", fix="choose_mirror",
         output=lines(r"remote: (Repository unavailable due to DMCA takedown|Access to this repository has been disabled)")),
    Rule("git-missing", C.NOT_FOUND, R.AFTER_FIX, "There is no such repository, or it is private.", "git remote-curl.c, builtin/clone.c",
         fix="update_url", output=lines(
             r"fatal: repository '.{0,600}' (not found|does not exist)", r"(remote|ERROR): (Repository not found|The project you were looking for could not be found)",
             rf"{_URL_ERROR}4(04|10)\b", r"fatal: .{0,600} does not appear to be a git repository",
             r"fatal: .{0,600}/info/refs not valid: is this a git repository", r"ERROR: (Repository|Project) .{0,200}\b(not found|does not exist)")),
    Rule("git-no-commit", C.NOT_FOUND, R.AFTER_FIX, _NO_REF, "git remote.c, fetch-pack.c, upload-pack.c, revision.c", fix="update_url", output=lines(
        r"fatal: Remote branch .{0,300} not found", r"fatal: Could not find remote branch ", r"fatal: [Cc]ouldn't find remote ref ", r"error: no such remote ref [0-9a-f]",
        r"fatal: reference is not a tree", r"fatal: invalid reference: ",
        r"(fatal|error): (remote error: )?(upload-pack: not our ref|Server does not allow request for unadvertised object)", r"merge: .{1,300} - not something we can merge",
        r"fatal: (bad revision|bad object \w{4}|Could not parse object '|ambiguous argument|Needed a single revision|unable to parse object: )",
        r"fatal: Unable to find current revision in submodule path", r"fatal: remote did not send all necessary objects")),
    Rule("git-no-ref", C.NOT_FOUND, R.AFTER_FIX, _NO_REF, "git builtin/checkout.c", fix="update_url",
         output=lines(r"error: pathspec '.{0,300}' did not match"), unless=_BUILD),
    Rule("git-host-key-changed", C.PERMISSION, R.AFTER_FIX, "The git server has another key than before: it was renewed, or somebody is in "
         "between. Use the https address of the repository, or ask who runs the server.", "ssh(1)", fix="update_url",
         output=r"REMOTE HOST IDENTIFICATION HAS CHANGED"),
    Rule("git-host-key", C.PERMISSION, R.AFTER_FIX, "The ssh of this computer does not know the git server yet, and nobody is asked here. Use the "
         "https address of the repository, or connect to the server by hand once.", "ssh(1)",
         fix="update_url", output=lines(r"Host key verification failed\.", r"No \S{1,30} host key is known for ")),
    Rule("git-key", C.PERMISSION, R.AFTER_FIX, "The git server does not know the ssh key of this computer. Add the key to your account there, or "
         "use the https address of the repository.", "ssh(1)", fix="add_token", output=lines(
             r"(.{0,300}: )?Permission denied \((publickey|password|keyboard-interactive|gssapi)",
             r"Received disconnect from .{0,300}: Too many authentication failures")),
    Rule("git-auth", C.PERMISSION, R.AFTER_FIX, "The git server wants you to log in. It also says so where there is no such repository.",
         "git credential.c", fix="add_token", output=lines(
        r"fatal: could not read (Username|Password) for", r"fatal: Authentication failed for", rf"{_URL_ERROR}40[13]\b",
        r"(remote|ERROR): (HTTP Basic: Access denied|Invalid username or (password|token)|Permission to .{1,300} denied|Write access to repository not granted|Support for password authentication was removed)",
        r"fatal: (unable to read|could not read) askpass")),
    Rule("git-rights", C.PERMISSION, R.AFTER_FIX, _RIGHTS, "errno(3)", fix="fix_permissions", output=lines(
        rf"{_SAYS}.{{0,900}}: (Permission denied|Read-only file system|Operation not permitted)\.?$", r"error: insufficient permission for adding an object to repository database")),
    # -- the connection -------------------------------------------------------------------------------------
    Rule("git-network", C.NETWORK, R.YES, "The connection to the git server broke off.", "git http.c, libcurl, ssh(1)", fix="check_connection", output=lines(
        rf"{_UNABLE}(Could not resolve host|Failed to connect to|Couldn't connect to server|Connection |Recv failure|Empty reply from server|GnuTLS, handshake failed"
        r"|gnutls_handshake\(\) failed|.{0,60}GnuTLS recv error|OpenSSL|TLS connect error|SSL_|error:[0-9A-F]{8}:|transfer closed|Send failure|HTTP/2 stream|Failed sending|server returned nothing)",
        r"(fatal|error): (the remote end hung up u|early EOF|protocol error: |expected flush after|expected 'packfile'|unable to rewind rpc post data|error reading section header|read error: |unexpected disconnect)",
        rf"{_CURL}(5|6|7|16|18|35|52|55|56|92|95)\b", r"fatal: fetch-pack: invalid index-pack output", r"error: \d+ bytes of body are still expected", r"error: .{0,200}transfer closed with \d+ bytes remaining",
        r"fetch-pack: unexpected disconnect while reading sideband packet", r"ssh: (Could not resolve hostname|connect to host) ", r"(kex_exchange_identification|ssh_exchange_identification|client_loop|ssh_dispatch_run_fatal): ",
        r"Connection (closed|reset) by (\S{1,100} port|remote host|UNKNOWN)", r"fatal: unable to (look up \S|connect to )", r"fatal: Could not read from remote repository")),
)  # fmt: skip
