"""The figures of recovery for Prometheus, in a registry of their own, with a bounded number of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from launcher_recovery import __version__
from launcher_recovery.activity import history, totals
from launcher_recovery.breaker import CircuitState
from launcher_recovery.config import KINDS
from launcher_recovery.health import health_of
from launcher_recovery.records import UNFINISHED, RecoveryState

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator

_PREFIX = "launcher_recovery"
_OTHER = "other"
_MOST = 1000
_HOURS = 24


class MetricsMissingError(Exception):
    """prometheus-client is not installed."""


def exposition(integrator: RecoveryIntegrator) -> tuple[bytes, str]:
    """The figures as text, and its media type.

    Raises:
        MetricsMissingError: what they are made with is not installed; the message says what to do.
        StoreError: the store cannot be read.
    """
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    except ImportError:
        raise MetricsMissingError(
            "Metrics for Prometheus need the package prometheus-client: pip install 'launcher-recovery[metrics]'."
        ) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(integrator))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collector:
    """Looks at store and process each time that it is asked; nothing is counted twice."""

    def __init__(self, integrator: RecoveryIntegrator) -> None:
        self._integrator = integrator

    def describe(self) -> Iterable[Any]:
        """Nothing: that would be a look as well."""
        return ()

    def collect(self) -> Iterable[Any]:
        """The figures."""
        yield from self._of_store()
        yield from self._of_process()
        yield from self._of_health()

    def _of_store(self) -> Iterable[Any]:
        from prometheus_client.core import GaugeMetricFamily

        store = self._integrator.persistence
        counts = store.counts()
        states = GaugeMetricFamily(f"{_PREFIX}_operations", "Operations that are kept, by state.", labels=["state"])
        for state in RecoveryState:
            states.add_metric([state.value], counts[state.value])
        yield states
        kinds = GaugeMetricFamily(
            f"{_PREFIX}_active_operations", "Operations that are not over, by kind.", labels=["kind"]
        )
        found = Counter(
            data.kind if data.kind in KINDS else _OTHER for data in store.find(states=UNFINISHED, limit=_MOST)
        )
        for kind in (*KINDS, _OTHER):
            kinds.add_metric([kind], found[kind])
        yield kinds
        recovered = "Kept operations that ended well after more than one attempt."
        yield GaugeMetricFamily(f"{_PREFIX}_recovered_operations", recovered, value=counts["recovered"])
        retries = "Attempts of kept operations after their first."
        yield GaugeMetricFamily(f"{_PREFIX}_retry_attempts", retries, value=counts["attempts"])
        spans, _ = history(store, _HOURS, self._integrator.clock.time())
        resumed = "Bytes that the attempts of the last 24 hours did not fetch again."
        yield GaugeMetricFamily(f"{_PREFIX}_resumed_bytes", resumed, value=totals(spans)["bytes_resumed"])

    def _of_process(self) -> Iterable[Any]:
        from prometheus_client.core import CounterMetricFamily, InfoMetricFamily

        info = InfoMetricFamily(_PREFIX, "The version, and what is done.")
        info.add_metric([], {"version": __version__, "mode": self._integrator.config.mode})
        yield info
        texts = {
            "total_operations": "Operations that this process began.",
            "recovered_operations": "Operations of this process that ended well after more than one attempt.",
            "failed_operations": "Operations that this process gave up.",
            "retry_attempts": "Attempts of this process after an operation's first.",
            "circuit_breaker_trips": "Closed circuit breakers that opened in this process.",
        }
        for name, value in self._integrator.metrics.as_dict().items():
            yield CounterMetricFamily(f"{_PREFIX}_process_{name}", texts[name], value=value)

    def _of_health(self) -> Iterable[Any]:
        from prometheus_client.core import GaugeMetricFamily

        health = health_of(self._integrator)
        well = "Whether state can be kept (1) or not (0)."
        yield GaugeMetricFamily(f"{_PREFIX}_persistence_healthy", well, value=int(health["persistence_healthy"]))
        text = "Processes that run operations, or serve them, and live."
        yield GaugeMetricFamily(f"{_PREFIX}_workers", text, value=sum(one["alive"] for one in health["workers"]))
        breakers = GaugeMetricFamily(f"{_PREFIX}_circuit_breakers", "Circuit breakers, by state.", labels=["state"])
        states = Counter(one["state"] for one in health["circuit_breakers"])
        for state in CircuitState:
            breakers.add_metric([state.value], states[state.value])
        yield breakers
        free = GaugeMetricFamily(f"{_PREFIX}_disk_free_bytes", "Room on the disks that are used.", labels=["folder"])
        for disk in health["disk"]:
            free.add_metric([disk["path"]], disk["free"])
        yield free
