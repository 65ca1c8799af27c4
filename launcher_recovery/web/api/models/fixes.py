"""Guided repairs in requests and answers."""

from __future__ import annotations

from launcher_recovery.web.api.models.base import Answer, Part


class Advice(Part):
    """What a person can do by hand."""

    fix: str
    title: str
    text: str


class AdviceAnswer(Answer):
    """What may help, best first."""

    advice: list[Advice]
    language: str
