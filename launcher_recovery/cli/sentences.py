"""What an error means, as one sentence for a person at a terminal, without secrets."""

from __future__ import annotations

from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.errors import RecoveryError, StoredError, text_of
from launcher_recovery.known_secrets import without_known
from launcher_recovery.redaction import Redactor

# Rules that say less than the error itself does.
_VAGUE = frozenset({"unknown", "programming", "invalid-value"})


def sentence_of(error: BaseException, explanation: str | None = None) -> str:
    """One sentence: our own errors say it themselves, what others mean is known from the rules of classification.

    Args:
        explanation: what the operation that ended with the error says of it; goes before the rules.
    """
    text = without_known(Redactor().text(" ".join(text_of(error).split())))
    if isinstance(error, RecoveryError) and not isinstance(error, StoredError):
        return text
    verdict = ErrorClassifier().classify(error)
    meaning = explanation or verdict.explanation
    if isinstance(error, OSError) and error.filename is not None:
        return f"{meaning.rstrip('.')}: {error.filename} ({error.strerror})"
    if explanation is None and verdict.rule in _VAGUE:
        return f"{type(error).__name__}: {text}" if text else type(error).__name__
    return meaning
