#!/bin/sh
# Sets everything up and runs the tests, a real browser among them. Arguments go to pytest.
extras=test
. "$(dirname "$0")/../.ci/environment.sh"
exec .venv/bin/python -m pytest "$@"
