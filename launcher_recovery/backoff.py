"""The strategy that reads the settings at each decision, so that a change of them counts for what runs already."""

from __future__ import annotations

import random
from collections.abc import Callable

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.strategies import ExponentialBackoffStrategy, Strategy


class ConfiguredBackoff(Strategy):
    """Exponential backoff with `initial_delay`, `backoff_factor` and `max_delay` of the settings in force.

    Args:
        settings: gives the settings as they are now.
        jitter: whether a wait is drawn evenly between 0 and the delay.
        rng: source of the jitter.
    """

    def __init__(
        self, settings: Callable[[], RecoveryConfig], jitter: bool = False, rng: random.Random | None = None
    ) -> None:
        self._settings = settings
        self._jitter = jitter
        self._rng = rng or random.Random()

    def now(self) -> ExponentialBackoffStrategy:
        """The strategy as the settings are now."""
        config = self._settings()
        return ExponentialBackoffStrategy(
            config.initial_delay, config.backoff_factor, config.max_delay, self._jitter, random=self._rng
        )

    def calculate_delay(self, attempt: int) -> float:
        return self.now().calculate_delay(attempt)
