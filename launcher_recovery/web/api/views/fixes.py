"""Guided repairs of one operation: what fits, what it would do, doing and undoing it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from flask import Response

from launcher_recovery.errors import RecoveryStateError, text_of
from launcher_recovery.fixes.fix import FixConflictError, FixRefusedError
from launcher_recovery.fixes.words import spoken, worded
from launcher_recovery.web.api.answers import ApiError, answer, here, sentence
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.models.fixes import AdviceAnswer, FixAnswer, FixBody, FixesAnswer, UndoBody
from launcher_recovery.web.api.models.operations import LanguageQuery
from launcher_recovery.web.api.shown import known, operation_json

logger = logging.getLogger("launcher_recovery")

_REPORT = "report_bug"


@described(AdviceAnswer, tag="fixes")
def advice(operation_id: str, query: LanguageQuery) -> Response:
    """What a person can do by hand about an operation."""
    language = spoken(query.language)
    known(operation_id)
    found = here().fixes.advice(operation_id, language)
    return answer(advice=[asdict(one) for one in found], language=language)


@described(FixesAnswer, tag="fixes")
def fixes(operation_id: str, query: LanguageQuery) -> Response:
    """The guided fixes that fit an operation, and those that were applied to it."""
    language = spoken(query.language)
    data = known(operation_id)
    # To report it is always possible, and no fix unless the verdict says so.
    offers = [
        one for one in here().fixes.for_operation(operation_id, language) if one.id != _REPORT or data.fix == _REPORT
    ]
    applied = here().fixes.history(operation_id, language)
    return answer(fixes=[asdict(one) for one in offers], applied=[asdict(one) for one in applied], language=language)


@described(FixAnswer, tag="fixes")
def apply(operation_id: str, fix: str, json: FixBody) -> Response:
    """Say what a fix would do (`preview`), or do what was said (`token`)."""
    language = spoken(json.language)
    known(operation_id)
    integrator = here()
    with _told_in(language):
        if json.preview:
            preview = integrator.fixes.preview(operation_id, fix, json.parameters, language)
            return answer(preview=asdict(preview))
        if json.token is None:
            text = "token is missing: it must be the token of the preview, so that just that is done."
            raise ApiError(422, "bad_token", text, field="token")
        applied = integrator.fixes.apply(operation_id, fix, json.parameters, json.token, language)
    not_retried = _retry(operation_id) if json.retry else None
    return answer(applied=asdict(applied), operation=operation_json(known(operation_id)), message=not_retried)


@described(FixAnswer, tag="fixes")
def undo(operation_id: str, applied_id: str, json: UndoBody) -> Response:
    """Make it as it was before a fix."""
    language = spoken(json.language)
    known(operation_id)
    with _told_in(language):
        applied = here().fixes.undo(operation_id, applied_id, language)
    return answer(applied=asdict(applied), operation=operation_json(known(operation_id)), message=None)


def _retry(operation_id: str) -> str | None:
    """Try it again; why that cannot be, if so: the fix is applied all the same."""
    try:
        here().retry(operation_id)
    except RecoveryStateError as error:
        return sentence(str(error))
    return None


@contextmanager
def _told_in(language: str) -> Iterator[None]:
    """What a fix is refused for, or fails with, as an answer in that language."""
    try:
        yield
    except FixRefusedError as error:
        raise ApiError(422, "fix_refused", sentence(worded(error.say, language)), field=error.parameter) from None
    except FixConflictError as error:
        raise ApiError(409, "conflict", sentence(worded(error.say, language)), state=error.state) from None
    except (ApiError, RecoveryStateError):
        raise
    except Exception as error:  # of what it does to files and programs; it was undone
        logger.warning("a fix failed and was undone", exc_info=error)
        text = here().redactor.text(text_of(error))
        raise ApiError(409, "fix_failed", sentence(f"It failed and was undone: {text}")) from None
