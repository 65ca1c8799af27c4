"""Operations as the API shows them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from launcher_recovery.persistence.base import Store, beneath
from launcher_recovery.records import RecoveryData, StepRecord
from launcher_recovery.signals import update_of
from launcher_recovery.web.api.answers import ApiError, here


def known(operation_id: str) -> RecoveryData:
    """The record of an operation.

    Raises:
        ApiError: there is none.
    """
    data = here().persistence.get(operation_id)
    if data is None:
        shown = operation_id[:64]
        raise ApiError(404, "unknown_operation", f"There is no operation {shown}.", operation_id=shown)
    return data


def operations_json(found: Sequence[RecoveryData]) -> list[dict[str, Any]]:
    """Operations."""
    integrator = here()
    steps = _steps(integrator.persistence, [data.operation_id for data in found])
    return [
        {
            **update_of(data),
            "metadata": data.metadata,
            "owner": data.owner,
            "steps": [step.to_json() for step in steps.get(data.operation_id, ())],
            "fixes": integrator.fixes.may_fit(data),
        }
        for data in found
    ]


def operation_json(data: RecoveryData) -> dict[str, Any]:
    """An operation."""
    return operations_json([data])[0]


def _steps(store: Store, operation_ids: list[str]) -> Mapping[str, list[StepRecord]]:
    if hasattr(beneath(store), "steps_of_many"):
        return store.steps_of_many(operation_ids)
    return {one: store.steps(one) for one in operation_ids}  # one of somebody's own


def to_cursor(data: RecoveryData) -> str:
    """What stands for the place of an operation in the list."""
    text = json.dumps([data.created_at.timestamp(), data.operation_id])
    return base64.urlsafe_b64encode(text.encode()).decode()


def of_cursor(text: str | None) -> tuple[float, str] | None:
    """The place that `to_cursor` gave a text for.

    Raises:
        ApiError: it did not.
    """
    if text is None:
        return None
    try:
        created, operation_id = json.loads(base64.urlsafe_b64decode(text))
        return float(created), str(operation_id)
    except (ValueError, TypeError, OverflowError, RecursionError):
        message = "before is not usable: it must be the `next` of an earlier answer."
        raise ApiError(422, "bad_before", message, field="before") from None
