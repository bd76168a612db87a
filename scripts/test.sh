#!/usr/bin/env bash
# Lint, check types and test: bash scripts/test.sh [pytest arguments]; `-m "not slow"` leaves command lines out (seconds).
set -euo pipefail
source "$(dirname "$0")/environment.sh"
source "$(dirname "$0")/browser.sh"
cd "$root"
ruff check .
ruff format --check .
mypy
unset PYTHONDONTWRITEBYTECODE  # or each process compiles the package anew
exec python -m pytest -n 2 --dist worksteal "$@"  # two processes of one thread each
