"""The status of an HTTP answer (RFC 9110 §15, RFC 6585, Cloudflare's own)."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R

_RANGE_GONE = "The file on {host} changed while it was being downloaded."

RULES: tuple[Rule, ...] = (
    Rule(
        "http-429", C.RATE_LIMIT, R.YES, "{host} asked us to slow down.", "RFC 6585 §4",
        fix="wait_and_retry", statuses=(429, 429),
    ),
    Rule(
        "http-401", C.PERMISSION, R.AFTER_FIX, "{host} wants you to log in: add an access token for it.",
        "RFC 9110 §15.5.2", fix="add_token", statuses=(401, 401),
    ),
    Rule(
        "http-402", C.PERMISSION, R.AFTER_FIX, "{host} gives this only to those who have paid for it.",
        "RFC 9110 §15.5.3", fix="add_token", statuses=(402, 402),
    ),
    Rule(
        "http-403", C.PERMISSION, R.AFTER_FIX, "{host} does not let us have this: it may need an access token, "
        "or its licence accepted.", "RFC 9110 §15.5.4", fix="add_token", statuses=(403, 403),
    ),
    Rule(
        "http-407", C.PERMISSION, R.AFTER_FIX, "The proxy wants a user name and password.", "RFC 9110 §15.5.8",
        fix="check_proxy", statuses=(407, 407),
    ),
    Rule(
        "http-gone", C.NOT_FOUND, R.AFTER_FIX, "The address is not there any more on {host} (status {status}).",
        "RFC 9110 §15.5.5", fix="update_url", statuses=(404, 404),
    ),
    Rule(
        "http-410", C.NOT_FOUND, R.AFTER_FIX, "The address was removed from {host} for good.", "RFC 9110 §15.5.11",
        fix="update_url", statuses=(410, 410),
    ),
    Rule(
        "http-timeout", C.TIMEOUT, R.YES, "{host} took too long to answer.", "RFC 9110 §15.5.9",
        fix="check_connection", statuses=(408, 408),
    ),
    Rule(
        "http-416", C.INTEGRITY, R.ONCE, _RANGE_GONE, "RFC 9110 §15.5.17", fix="redownload", statuses=(416, 416),
    ),
    Rule(
        "http-412", C.INTEGRITY, R.ONCE, _RANGE_GONE, "RFC 9110 §15.5.13", fix="redownload", statuses=(412, 412),
    ),
    Rule(
        "http-421", C.NETWORK, R.YES, "{host} was asked over a connection that was meant for another one.",
        "RFC 9110 §15.5.20", fix="check_connection", statuses=(421, 421),
    ),
    Rule(
        "http-423", C.RESOURCE, R.YES, "What is asked for is in use on {host} at the moment.", "RFC 4918 §11.3",
        fix="wait_and_retry", statuses=(423, 423),
    ),
    Rule(
        "http-425", C.NETWORK, R.YES, "{host} was asked too early.", "RFC 8470 §5.2", fix="wait_and_retry",
        statuses=(425, 425),
    ),
    Rule(
        "http-451", C.PERMISSION, R.AFTER_FIX, "{host} is not allowed to give this where you are.", "RFC 7725 §3",
        fix="choose_mirror", statuses=(451, 451),
    ),
    Rule(
        "http-501", C.VALIDATION, R.AFTER_FIX, "{host} cannot do what was asked (status {status}).", "RFC 9110 §15.6.2",
        fix="update_url", statuses=(501, 501),
    ),
    Rule(
        "http-505", C.VALIDATION, R.AFTER_FIX, "{host} cannot do what was asked (status {status}).", "RFC 9110 §15.6.6",
        fix="update_url", statuses=(505, 506),
    ),
    Rule(
        "http-504", C.TIMEOUT, R.YES, "A server behind {host} took too long to answer.", "RFC 9110 §15.6.5",
        fix="wait_and_retry", statuses=(504, 504),
    ),
    Rule(
        "http-509", C.RATE_LIMIT, R.YES, "{host} has given away as much as it may for now.",
        "Apache, cPanel: Bandwidth Limit Exceeded", fix="wait_and_retry", statuses=(509, 509),
    ),
    Rule(
        "http-522", C.TIMEOUT, R.YES, "A server behind {host} did not answer in time (status {status}).",
        "Cloudflare 5xx errors", fix="wait_and_retry", statuses=(522, 522),
    ),
    Rule(
        "http-524", C.TIMEOUT, R.YES, "A server behind {host} did not answer in time (status {status}).",
        "Cloudflare 5xx errors", fix="wait_and_retry", statuses=(524, 524),
    ),
    Rule(
        "http-598", C.TIMEOUT, R.YES, "A server behind {host} did not answer in time (status {status}).",
        "Used by some proxies", fix="wait_and_retry", statuses=(598, 599),
    ),
    Rule(
        "http-511", C.NETWORK, R.YES, "The network wants you to log in before it lets you through to {host}: open any "
        "page in the browser.", "RFC 6585 §6", fix="check_connection", statuses=(511, 511),
    ),
    Rule(
        "http-3xx", C.VALIDATION, R.AFTER_FIX, "The address leads from one place to the next, and never to a file.",
        "RFC 9110 §15.4", fix="update_url", statuses=(300, 399),
    ),
    Rule(
        "http-5xx", C.NETWORK, R.YES, "{host} has a problem of its own at the moment (status {status}).",
        "RFC 9110 §15.6", fix="wait_and_retry", statuses=(500, 599),
    ),
    Rule(
        "http-4xx", C.VALIDATION, R.AFTER_FIX, "{host} refused the request (status {status}).", "RFC 9110 §15.5",
        fix="update_url", statuses=(400, 499),
    ),
)  # fmt: skip
