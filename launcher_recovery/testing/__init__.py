"""For tests of code that uses launcher-recovery: a mode without waits, and a clock that does not wait.

In a test of your own, most of the time this is all that is needed:

    from launcher_recovery.testing import recovery_test_mode

    def test_gives_up_when_the_server_is_gone():
        with recovery_test_mode(attempts=2):
            with pytest.raises(ConnectionError):
                download("https://example.org/model")  # decorated with @recoverable(max_retries=8)

As a fixture for every test of a suite:

    @pytest.fixture(autouse=True)
    def no_waiting():
        with recovery_test_mode():
            yield

A store of one's own is tested by the suite in `launcher_recovery.testing.conformance`, which needs pytest.
"""

from __future__ import annotations

from launcher_recovery.testing.clock import VirtualClock
from launcher_recovery.testing.mode import recovery_test_mode

__all__ = ["VirtualClock", "recovery_test_mode"]
