"""Guided repairs of one operation."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response

from launcher_recovery.fixes.words import spoken
from launcher_recovery.web.api.answers import answer, here
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.models.fixes import AdviceAnswer
from launcher_recovery.web.api.models.operations import LanguageQuery
from launcher_recovery.web.api.shown import known


@described(AdviceAnswer, tag="fixes")
def advice(operation_id: str, query: LanguageQuery) -> Response:
    """What a person can do by hand about an operation."""
    language = spoken(query.language)
    known(operation_id)
    found = here().fixes.advice(operation_id, language)
    return answer(advice=[asdict(one) for one in found], language=language)
