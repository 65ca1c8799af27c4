"""What a decorated call costs that does nothing and succeeds, beside its peers in the same run.

Run as `python tests/bench/noop.py` with tenacity, pybreaker, redress and stamina installed; missing ones are named.
Prints microseconds a call (the best of several rounds), ratios, and bytes for each async operation in flight.
"""

from __future__ import annotations

import asyncio
import importlib
import timeit
import tracemalloc
from collections.abc import Callable
from typing import Any

from launcher_recovery.budget import RetryBudget
from launcher_recovery.decorator import recoverable

CALLS, ROUNDS, IN_FLIGHT = 20_000, 7, 2_000


def work() -> int:
    return 1


def ours_plain() -> Callable[[], Any]:
    return recoverable(work)


def ours_full() -> Callable[[], Any]:
    return recoverable(circuit_breaker_threshold=5, budget=RetryBudget())(work)


def tenacity_and_pybreaker() -> Callable[[], Any]:
    tenacity, pybreaker = importlib.import_module("tenacity"), importlib.import_module("pybreaker")
    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=300)
    retry = tenacity.retry(stop=tenacity.stop_after_attempt(4), wait=tenacity.wait_exponential())
    guarded: Callable[[], Any] = breaker(retry(work))
    return guarded


def redress_full() -> Callable[[], Any]:
    redress = importlib.import_module("redress")
    policy = redress.Policy(
        retry=redress.Retry(
            classifier=redress.default_classifier,
            strategy=redress.decorrelated_jitter(max_s=60.0),
            budget=redress.Budget(max_retries=100, window_s=60.0),
        ),
        circuit_breaker=redress.CircuitBreaker(failure_threshold=5),
    )
    return lambda: policy.call(work)


def stamina_retry() -> Callable[[], Any]:
    stamina = importlib.import_module("stamina")
    retried: Callable[[], Any] = stamina.retry(on=ConnectionError, attempts=4)(work)
    return retried


def microseconds(function: Callable[[], Any]) -> float:
    return min(timeit.repeat(function, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def bytes_in_flight(decorate: bool) -> float:
    """Memory of one async operation that waits, its task included."""

    async def main() -> float:
        go = asyncio.Event()

        async def waits(number: int) -> int:
            await go.wait()
            return number

        function = recoverable(circuit_breaker_threshold=5, budget=RetryBudget())(waits) if decorate else waits
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tasks = [asyncio.ensure_future(function(number)) for number in range(IN_FLIGHT)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        used = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        go.set()
        await asyncio.gather(*tasks)
        return used / IN_FLIGHT

    return asyncio.run(main())


def main() -> None:
    makers = (work, ours_plain, ours_full, tenacity_and_pybreaker, redress_full, stamina_retry)
    found: dict[str, float] = {}
    for make in makers:
        try:
            function = work if make is work else make()
        except ImportError as error:
            print(f"{make.__name__:24} not installed: {error.name}")
            continue
        found[make.__name__] = microseconds(function)
        print(f"{make.__name__:24} {found[make.__name__]:8.2f} us a call")
    for peer, allowed in (("tenacity_and_pybreaker", 1 / 4), ("redress_full", 1 / 2), ("stamina_retry", None)):
        for ours in ("ours_plain", "ours_full"):
            if peer in found:
                goal = "" if allowed is None else f" (goal: at most {allowed:.2f})"
                print(f"{ours} / {peer}: {found[ours] / found[peer]:.3f}{goal}")
    plain, decorated = bytes_in_flight(False), bytes_in_flight(True)
    print(f"in flight: {decorated:.0f} bytes for each async operation, {plain:.0f} of them without the decorator")


if __name__ == "__main__":
    main()
