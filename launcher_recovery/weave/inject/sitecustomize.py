"""Weaves an interpreter as it starts, if it is the one that has the plugin; gives way to the one that was there.

Python imports this at its start while this folder is on PYTHONPATH. In any other interpreter, such as that of an
environment which the launcher makes, it does nothing.
"""

import importlib
import os
import sys


def _give_way() -> None:
    """Take this folder off the path, and let the `sitecustomize` that would have been imported without it be so."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    ours = sys.modules.pop(__name__)
    try:
        importlib.import_module(__name__)
    except ImportError as error:
        if error.name != __name__:
            raise
    finally:
        sys.modules.setdefault(__name__, ours)


def _weave() -> None:
    prefix = os.environ.get("LAUNCHER_RECOVERY_PREFIX")
    if prefix is None or os.path.realpath(prefix) != os.path.realpath(sys.prefix):
        return
    try:
        from launcher_recovery.weave import weave
    except ImportError as error:
        print(f"launcher-recovery: this process is not woven: {error}", file=sys.stderr)
        return
    weave(default=True)


try:
    _give_way()
finally:
    _weave()
