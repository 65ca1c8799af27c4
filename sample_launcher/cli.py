"""What the command lines here share: errors of one sentence, and port numbers."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


class OneSentenceParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on stderr, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print `message` and end with exit code 2."""
        line = " ".join(message.split()).rstrip(".")
        print(f"{self.prog}: {line[:1].upper()}{line[1:]}.", file=sys.stderr, flush=True)
        sys.exit(2)


def port_number(text: str) -> int:
    """Read a port from the command line; 0 means any free one."""
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 0 to 65535")
    return port
