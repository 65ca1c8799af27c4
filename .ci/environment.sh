# Sourced by the scripts that set everything up: makes .venv with the extras named in $extras, once.
# Works on a fresh Debian or Ubuntu that has Python and git; elsewhere too, where Python has its venv module.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf .venv
    # Debian and Ubuntu ship Python without what makes environments; then it is a package of its own.
    if ! "$python" -m venv .venv 2>/dev/null; then
        rm -rf .venv
        echo "Installing python3-venv, which this Python lacks …"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv
        "$python" -m venv .venv
    fi
fi

# Installed again only when what is asked for has changed.
wanted="$extras $(cksum setup.cfg)"
if [ "$(cat .venv/installed 2>/dev/null || true)" != "$wanted" ]; then
    echo "Installing launcher-recovery and what it needs …"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
    echo "$wanted" >.venv/installed
fi
