"""What the processes of a host are started with so that recovery is woven into them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTENSION = Path(__file__).parent / "extension"

# What people would have to wait for between two attempts, in tests.
_SHORT = {
    "RECOVERY_INITIAL_DELAY": "0.2",
    "RECOVERY_MAX_DELAY": "3",
    "RECOVERY_CIRCUIT_BREAKER_TIMEOUT": "10",
}


def prefix(python: Path) -> tuple[str, ...]:
    """Words before a command: the program beside the interpreter that runs it."""
    return (str(python.with_name("launcher-recovery")), "run", "--")


def environment(folder: Path, is_stand_in: bool) -> dict[str, str]:
    """Variables of both processes, with the state of recovery in a folder.

    Args:
        is_stand_in: the host is the stand-in, whose functions have another code than those that the package knows.
    """
    return {
        "RECOVERY_ENABLED": "true",
        "RECOVERY_ALLOW_PRIVATE_ADDRESSES": "true",
        "RECOVERY_PERSISTENCE_PATH": str(folder / "recovery.db"),
        "PYTHONPATH": str(_site(folder / "site", is_stand_in)),
        **_SHORT,
    }


def _site(folder: Path, is_stand_in: bool) -> Path:
    """A folder with the package as it is here, whichever the interpreter has, and with nothing else of this one."""
    wanted = [ROOT / "launcher_recovery", *(EXTENSION.glob("standin_points*") if is_stand_in else ())]
    folder.mkdir(exist_ok=True)
    for path in wanted:
        link = folder / path.name
        if not link.exists():
            link.symlink_to(path)
    return folder
