"""Command line of the launcher: python -m sample_launcher."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from werkzeug.serving import make_server

from . import commands, hub_process
from .app import Launcher, create_app, has_recovery_page
from .cli import OneSentenceParser, port_number

log = logging.getLogger("sample_launcher")

END_LIMIT = 1.8
"""Seconds after which an end that was asked for is not waited for any longer."""


def _parser() -> OneSentenceParser:
    parser = OneSentenceParser(
        prog="sample_launcher",
        description="A small launcher for ComfyUI projects, to try launcher plugins with.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=port_number, default=4000, help="port, 0 for any free one (default 4000)")
    parser.add_argument(
        "--data-dir",
        default="launcher-data",
        help="folder for projects and models (default: launcher-data in the current folder)",
    )
    parser.add_argument(
        "--hub",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run the model hub that fails on purpose (default: yes)",
    )
    parser.add_argument("--hub-port", type=port_number, default=4010, help="the hub's port, 0 for any (default 4010)")
    parser.add_argument(
        "--recovery",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether the recovery plugin is on (default: what RECOVERY_ENABLED says, else yes)",
    )
    return parser


def _recovery_config(recovery: bool | None, data: Path) -> dict[str, Any]:
    """The plugin's configuration; what the environment says holds, unless a flag says otherwise."""
    config: dict[str, Any] = {}
    if recovery is not None:
        # The plugin lets the environment overrule the configuration; what was typed overrules both.
        os.environ.pop("RECOVERY_ENABLED", None)
        config["RECOVERY_ENABLED"] = recovery
    elif "RECOVERY_ENABLED" not in os.environ:
        config["RECOVERY_ENABLED"] = True
    if "RECOVERY_PERSISTENCE_PATH" not in os.environ:
        config["RECOVERY_PERSISTENCE_PATH"] = str(data / "recovery.db")
    return config


def _listen(parser: OneSentenceParser, host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
    except OSError:
        parser.error(f"there is no address {host!r} to listen on; try --host 127.0.0.1")
    listener = socket.socket(family, kind)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as problem:
        listener.close()
        parser.error(f"port {port} of {host} cannot be used ({problem.strerror}); choose another with --port")
    return listener


def _data_folder(parser: OneSentenceParser, text: str) -> Path:
    data = Path(text).expanduser().absolute()
    if data.exists() and not data.is_dir():
        parser.error(f"--data-dir {text} is a file; give a folder")
    try:
        data.mkdir(parents=True, exist_ok=True)
        for name in ("projects", "models"):
            (data / name).mkdir(exist_ok=True)
    except OSError as problem:
        parser.error(f"--data-dir {text} cannot be used ({problem.strerror}); give a folder you can write to")
    if not os.access(data, os.W_OK):
        parser.error(f"--data-dir {text} cannot be written to; give another folder")
    return data


def _banner(url: str, launcher: Launcher, hub: hub_process.HubProcess | None) -> str:
    recovery = has_recovery_page(launcher.app)
    lines = [f"Launcher at {url}/"]
    if recovery:
        lines.append(f"Recovery at {url}/recovery/")
    if hub:
        lines.append(f"Model hub at {hub.url}")
    lines += ["Try this:"]
    lines.append(
        f'  1. Open {url}/ and press "Import the demo project".' if hub else f"  1. Open {url}/ and create a project."
    )
    lines.append(
        f"  2. Watch {url}/recovery/ while the download fails and goes on."
        if recovery
        else "  2. Watch its status: with no plugin, one dropped connection loses the whole download."
    )
    lines.append("  3. Kill this process in the middle, start it again, and see what is left.")
    return "\n".join(lines)


def _warn_of_strangers(host: str) -> None:
    try:
        alone = ipaddress.ip_address(host).is_loopback
    except ValueError:
        alone = host == "localhost"
    if not alone:
        log.warning("Whoever reaches %s can use this launcher, which has no login.", host)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _serve(listener: socket.socket, url: str, launcher: Launcher, hub: hub_process.HubProcess | None) -> None:
    host, port = listener.getsockname()[:2]
    server = make_server(host, port, launcher.app, threaded=True, fd=listener.fileno())
    print(_banner(url, launcher, hub), flush=True)
    server.serve_forever(poll_interval=0.2)


def _force_end() -> None:
    """End the process although some thread of a plugin will not."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; 2 when it cannot start."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    log.setLevel(logging.INFO)
    data = _data_folder(parser, options.data_dir)
    listener = _listen(parser, options.host, options.port)
    _warn_of_strangers(options.host)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    hub: hub_process.HubProcess | None = None
    try:
        if options.hub:
            hub = hub_process.start(options.hub_port, data / "hub")
        launcher = create_app(data, _recovery_config(options.recovery, data), hub.url if hub else None)
        host = f"[{options.host}]" if ":" in options.host else options.host
        _serve(listener, f"http://{host}:{listener.getsockname()[1]}", launcher, hub)
    except KeyboardInterrupt:
        pass
    except hub_process.HubStartError as problem:
        parser.error(str(problem))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        late = threading.Timer(END_LIMIT, _force_end)
        late.daemon = True
        late.start()
        listener.close()
        commands.launcher_ends()
        if hub:
            hub.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
