#!/usr/bin/env bash
# Makes .venv from the locked requirements. Run by `make setup`.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 2; }

# Tests: recent enough; and able to make virtual environments that have pip.
recent() { "$1" -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null; }
able() { recent "$1" && "$1" -c 'import venv, ensurepip' 2>/dev/null; }

# The first of these commands that passes the test $1.
first() {
    local python
    for python in ${PYTHON:-} python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if command -v "$python" >/dev/null && "$1" "$python"; then
            echo "$python"
            return
        fi
    done
    return 1
}

install_venv() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        fail "$1 cannot make virtual environments; on Debian: apt-get install python3-venv"
    fi
    echo "packages  installing python3-venv"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -y --no-install-recommends install python3-venv >/dev/null 2>&1 || {
        apt-get -qq update
        apt-get -qq -y --no-install-recommends install python3-venv >/dev/null
    }
}

if ! python=$(first able); then
    python=$(first recent) || fail "Python 3.11 or newer is needed; name yours with PYTHON=..."
    install_venv "$python"
    python=$(first able) || fail "$python still cannot make virtual environments; name another with PYTHON=..."
fi

echo "setup     .venv with $("$python" --version)"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0
rm -rf .venv
"$python" -m venv .venv
# The lock is complete, so there is nothing to resolve: pip would ask for a `coverage[toml]` newer than the one locked.
.venv/bin/python -m pip install -qq --no-deps --require-hashes -r requirements-dev.txt
.venv/bin/python -m pip install -qq --no-deps --no-build-isolation -e .
touch .venv/ready
