"""Command line of the hub: python -m sample_launcher.hub --port 4010."""

from __future__ import annotations

import signal
import subprocess
import sys
from types import FrameType

from ..cli import OneSentenceParser, port_number
from .server import Hub

IDLE_LIMIT = 15 * 60
"""Seconds without a request after which a hub that nobody looks after ends itself."""


def _parser() -> OneSentenceParser:
    parser = OneSentenceParser(
        prog="python -m sample_launcher.hub",
        description="A model hub on 127.0.0.1 that fails on purpose.",
    )
    parser.add_argument("--port", type=port_number, default=4010, help="port, 0 for any free one (default 4010)")
    parser.add_argument(
        "--data-dir", help="folder for its git repositories and package index (default: a temporary one)"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Serve until asked to end; 2 when it cannot start."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        hub = Hub(options.port, options.data_dir)
    except OSError as problem:
        parser.error(f"port {options.port} cannot be used ({problem.strerror}); choose another with --port")
    try:
        hub.build_site()
    except (OSError, subprocess.CalledProcessError) as problem:
        hub.close()
        parser.error(f"the demo's repositories cannot be made: {problem}")

    def end(_signal: int, _frame: FrameType | None) -> None:
        hub.ask_to_end()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    with hub:
        hub.add_demo_model()
        print(f"Model hub at {hub.url}", flush=True)
        while not hub.ended.wait(1.0):
            if hub.alone() and hub.idle() > IDLE_LIMIT:
                break
        # The answer to the request that asked for the end is still on its way.
        hub.ended.wait(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
