#!/bin/sh
# Sets everything up and starts the sample launcher with recovery on and the faulty model hub beside it.
# Arguments go to `python -m sample_launcher`.
extras=all
. "$(dirname "$0")/../.ci/environment.sh"
exec .venv/bin/python -m sample_launcher "$@"
