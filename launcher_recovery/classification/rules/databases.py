"""SQLite, PostgreSQL and Redis, also behind Peewee."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule, any_of
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R

_SQLITE = "SQLite, Result and Error Codes"
_POSTGRES = "PostgreSQL, Error Codes"
_REDIS = "redis-py exceptions.py"
_LITE = frozenset({
    "sqlite3.OperationalError", "sqlite3.DatabaseError", "sqlite3.ProgrammingError", "sqlite3.IntegrityError",
    "peewee.OperationalError", "peewee.DatabaseError", "peewee.ProgrammingError", "peewee.IntegrityError",
    "sqlalchemy.exc.OperationalError", "sqlalchemy.exc.DatabaseError",
})  # fmt: skip
_POST = frozenset({"psycopg.OperationalError", "peewee.OperationalError", "sqlalchemy.exc.OperationalError"})
_LOCKED = "Another program is writing to the database; it is tried again."
_DAMAGED = "The database is damaged: put a backup in its place."
_BUG = "The program asks the database for something that it cannot do."


def _lite(text: str) -> str:
    return rf"^(\(sqlite3\.\w+\) )?(?:{text})"


def _redis(*names: str) -> frozenset[str]:
    return frozenset("redis.exceptions." + name for name in names)


def _codes(prefix: str) -> frozenset[str]:
    """The SQLite code and its extended ones, which Python gives by name."""
    more = {
        "SQLITE_BUSY": ("RECOVERY", "SNAPSHOT", "TIMEOUT"), "SQLITE_LOCKED": ("SHAREDCACHE", "VTAB"),
        "SQLITE_READONLY": ("RECOVERY", "CANTLOCK", "ROLLBACK", "DBMOVED", "CANTINIT", "DIRECTORY"),
        "SQLITE_CORRUPT": ("VTAB", "SEQUENCE", "INDEX"), "SQLITE_CANTOPEN": ("NOTEMPDIR", "ISDIR", "FULLPATH", "SYMLINK"),
        "SQLITE_IOERR": ("READ", "SHORT_READ", "WRITE", "FSYNC", "DIR_FSYNC", "TRUNCATE", "FSTAT", "UNLOCK", "RDLOCK",
                         "DELETE", "ACCESS", "CHECKRESERVEDLOCK", "LOCK", "CLOSE", "SHMOPEN", "SHMSIZE", "SHMMAP"),
    }  # fmt: skip
    return frozenset({prefix, *(f"{prefix}_{name}" for name in more.get(prefix, ()))})


RULES: tuple[Rule, ...] = (
    # -- SQLite: by its code, which Python has from 3.11 on, else by its words ---------------------------
    Rule("sqlite-busy", C.RESOURCE, R.YES, _LOCKED, _SQLITE, fix="close_other_program",
         codes=_codes("SQLITE_BUSY") | _codes("SQLITE_LOCKED") | {"SQLITE_PROTOCOL", "SQLITE_SCHEMA"}),
    Rule("sqlite-readonly", C.PERMISSION, R.AFTER_FIX, "The database cannot be written to.", _SQLITE, fix="fix_permissions",
         codes=_codes("SQLITE_READONLY") | {"SQLITE_PERM", "SQLITE_AUTH"}),
    Rule("sqlite-full", C.RESOURCE, R.AFTER_FIX, "The disk with the database is full.", _SQLITE, fix="free_disk_space",
         codes={"SQLITE_FULL"}),
    Rule("sqlite-damaged", C.INTEGRITY, R.AFTER_FIX, _DAMAGED, _SQLITE, fix="restore_backup",
         codes=_codes("SQLITE_CORRUPT") | {"SQLITE_NOTADB", "SQLITE_FORMAT"}),
    Rule("sqlite-closed", C.PERMISSION, R.AFTER_FIX, "The database cannot be opened: its folder is missing, or may not be "
         "read.", _SQLITE, fix="fix_permissions", codes=_codes("SQLITE_CANTOPEN")),
    Rule("sqlite-memory", C.RESOURCE, R.AFTER_FIX, "The computer ran out of memory.", _SQLITE, fix="free_memory",
         codes={"SQLITE_NOMEM", "SQLITE_IOERR_NOMEM"}),
    Rule("sqlite-disk-fails", C.RESOURCE, R.AFTER_FIX, "The disk with the database does not answer as it should.", _SQLITE,
         fix="reconnect_disk", codes=_codes("SQLITE_IOERR")),
    Rule("sqlite-busy-told", C.RESOURCE, R.YES, _LOCKED, _SQLITE, fix="close_other_program", types=_LITE,
         message=_lite(r"database (table |schema )?is locked|locking protocol|database schema has changed")),
    Rule("sqlite-readonly-told", C.PERMISSION, R.AFTER_FIX, "The database cannot be written to.", _SQLITE,
         fix="fix_permissions", types=_LITE, message=_lite(r"attempt to write a readonly database|access permission denied")),
    Rule("sqlite-full-told", C.RESOURCE, R.AFTER_FIX, "The disk with the database is full.", _SQLITE,
         fix="free_disk_space", types=_LITE, message=_lite(r"database or disk is full")),
    Rule("sqlite-damaged-told", C.INTEGRITY, R.AFTER_FIX, _DAMAGED, _SQLITE, fix="restore_backup", types=_LITE,
         message=_lite(r"database disk image is malformed|file is not a database|file is encrypted or is not a database|malformed database schema")),
    Rule("sqlite-closed-told", C.PERMISSION, R.AFTER_FIX, "The database cannot be opened: its folder is missing, or may not "
         "be read.", _SQLITE, fix="fix_permissions", types=_LITE, message=_lite(r"unable to open database file")),
    Rule("sqlite-disk-fails-told", C.RESOURCE, R.AFTER_FIX, "The disk with the database does not answer as it should.",
         _SQLITE, fix="reconnect_disk", types=_LITE, message=_lite(r"disk I/O error")),
    Rule("sqlite-interrupted", C.CANCELLED, R.NO, "It was cancelled.", _SQLITE, types=_LITE, message=_lite(r"interrupted$")),
    Rule("sqlite-wrong", C.INTERNAL, R.NO, _BUG, _SQLITE, fix="report_bug", types=_LITE, message=_lite(any_of(
        r"no such (table|column|index|function|module)", r"near \".{0,200}\": syntax error", r"table \S{1,200} already exists",
        r"table \S{1,200} has no column named", r"(UNIQUE|NOT NULL|FOREIGN KEY|CHECK|PRIMARY KEY) constraint failed",
        r"Cannot operate on a closed (database|cursor)", r"SQLite objects created in a thread", r"Incorrect number of bindings",
        r"You can only execute one statement", r"Error binding parameter", r"duplicate column name", r"datatype mismatch",
        r"ambiguous column name", r"bad parameter or other API misuse",
    ))),
    # -- PostgreSQL: by SQLSTATE, which a refused connection does not have -----------------------------------
    Rule("postgres-busy", C.RESOURCE, R.YES, _LOCKED, _POSTGRES, fix="close_other_program",
         codes={"40001", "40P01", "55P03", "53300", "53400", "55006"}),
    Rule("postgres-away", C.NETWORK, R.YES, "The database is starting or stopping.", _POSTGRES, fix="start_service",
         codes={"57P01", "57P02", "57P03", "57P05", "08000", "08001", "08003", "08004", "08006"}),
    Rule("postgres-timeout", C.TIMEOUT, R.YES, "The database took too long to answer.", _POSTGRES, fix="raise_time_limit",
         types={"psycopg.errors.QueryCanceled", "psycopg.OperationalError"},
         message=r"^canceling statement due to (statement|lock) timeout"),
    Rule("postgres-cancelled", C.CANCELLED, R.NO, "It was cancelled.", _POSTGRES, codes={"57014"}),
    Rule("postgres-full", C.RESOURCE, R.AFTER_FIX, "The disk with the database is full.", _POSTGRES, fix="free_disk_space",
         codes={"53100"}),
    Rule("postgres-memory", C.RESOURCE, R.AFTER_FIX, "The database ran out of memory.", _POSTGRES, fix="free_memory",
         codes={"53200"}),
    Rule("postgres-rights", C.PERMISSION, R.AFTER_FIX, "The database does not let this user in, or do this.", _POSTGRES,
         fix="fix_settings", codes={"28000", "28P01", "42501", "25006"}),
    Rule("postgres-missing", C.NOT_FOUND, R.AFTER_FIX, "There is no database of that name.", _POSTGRES, fix="fix_settings",
         codes={"3D000"}),
    Rule("postgres-damaged", C.INTEGRITY, R.AFTER_FIX, _DAMAGED, _POSTGRES, fix="restore_backup", codes={"XX001", "XX002"}),
    Rule("postgres-login-told", C.PERMISSION, R.AFTER_FIX, "The database does not let this user in.", "libpq",
         fix="fix_settings", types=_POST, message=r"FATAL:  (password authentication failed for user|no pg_hba\.conf entry"
         r"|role \".{1,200}\" (does not exist|is not permitted to log in)|Peer authentication failed)|no password supplied"),
    Rule("postgres-missing-told", C.NOT_FOUND, R.AFTER_FIX, "There is no database of that name.", "libpq",
         fix="fix_settings", types=_POST, message=r"FATAL:  database \".{1,200}\" does not exist"),
    Rule("postgres-crowded-told", C.RESOURCE, R.YES, "Too many programs use the database at the moment.", "libpq",
         fix="close_other_program", types=_POST, message=r"FATAL:  (sorry, too many clients|remaining connection slots are reserved|too many connections)"),
    Rule("postgres-timeout-told", C.TIMEOUT, R.YES, "The database did not answer in time.", "libpq", fix="start_service",
         types=_POST | {"psycopg.errors.ConnectionTimeout"}, message=r"\b(connection )?timeout expired\b|: Connection timed out\b"),
    Rule("postgres-away-told", C.NETWORK, R.YES, "The database could not be reached: it may not be running.", "libpq",
         fix="start_service", types=_POST, message=any_of(
             r"^(connection failed: )?connection to server (at|on) .{1,300} failed: ", r"^could not connect to server",
             r"^server closed the connection unexpectedly", r"^consuming input failed: ", r"^the connection is (lost|closed)",
             r"^(failed to resolve host|could not translate host name) ", r"FATAL:  the database system is ", r"^terminating connection due to",
         )),
    Rule("postgres-wrong", C.INTERNAL, R.NO, _BUG, "PEP 249", fix="report_bug",
         types={"psycopg.ProgrammingError", "psycopg.IntegrityError", "psycopg.DataError", "psycopg.InterfaceError",
                "psycopg.InternalError", "psycopg.NotSupportedError", "peewee.InterfaceError", "peewee.DataError"}),
    # -- Redis ------------------------------------------------------------------------------------------------
    Rule("redis-login", C.PERMISSION, R.AFTER_FIX, "The task queue wants a password, or does not take this one.", _REDIS,
         fix="fix_settings", types=_redis("AuthenticationError", "AuthorizationError", "NoPermissionError",
                                          "AuthenticationWrongNumberOfArgsError")),
    Rule("redis-full", C.RESOURCE, R.AFTER_FIX, "The task queue ran out of memory.", _REDIS, fix="free_memory",
         types=_redis("OutOfMemoryError", "ResponseError"), message=r"^(OOM )?command not allowed when used memory > 'maxmemory'"),
    Rule("redis-disk", C.RESOURCE, R.AFTER_FIX, "The task queue cannot write to its disk.", "Redis, persistence",
         fix="free_disk_space", types=_redis("ResponseError"), message=r"^(MISCONF )?Redis is configured to save RDB snapshots"),
    Rule("redis-crowded", C.RESOURCE, R.YES, "Too many programs use the task queue at the moment.", _REDIS,
         fix="close_other_program", types=_redis("MaxConnectionsError")),
    Rule("redis-timeout", C.TIMEOUT, R.YES, "The task queue did not answer in time.", _REDIS, fix="check_connection",
         types=_redis("TimeoutError")),
    Rule("redis-away", C.NETWORK, R.YES, "The task queue (Redis) could not be reached: it may not be running.", _REDIS,
         fix="start_service", types=_redis("ConnectionError", "BusyLoadingError", "ReadOnlyError", "ClusterDownError", "TryAgainError")),
    Rule("redis-wrong", C.INTERNAL, R.NO, "The program asks the task queue for something that it cannot do.", _REDIS,
         fix="report_bug", types=_redis("ResponseError", "DataError", "LockError", "InvalidResponse")),
)  # fmt: skip
