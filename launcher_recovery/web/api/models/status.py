"""How recovery is, in answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from launcher_recovery.web.api.models.base import Answer, Part


class Breaker(Part):
    """A circuit breaker."""

    scope: str
    operation_type: str
    state: str
    failure_count: int
    timeout_remaining: float = Field(description="seconds until the next probe; 0 unless open")
    timestamp: str | None


class Notice(Part):
    """What is wrong with recovery itself, or may soon be."""

    code: str
    message: str


class Access(Part):
    """What this very request may do."""

    token: bool = Field(description="whether an access token is configured")
    trusted: bool = Field(description="whether it may apply fixes, run tests and change settings")


class Status(Part):
    """Settings and totals."""

    enabled: bool
    mode: str
    modes: dict[str, str]
    rollout: dict[str, float]
    persistence_enabled: bool
    max_retries: int
    circuit_breaker_threshold: int
    active_operations: int
    total_operations: int
    recovered_operations: int = Field(description="those that ended well after more than one attempt")
    failed_operations: int
    average_recovery_time: float = Field(description="seconds, of the recovered operations")
    retry_attempts: int
    breakers: list[Breaker] = Field(description="those that are not closed")
    problems: list[Notice]
    extensions: list[str]
    version: str
    access: Access
    seq: int
    now: str


class StatusAnswer(Answer):
    """How recovery is."""

    recovery: Status


class Worker(Part):
    """A process that runs operations, or serves them."""

    owner_id: str
    host: str
    pid: int
    role: str = Field(description="worker, launcher, or process of one that does not say")
    heartbeat_at: str
    alive: bool


class Disk(Part):
    """A disk on which something is written."""

    path: str
    free: int = Field(description="bytes")
    total: int = Field(description="bytes")
    low: bool


class Extension(Part):
    """An extension that is installed, or was registered by code."""

    name: str
    package: str | None = Field(description="null: it was registered by code")
    version: str | None
    state: Literal["loaded", "disabled", "failed"]
    hooks: list[str] = Field(description="those that it implements; none unless it is loaded")
    problem: str | None = Field(description="why it was left out")


class HealthAnswer(Answer):
    """Whether recovery itself is well."""

    persistence_healthy: bool
    system_healthy: bool
    active_operations: int | None
    circuit_breakers: list[Breaker]
    workers: list[Worker]
    disk: list[Disk]
    extensions: list[Extension]
    problems: list[Notice]
