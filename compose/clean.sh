#!/usr/bin/env bash
# Removes all that a run makes here. Run by `make clean`.
set -euo pipefail
cd "$(dirname "$0")/.."

for lock in .state/*/lock; do
    if [ -e "$lock" ] && ! flock --nonblock "$lock" true; then
        echo "clean: ${lock%/lock} is in use by a run; nothing removed" >&2
        exit 1
    fi
done
rm -rf .state .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage .coverage.* build ./*.egg-info
find . -name __pycache__ -type d -prune -exec rm -rf {} +
