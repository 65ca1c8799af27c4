"""The rules as data, by where the errors come from, and in which order they are tried: the first that matches decides.

Structured facts come first (HTTP status, errno, exception type, exit status); texts of programs come last and are
anchored to the wording of the program, never bare keywords. Within that the more special goes before the more general.
"""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule
from launcher_recovery.classification.rules import (
    answers,
    builds,
    clients,
    databases,
    fetchers,
    git,
    http,
    hubs,
    models,
    ours,
    pip,
    processes,
    python,
    system,
    tasks,
    workflows,
)

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = (
    *ours.RULES,
    *python.CANCELLED,
    # What an answer says besides its status, then the status alone.
    *hubs.RULES,
    *answers.RULES,
    *workflows.ANSWERS,
    *http.RULES,
    # Numbers and types. A full disk goes before what else may have happened because of it.
    *system.DISK,
    *databases.RULES,
    *tasks.RULES,
    *clients.RULES,
    *system.FILES,
    *models.RULES,
    *workflows.ERRORS,
    *python.RULES,
    # Programs: a signal says more than what was printed before it, what was printed more than the exit status.
    *processes.SIGNALS,
    *git.RULES,
    *builds.MEMORY,
    *pip.RULES,
    *builds.RULES,
    *fetchers.RULES,
    *workflows.RULES,
    *processes.RULES,
    # What says little.
    *python.GENERAL,
)
