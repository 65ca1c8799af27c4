#!/bin/sh
# Builds the pages anew, and fails when what is committed is not what comes out. Needs Node and npm: what is installed
# and used needs neither.
set -eu
cd "$(dirname "$0")/.."
if ! command -v npm >/dev/null 2>&1; then
    echo "Node and npm are needed to check the pages (Debian and Ubuntu: apt-get install npm)." >&2
    exit 1
fi
pages=launcher_recovery/web
npm --prefix $pages/ui ci --silent --no-audit --no-fund --ignore-scripts
npm --prefix $pages/ui run --silent build
if [ -n "$(git status --porcelain -- $pages/static)" ]; then
    git --no-pager diff --stat -- $pages/static
    echo "The pages in $pages/static are not what is built from $pages/ui: run .ci/pages.sh, and commit what it made." >&2
    exit 1
fi
