#!/usr/bin/env bash
# Writes requirements.txt and requirements-dev.txt from pyproject.toml. Run by `make lock`.
# With UPGRADE=1 everything moves to its newest release, else only what pyproject.toml forces.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=.state/lock
[ -x $tool/bin/uv ] || { python3 -m venv $tool && $tool/bin/pip install --quiet 'uv==0.13.*'; }

compile() {
    local target=$1
    shift
    echo "# Locked by \`make lock\` for Python 3.11 and newer: edit pyproject.toml, not this file." >"$target.new"
    env -u PIP_FIND_LINKS $tool/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 \
        --generate-hashes --no-header ${UPGRADE:+--upgrade} "$@" --output-file "$target" >/dev/null
    cat "$target" >>"$target.new"
    mv "$target.new" "$target"
}

# With what makes traces: whoever wants them sets a variable, and builds nothing anew.
compile requirements.txt pyproject.toml --extra otel
# setuptools builds the editable install, without isolation, so that nothing unpinned is fetched.
echo 'setuptools>=77' | compile requirements-dev.txt pyproject.toml --extra dev --constraints requirements.txt -
