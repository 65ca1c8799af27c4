#!/bin/sh
# Sets everything up and runs the tests, a real browser among them: a process for each core, at most four, which take
# whole files. Arguments go to pytest; with -n 0 all is done in one process.
extras=test
. "$(dirname "$0")/../.ci/environment.sh"
# Hundreds of processes are started; where this is set each of them compiles the package anew.
unset PYTHONDONTWRITEBYTECODE
exec .venv/bin/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
