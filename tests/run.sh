#!/bin/sh
# Sets everything up and runs the tests, a real browser among them: in four processes, also on two cores, since half of
# the time they wait for servers and for each other. Each takes whole files. Arguments go to pytest; with -n 0 all is
# done in one process.
extras=test
. "$(dirname "$0")/../.ci/environment.sh"
# Hundreds of processes are started; where this is set each of them compiles the package anew.
unset PYTHONDONTWRITEBYTECODE
exec .venv/bin/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder "$@"
