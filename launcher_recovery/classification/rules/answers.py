"""What headers, bodies and addresses tell that the status alone does not: rate limits, expired links, browser checks."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule, any_of
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R

_SIGNED = r"[?&](X-Amz-Signature|X-Goog-Signature|Key-Pair-Id|sig|AWSAccessKeyId|GoogleAccessId)="
_SLOW = "{host} asked us to slow down."
_OLD = "The address was made for a while only, and that is over."

RULES: tuple[Rule, ...] = (
    Rule(
        # aiohttp calls the answer a 400 that it could not read.
        "answer-garbled", C.NETWORK, R.YES, "What {host} answered could not be read.", "aiohttp http_exceptions.py",
        fix="check_connection", types={
            "aiohttp.http_exceptions.BadHttpMessage", "aiohttp.http_exceptions.BadStatusLine",
            "aiohttp.http_exceptions.TransferEncodingError", "aiohttp.http_exceptions.ContentLengthError",
        },
    ),
    Rule(
        "rate-limit-used-up", C.RATE_LIMIT, R.YES, _SLOW, "GitHub, Rate limits for the REST API", fix="wait_and_retry",
        statuses=(403, 403), headers={"x-ratelimit-remaining": r"^0$"},
    ),
    Rule(
        "rate-limit-told", C.RATE_LIMIT, R.YES, _SLOW, "GitHub, Rate limits for the REST API; GitLab, Bitbucket",
        fix="wait_and_retry", statuses=(403, 403), body=any_of(
            r"\brate limit(ed| exceeded)?\b", r"\babuse detection\b", r"<Code>(SlowDown|RequestLimitExceeded)</Code>",
            r"^error code: 1015\b", r"\bToo Many Requests\b", r"rateLimitExceeded|userRateLimitExceeded|downloadQuotaExceeded",
        ),
    ),
    Rule(
        "rate-limit-later", C.RATE_LIMIT, R.YES, _SLOW, "RFC 9110 §10.2.3", fix="wait_and_retry", statuses=(403, 403),
        headers={"retry-after": r"^\s*[1-9A-Z]"},
    ),
    Rule(
        "store-slow-down", C.RATE_LIMIT, R.YES, _SLOW, "Amazon S3, Error responses", fix="wait_and_retry",
        statuses=(503, 503), body=r"<Code>(SlowDown|ServerBusy|RequestThrottled)</Code>",
    ),
    Rule(
        "browser-challenge", C.RATE_LIMIT, R.YES, "{host} lets only browsers pass at the moment.",
        "Cloudflare, Detect a Challenge Page response", fix="wait_and_retry", statuses=(400, 599),
        headers={"cf-mitigated": r"^challenge$"},
    ),
    Rule(
        "browser-challenge-page", C.RATE_LIMIT, R.YES, "{host} lets only browsers pass at the moment.",
        "Cloudflare, Detect a Challenge Page response", fix="wait_and_retry", statuses=(403, 503),
        body=r"<title>(Just a moment\.\.\.|Attention Required! \| Cloudflare)</title>",
    ),
    Rule(
        "firewall", C.PERMISSION, R.AFTER_FIX, "{host} does not let this connection through (its firewall).",
        "Cloudflare 1xxx errors", fix="choose_mirror", statuses=(403, 403),
        body=r"\berror code: (1005|1006|1007|1008|1009|1010|1012|1020)\b",
    ),
    Rule(
        "address-time-over", C.PERMISSION, R.ONCE, _OLD, "Amazon S3, CloudFront, Google Cloud Storage, Azure: signed URLs",
        fix="update_url", statuses=(400, 403), expired=True,
    ),
    Rule(
        "address-time-over-told", C.PERMISSION, R.ONCE, _OLD, "Amazon S3, Google Cloud Storage, Azure: error responses",
        fix="update_url", statuses=(400, 403), body=any_of(
            r"<Message>(Request has expired|The provided token has expired\.?|Access denied, please use a valid signature)",
            r"<Code>(ExpiredToken|ExpiredRequest|RequestExpired|TokenRefreshRequired)</Code>",
            r"Signature not valid in the specified time frame", r"<AuthenticationErrorDetail>Signed expiry time ",
            r"\bURL (signature )?(has )?expired\b", r"\b(link|url|signature) (has|is) expired\b",
        ),
    ),
    Rule(
        "signed-address-refused", C.PERMISSION, R.ONCE, "The address was signed, and {host} does not take the signature "
        "any more.", "Amazon S3, CloudFront, Google Cloud Storage, Azure: signed URLs",
        fix="update_url", statuses=(403, 403), url=_SIGNED,
    ),
    Rule(
        "licence-page", C.PERMISSION, R.AFTER_FIX, "The makers of this model want you to accept its licence on {host} "
        "first.", "Hugging Face, Gated models", fix="accept_license", statuses=(403, 403),
        body=any_of(r"\bAccess to (model|dataset) \S{1,200} is restricted\b", r"\baccept the (licen[cs]e|conditions|terms)\b"),
    ),
)  # fmt: skip
