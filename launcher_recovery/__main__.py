"""python -m launcher_recovery: the command line."""

from __future__ import annotations

import sys

from launcher_recovery.cli import main

if __name__ == "__main__":
    sys.exit(main())
